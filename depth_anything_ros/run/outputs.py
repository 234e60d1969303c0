"""Outputs of depth maps: a file each, a frame of a video, or a message of a bag."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
import os
from pathlib import Path

from depth_anything_ros.arrays import F32
from depth_anything_ros.errors import ImageError
from depth_anything_ros.files import atomic_path
from depth_anything_ros.media.bag_writer import check_topics, depth_topic, DepthBag
from depth_anything_ros.media.depth_files import encode_png, finite_range, write_depth
from depth_anything_ros.media.source import ImageItem
from depth_anything_ros.media.video import DEFAULT_RATE, VideoFile
from depth_anything_ros.model_info import Kind, ModelInfo
from depth_anything_ros.run.pipeline import Failure, RunSummary, Write
from depth_anything_ros.run.tasks import RunOptions, Task
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.colorize import RangeTracker
from depth_anything_ros.vision.drawing import depth_style, draw_depth
from depth_anything_ros.vision.geometry import image_focal_metres, pinhole_camera

_MAX_WRITERS = 4
# Horizontal field of view of the camera of a point cloud where none is given.
_FOV_DEG = 60.0


@dataclass(frozen=True)
class Output:
    """
    A place for depth maps.

    ``place`` names it for the user, ``write`` adds one map, and ``writers`` threads may call it at
    the same time. ``failed`` gets what failed beside the maps.
    """

    place: str
    write: Write
    writers: int
    failed: list[Failure] = field(default_factory=list)

    def complete(self, summary: RunSummary) -> RunSummary:
        """Return the summary of the maps with ``failed``, after ``open_output`` has ended."""
        return replace(summary, failed=(*summary.failed, *self.failed))


@contextmanager
def open_output(task: Task, options: RunOptions, info: ModelInfo,
                complete: Callable[[], bool]) -> Iterator[Output]:
    """
    Yield the output of a task; a video or bag gets its name after the block, when it is complete.

    The maps of a model that needs the focal length become metres where the field of view of the
    camera is known. ``complete`` is called at the end: if true, a bag also gets the messages after
    the last image.
    """
    if info.focal_px is None or options.fov_deg is None:
        with _opened(task, options, info.kind, complete) as output:
            yield output
    else:
        with _opened(task, options, 'metric', complete) as output:
            yield replace(output, write=_in_metres(output.write, info, options.fov_deg,
                                                   options.input_size))


def _in_metres(write: Write, info: ModelInfo, fov_deg: float, input_size: int) -> Write:
    def convert(item: ImageItem, image: ColorImage, depth: F32) -> None:
        camera = pinhole_camera(image.size_hw, fov_deg)
        write(item, image, image_focal_metres(info, camera, depth, input_size))

    return convert


@contextmanager
def _opened(task: Task, options: RunOptions, kind: Kind,
            complete: Callable[[], bool]) -> Iterator[Output]:
    if task.target is None:
        yield _files(task, options, kind)
    elif task.source.kind == 'bag':
        with _bag(task, task.target, kind, complete) as output:
            yield output
    else:
        with _video(task, task.target, options, kind) as output:
            yield output


def _files(task: Task, options: RunOptions, kind: Kind) -> Output:
    file_format = options.file_format
    style = depth_style(kind, options.color_map, options.pred_only)

    def write(item: ImageItem, image: ColorImage, depth: F32) -> None:
        path = task.file_of(item)
        if file_format == 'png8':
            picture = encode_png(draw_depth(style, image, depth, *finite_range(depth)))
            with atomic_path(path) as staged:
                staged.write_bytes(picture)
        else:
            write_depth(path, file_format, depth, kind, image, options.fov_deg or _FOV_DEG)

    return Output(str(options.outdir), write, min(_MAX_WRITERS, os.cpu_count() or 1))


@contextmanager
def _video(task: Task, target: Path, options: RunOptions, kind: Kind) -> Iterator[Output]:
    style = depth_style(kind, options.color_map, options.pred_only)
    tracker = RangeTracker()
    with atomic_path(target) as staged:
        video = VideoFile(staged, task.source.frames_per_second or DEFAULT_RATE)

        def write(item: ImageItem, image: ColorImage, depth: F32) -> None:
            picture = draw_depth(style, image, depth, *tracker.update(depth))
            video.write(picture, item.timestamp_ns)

        try:
            yield Output(str(target), write, 1)
        finally:
            video.close()


@contextmanager
def _bag(task: Task, target: Path, kind: Kind, complete: Callable[[], bool]) -> Iterator[Output]:
    topic = task.source.topic
    assert topic is not None
    source = Path(task.source.name)
    check_topics(source, target, topic, kind)
    with atomic_path(target) as staged:
        bag: DepthBag | None = None

        def write(item: ImageItem, image: ColorImage, depth: F32) -> None:
            nonlocal bag
            if item.timestamp_ns is None or item.header is None:
                raise ImageError('it has no header')
            # Without any depth no bag is written, and an older one stays.
            bag = bag or DepthBag(source, staged, topic, kind)
            bag.write(depth, item.timestamp_ns, item.header)

        output = Output(f'{depth_topic(topic, kind)} in {target}', write, 1)
        try:
            yield output
        except BaseException:
            if bag is not None:
                bag.abort()
            raise
        if bag is not None:
            bag.close(copy_rest=complete())
            if bag.problem is not None:
                output.failed.append(Failure('', 'only a part of the other messages is copied: '
                                             f'{bag.problem}'))
