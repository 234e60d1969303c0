"""What is done with each depth map: a file of its own, a frame of a video, a message of a bag."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import os
from pathlib import Path

from depth_anything_ros.arrays import F32
from depth_anything_ros.errors import ImageError
from depth_anything_ros.files import atomic_file, atomic_folder
from depth_anything_ros.media.bag_writer import check_topics, depth_topic, DepthBag
from depth_anything_ros.media.depth_files import encode_png, finite_range, write_depth
from depth_anything_ros.media.source import SourceImage
from depth_anything_ros.media.video import VideoFile
from depth_anything_ros.model_info import Kind
from depth_anything_ros.run.options import RunOptions
from depth_anything_ros.run.pipeline import Write
from depth_anything_ros.run.tasks import Task
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.colorize import RangeTracker
from depth_anything_ros.vision.drawing import draw, make_look

_DEFAULT_RATE = 30.0
_MOST_WRITERS = 4


@dataclass(frozen=True)
class Output:
    """Where depth goes, in words, how it gets there, and how many threads may do that at once."""

    place: str
    write: Write
    writers: int


@contextmanager
def open_output(task: Task, options: RunOptions, kind: Kind,
                complete: Callable[[], bool]) -> Iterator[Output]:
    """
    Yield the output of a task; a video or bag has its name only after the block.

    ``complete`` tells at the end whether a bag gets the messages after the last image too.
    """
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
    look = make_look(kind, options.color_map, options.pred_only)

    def write(item: SourceImage, image: ColorImage, depth: F32) -> None:
        path = task.file_of(item)
        if file_format == 'png8':
            picture = encode_png(draw(look, image, depth, *finite_range(depth)))
            with atomic_file(path) as staged:
                staged.write_bytes(picture)
        else:
            write_depth(path, file_format, depth, kind, image, options.fov_deg)

    return Output(str(options.outdir), write, min(_MOST_WRITERS, os.cpu_count() or 1))


@contextmanager
def _video(task: Task, target: Path, options: RunOptions, kind: Kind) -> Iterator[Output]:
    look = make_look(kind, options.color_map, options.pred_only)
    tracker = RangeTracker()
    with atomic_file(target) as staged:
        video = VideoFile(staged, task.source.frames_per_second or _DEFAULT_RATE)

        def write(item: SourceImage, image: ColorImage, depth: F32) -> None:
            video.write(draw(look, image, depth, *tracker.update(depth)))

        try:
            yield Output(str(target), write, 1)
        finally:
            video.close()


@contextmanager
def _bag(task: Task, target: Path, kind: Kind, complete: Callable[[], bool]) -> Iterator[Output]:
    topic = task.source.topic
    assert topic is not None
    source = Path(task.source.name)
    check_topics(source, topic, kind)
    with atomic_folder(target) as staged:
        bag = DepthBag(source, staged, topic, kind)

        def write(item: SourceImage, image: ColorImage, depth: F32) -> None:
            if item.timestamp_ns is None or item.header is None:
                raise ImageError('it has no header')
            bag.write(depth, item.timestamp_ns, item.header)

        try:
            yield Output(f'{depth_topic(topic, kind)} in {target}', write, 1)
        except BaseException:
            bag.abort()
            raise
        bag.close(copy_rest=complete())
