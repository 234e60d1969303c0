"""Depth of a video, as an mp4 file."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
import threading
import time

from depth_anything_ros.app.models import ModelChoice, ModelSlot
from depth_anything_ros.app.pictures import LIMIT
from depth_anything_ros.arrays import U8
from depth_anything_ros.errors import ImageError
from depth_anything_ros.inference.engine import EngineOptions
from depth_anything_ros.media.source import ImageItem
from depth_anything_ros.media.video import DEFAULT_RATE, open_video, VideoFile
from depth_anything_ros.vision.color_image import ColorImage, to_bgr
from depth_anything_ros.vision.colorize import ColorMap, RangeTracker
from depth_anything_ros.vision.drawing import depth_style, draw_depth

STOPPED = 'the video was stopped before its first frame; press Compute depth to begin again'
# Gets the number of frames that are done and of all, None if that is unknown.
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class VideoDepth:
    """A video that was written; ``picture_bgr`` is its last frame, ``problem`` why it is short."""

    frames: int
    seconds: float
    picture_bgr: U8
    problem: str


def compute_video(slot: ModelSlot, choice: ModelChoice, file: Path, target: Path,
                  color_map: ColorMap, alone: bool, stop: threading.Event,
                  progress: Progress) -> VideoDepth:
    """
    Write the depth of a video as ``target``, as ``depth_anything_run`` does.

    With ``alone`` the image is not beside it. A video that breaks off, and ``stop``, leave the
    frames before. ImageError if there is no frame at all.
    """
    source = open_video(file, LIMIT)
    frames: deque[tuple[ImageItem, ColorImage]] = deque()
    problems: list[str] = []

    def images() -> Iterator[U8]:
        try:
            for item in source:
                if stop.is_set():
                    problems.append('stopped')
                    return
                frames.append((item, item.read()))
                yield to_bgr(frames[-1][1])
        except ImageError as error:
            problems.append(str(error))

    tracker, done, picture, start = RangeTracker(), 0, None, time.monotonic()
    video = VideoFile(target, source.frames_per_second or DEFAULT_RATE)
    try:
        with slot.use(choice, source.size_hw or EngineOptions.image_hw) as model:
            style = depth_style(model.info.kind, color_map, alone)
            for depth in model.infer_many(images()):
                item, image = frames.popleft()
                picture = draw_depth(style, image, depth, *tracker.update(depth))
                video.write(picture, item.timestamp_ns)
                done += 1
                progress(done, source.count)
    finally:
        video.close()
    problem = ''.join(problems)
    if picture is None:
        raise ImageError(STOPPED if stop.is_set() else problem or f'{file} has no frame')
    return VideoDepth(done, time.monotonic() - start, picture, problem)
