"""Frames of a video file or of a camera, read with OpenCV."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
import math
from pathlib import Path

import cv2
from depth_anything_ros.errors import ImageError
from depth_anything_ros.media.source import ImageSource, SourceImage
from depth_anything_ros.vision.encodings import ColorImage

SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv', '.ts')


def open_video(file: Path) -> ImageSource:
    """Return the frames of a video file; ImageError where OpenCV cannot open it."""
    with _capture(str(file)) as capture:
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        return ImageSource('video', str(file), int(count) if count >= 1 else None,
                           _rate(capture), _size_hw(capture), partial(_frames, str(file)))


def open_camera(index: int) -> ImageSource:
    """Return the endless frames of camera ``index``; ImageError where there is none."""
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
                else f'{place} is no video that this OpenCV reads, or it is damaged')
        yield capture
    finally:
        capture.release()


def _frames(place: str | int) -> Iterator[SourceImage]:
    index = 0
    with _capture(place) as capture:
        while True:
            there, pixels = capture.read()
            if not there:
                return
            image = ColorImage(pixels, 'bgr')  # type: ignore[arg-type]
            yield SourceImage(f'frame {index + 1}', index, partial(_same, image))
            index += 1


def _same(image: ColorImage) -> ColorImage:
    return image


def _rate(capture: cv2.VideoCapture) -> float | None:
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if math.isfinite(rate) and rate > 0 else None


def _size_hw(capture: cv2.VideoCapture) -> tuple[int, int] | None:
    height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    return (height, width) if height > 0 and width > 0 else None
