"""Frames of a video file or a camera, and mp4 files, read and written with OpenCV."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
import math
import os
from pathlib import Path
import struct
import time
from typing import BinaryIO

import cv2
from depth_anything_ros.arrays import U8
from depth_anything_ros.errors import ImageError
from depth_anything_ros.foreign_files import foreign_file, is_utf8, printable
from depth_anything_ros.media.source import ImageItem, ImageSource
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.encoded_image import FILE_LIMIT, PixelLimit

SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv', '.ts',
            '.mts', '.m2ts', '.3gp', '.flv', '.ogv', '.asf')

# Frames per second of a video that does not state its rate.
DEFAULT_RATE = 30.0
# Their headers count the frames. Other formats state a duration, which may be that of the sound.
_COUNTED = ('.mp4', '.mov', '.m4v', '.3gp', '.avi')
_LONGEST_SOUND_S = 1.0
# A longer step of the time stamps is a jump of the clock.
_LONGEST_PAUSE_S = 60.0
# The encoder refuses rates that formats with time stamps may state, such as 90000, and those of
# slow time-lapse videos.
_LOWEST_RATE, _HIGHEST_RATE = 0.1, 120.0
# The time stamps of many formats are rounded to milliseconds.
_RATE_TOLERANCE = 0.02


def open_video(file: Path, limit: PixelLimit = FILE_LIMIT) -> ImageSource:
    """
    Return the frames of a video file, all in the size of the first one.

    ImageError if OpenCV cannot open it or they are larger than ``limit``.
    """
    with _capture(file) as capture:
        size_hw = _size_hw(capture)
        limit.check(str(file), size_hw or (0, 0))
        return ImageSource('video', str(file), _count(capture), _rate(capture), size_hw,
                           partial(_frames, file))


def open_camera(index: int) -> ImageSource:
    """Return the endless frames of camera ``index``; ImageError if it cannot be opened."""
    with _capture(index) as capture:
        return ImageSource('camera', f'camera {index}', None, _rate(capture), _size_hw(capture),
                           partial(_frames, index))


@contextmanager
def _capture(place: Path | int) -> Iterator[cv2.VideoCapture]:
    if isinstance(place, Path) and not is_utf8(_absolute(place)):
        raise ImageError(f'OpenCV cannot open {printable(place)}: the path is not UTF-8; rename '
                         'the file or its folder')
    capture = cv2.VideoCapture(place if isinstance(place, int) else str(_absolute(place)))
    try:
        if not capture.isOpened():
            if isinstance(place, Path) and (foreign := foreign_file(place)):
                raise ImageError(f'{place}: {"; ".join(foreign)}')
            raise ImageError(
                f'there is no camera {place}, or another program uses it'
                if isinstance(place, int)
                else f'{place} is damaged, or this OpenCV cannot read its format')
        yield capture
    finally:
        capture.release()


def _absolute(path: Path) -> Path:
    """Return an absolute path: FFmpeg takes the start of ``a:b.mp4`` for a protocol."""
    return Path(os.path.abspath(path))


def _frames(place: Path | int) -> Iterator[ImageItem]:
    clock, size_hw = FrameClock(), (0, 0)
    with _capture(place) as capture:
        while True:
            success, pixels = capture.read()
            if not success:
                break
            time_ns = time.monotonic_ns() if isinstance(place, int) else _time_ns(capture)
            size_hw = size_hw if clock.frames else (pixels.shape[0], pixels.shape[1])
            if pixels.shape[:2] != size_hw:
                # Newer versions of OpenCV resize frames where the size changes, old ones do not.
                pixels = cv2.resize(pixels, size_hw[::-1])
            image, index = ColorImage(pixels, 'bgr'), clock.frames  # type: ignore[arg-type]
            clock.add(time_ns)
            yield ImageItem(f'frame {index + 1}', index, partial(_decoded, image),
                            timestamp_ns=time_ns)
        if isinstance(place, int):
            raise ImageError(f'camera {place} stopped after {clock.frames} frames; is it still '
                             'connected?')
        _require_whole(place, _count(capture), _rate(capture), clock)


def _require_whole(file: Path, count: int | None, rate: float | None,
                   clock: 'FrameClock') -> None:
    """Raise ImageError if fewer frames were read than the header promises."""
    frames = clock.frames
    is_counted = file.suffix.lower() in _COUNTED
    of_count = f' of {count}' if count and is_counted else ''
    if not frames:
        raise ImageError(f'{file} breaks off before its first frame: 0{of_count} frames can be '
                         'read; copy or record it again')
    if count is None or rate is None or frames >= count:
        return
    # Repeated and dropped frames are missing too, but not at the end.
    announced_s = count / rate
    read_s = max(frames / rate, clock.total_s + 1 / rate)
    sound_s = 0.0 if is_counted else min(_LONGEST_SOUND_S, 0.1 * announced_s)
    if announced_s - read_s > max(1.5 / rate, 1.5 * clock.longest_s, sound_s):
        raise ImageError(f'{file} breaks off after {frames}{of_count} frames ({read_s:.1f} of '
                         f'{announced_s:.1f} s); copy it again')


def _decoded(image: ColorImage) -> ColorImage:
    return image


def _count(capture: cv2.VideoCapture) -> int | None:
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(count) if math.isfinite(count) and count >= 1 else None


def _time_ns(capture: cv2.VideoCapture) -> int:
    milliseconds = capture.get(cv2.CAP_PROP_POS_MSEC)
    return round(milliseconds * 1e6) if math.isfinite(milliseconds) else 0


def _rate(capture: cv2.VideoCapture) -> float | None:
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if math.isfinite(rate) and rate > 0 else None


def _size_hw(capture: cv2.VideoCapture) -> tuple[int, int] | None:
    height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    return (height, width) if height > 0 and width > 0 else None


class FrameClock:
    """
    Counts frames and adds up the steps between their time stamps.

    A step back, or one by more than a minute, is a jump of the clock and is left out.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.longest_s = 0.0
        self.total_s = 0.0
        self._steps = 0
        self._last_ns: int | None = None

    def add(self, time_ns: int | None) -> None:
        """Count one frame; None if its time is unknown."""
        self.frames += 1
        if time_ns is not None and self._last_ns is not None:
            step_s = (time_ns - self._last_ns) / 1e9
            if 0 < step_s <= _LONGEST_PAUSE_S:
                self._steps += 1
                self.total_s += step_s
                self.longest_s = max(self.longest_s, step_s)
        self._last_ns = time_ns

    @property
    def mean_rate(self) -> float | None:
        """Return the mean number of frames per second, None if it is unknown."""
        return self._steps / self.total_s if self._steps else None


class VideoFile:
    """
    Writes an mp4 file (MPEG-4 part 2, like the reference) with the size of its first frame.

    The file has a constant rate: that of the arguments, or the mean rate of the time stamps.
    """

    def __init__(self, path: Path, frames_per_second: float) -> None:
        self._path = path
        self._rate = frames_per_second
        self._encoded_rate = min(max(frames_per_second, _LOWEST_RATE), _HIGHEST_RATE)
        self._writer: cv2.VideoWriter | None = None
        self._size_hw = (0, 0)
        self._clock = FrameClock()

    def write(self, picture_bgr: U8, time_ns: int | None = None) -> None:
        """
        Append [H, W, 3]; ImageError if its size differs or OpenCV cannot write videos.

        ``time_ns`` is the time of the picture in the video that it belongs to.
        """
        size_hw = (picture_bgr.shape[0], picture_bgr.shape[1])
        if self._writer is None:
            self._writer, self._size_hw = self._open(size_hw), size_hw
        if size_hw != self._size_hw:
            raise ImageError(f'its picture is {size_hw[1]}x{size_hw[0]}, but the video is '
                             f'{self._size_hw[1]}x{self._size_hw[0]}')
        self._writer.write(picture_bgr)
        self._clock.add(time_ns)

    def close(self) -> None:
        """Finish the file; idempotent. OSError if frames are missing: OpenCV reports no errors."""
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        written = cv2.VideoCapture(str(_absolute(self._path)))
        frames = int(written.get(cv2.CAP_PROP_FRAME_COUNT)) if written.isOpened() else 0
        written.release()
        if frames != self._clock.frames:
            raise OSError(f'only {frames} of {self._clock.frames} frames could be written into '
                          f'{self._path.parent}; free some space or choose another folder')
        speed = (self._clock.mean_rate or self._rate) / self._encoded_rate
        if abs(speed - 1) > _RATE_TOLERANCE:
            with self._path.open('r+b') as stream:
                _change_speed(stream, 0, self._path.stat().st_size, speed)

    def _open(self, size_hw: tuple[int, int]) -> cv2.VideoWriter:
        if not is_utf8(_absolute(self._path)):
            raise OSError(f'OpenCV cannot write {printable(self._path.parent)}: the path is not '
                          'UTF-8; choose another folder')
        four_letters = cv2.VideoWriter_fourcc(*'mp4v')  # type: ignore[attr-defined]
        writer = cv2.VideoWriter(str(_absolute(self._path)), four_letters, self._encoded_rate,
                                 (size_hw[1], size_hw[0]))
        if not writer.isOpened():
            raise OSError(f'{self._path.parent} takes no mp4; is it writable, and does this '
                          'OpenCV write videos (FFmpeg)?')
        return writer


def _change_speed(stream: BinaryIO, start: int, end: int, speed: float) -> None:
    """Multiply the time scales of the mp4 boxes in a range (ISO 14496-12, 8.2.2 and 8.4.2)."""
    while start < end:
        stream.seek(start)
        size, name = struct.unpack('>I4s', stream.read(8))
        content = start + 8
        if size == 1:
            size, content = struct.unpack('>Q', stream.read(8))[0], start + 16
        after = start + size if size else end
        if name in (b'moov', b'trak', b'mdia'):
            _change_speed(stream, content, after, speed)
        elif name in (b'mvhd', b'mdhd'):
            stream.seek(content)
            # Two times precede the scale, of 8 bytes each in version 1 and of 4 in version 0.
            place = content + (20 if stream.read(1) == b'\1' else 12)
            stream.seek(place)
            scale = struct.unpack('>I', stream.read(4))[0]
            stream.seek(place)
            stream.write(struct.pack('>I', max(1, round(scale * speed))))
        start = after
