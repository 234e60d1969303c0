"""A video of pictures, written frame by frame."""

from pathlib import Path

import cv2
from depth_anything_ros.errors import ImageError
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]


class VideoFile:
    """An mp4 (MPEG-4 part 2, as the reference writes) that takes its size from the first frame."""

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
        """Finish the file; idempotent. OSError if it is incomplete: OpenCV tells nobody."""
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
