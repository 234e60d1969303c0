"""Frames of a video file or a camera, and mp4 files, read and written with OpenCV."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
import math
from pathlib import Path

import cv2
from depth_anything_ros.arrays import U8
from depth_anything_ros.errors import ImageError
from depth_anything_ros.media.source import ImageItem, ImageSource
from depth_anything_ros.vision.color_image import ColorImage

SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv', '.ts')


def open_video(file: Path) -> ImageSource:
    """Return the frames of a video file; ImageError if OpenCV cannot open it."""
    with _capture(str(file)) as capture:
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        return ImageSource('video', str(file), int(count) if count >= 1 else None,
                           _rate(capture), _size_hw(capture), partial(_frames, str(file)))


def open_camera(index: int) -> ImageSource:
    """Return the endless frames of camera ``index``; ImageError if it cannot be opened."""
    with _capture(index) as capture:
        return ImageSource('camera', f'camera {index}', None, _rate(capture), _size_hw(capture),
                           partial(_frames, index))


@contextmanager
def _capture(place: str | int) -> Iterator[cv2.VideoCapture]:
    capture = cv2.VideoCapture(place)
    try:
        if not capture.isOpened():
            raise ImageError(
                f'there is no camera {place}, or another program uses it'
                if isinstance(place, int)
                else f'{place} is damaged, or this OpenCV cannot read its format')
        yield capture
    finally:
        capture.release()


def _frames(place: str | int) -> Iterator[ImageItem]:
    index = 0
    with _capture(place) as capture:
        while True:
            success, pixels = capture.read()
            if not success:
                return
            image = ColorImage(pixels, 'bgr')  # type: ignore[arg-type]
            yield ImageItem(f'frame {index + 1}', index, partial(_decoded, image))
            index += 1


def _decoded(image: ColorImage) -> ColorImage:
    return image


def _rate(capture: cv2.VideoCapture) -> float | None:
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if math.isfinite(rate) and rate > 0 else None


def _size_hw(capture: cv2.VideoCapture) -> tuple[int, int] | None:
    height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    return (height, width) if height > 0 and width > 0 else None


class VideoFile:
    """Writes an mp4 file (MPEG-4 part 2, like the reference) with the size of its first frame."""

    def __init__(self, path: Path, frames_per_second: float) -> None:
        self._path = path
        self._rate = frames_per_second
        self._writer: cv2.VideoWriter | None = None
        self._size_hw = (0, 0)
        self._frames = 0

    def write(self, picture_bgr: U8) -> None:
        """Append [H, W, 3]; ImageError if its size differs or OpenCV cannot write videos."""
        size_hw = (picture_bgr.shape[0], picture_bgr.shape[1])
        if self._writer is None:
            self._writer, self._size_hw = self._open(size_hw), size_hw
        if size_hw != self._size_hw:
            raise ImageError(f'its picture is {size_hw[1]}x{size_hw[0]}, but the video is '
                             f'{self._size_hw[1]}x{self._size_hw[0]}')
        self._writer.write(picture_bgr)
        self._frames += 1

    def close(self) -> None:
        """Finish the file; idempotent. OSError if frames are missing: OpenCV reports no errors."""
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        written = cv2.VideoCapture(str(self._path))
        frames = int(written.get(cv2.CAP_PROP_FRAME_COUNT)) if written.isOpened() else 0
        written.release()
        if frames != self._frames:
            raise OSError(f'only {frames} of {self._frames} frames could be written into '
                          f'{self._path.parent}; free some space or choose another folder')

    def _open(self, size_hw: tuple[int, int]) -> cv2.VideoWriter:
        four_letters = cv2.VideoWriter_fourcc(*'mp4v')  # type: ignore[attr-defined]
        writer = cv2.VideoWriter(str(self._path), four_letters, self._rate,
                                 (size_hw[1], size_hw[0]))
        if not writer.isOpened():
            raise OSError(f'{self._path.parent} takes no mp4; is it writable, and does this '
                          'OpenCV write videos (FFmpeg)?')
        return writer
