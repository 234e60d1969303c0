"""The tasks of one run: the images that go in, and the names of the files that come out."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
import os
from pathlib import Path, PurePosixPath
from typing import Literal

from depth_anything_ros.errors import ImageError
from depth_anything_ros.fleet import storage
from depth_anything_ros.foreign_files import shortened
from depth_anything_ros.inference.engine import require_computable
from depth_anything_ros.media.bag_reader import foreign_entry, is_bag, METADATA
from depth_anything_ros.media.open_images import left_out, list_recordings, open_images
from depth_anything_ros.media.pictures import read_size_hw
from depth_anything_ros.media.size_order import network_size_of, order_by_size
from depth_anything_ros.media.source import ImageItem, ImageSource
from depth_anything_ros.model_info import ExecutionPrecision, ModelInfo, Size
from depth_anything_ros.vision.colorize import ColorMap

OutputFormat = Literal['png8', 'png16', 'npy', 'pfm', 'ply']

SUFFIXES = {'png8': '.png', 'png16': '.png', 'npy': '.npy', 'pfm': '.pfm', 'ply': '.ply'}


@dataclass(frozen=True)
class RunOptions:
    """
    The options of one run: a model, its input and its output.

    ``input_size`` 0 is the default of the model, ``requests`` 0 lets the device choose, ``frames``
    None computes all images. ``fov_deg`` None: the horizontal field of view is not known.
    ``encoder`` is what the encoder of the model must be, None: any.
    """

    model: Path
    source: str
    topic: str | None = None
    frames: int | None = None
    outdir: Path = Path('vis_depth')
    file_format: OutputFormat = 'png8'
    pred_only: bool = False
    color_map: ColorMap = 'spectral_r'
    fov_deg: float | None = None
    force: bool = False
    input_size: int = 0
    encoder: str | None = None
    device: str = 'CPU'
    precision: ExecutionPrecision = 'auto'
    requests: int = 0


@dataclass(frozen=True)
class Task:
    """
    The images of one source and the files for their depth.

    ``target`` is the video or the bag to write; None: each image becomes a file of its own.
    Pictures have their file in ``files``, by index. The number of frames of a video is unknown
    before it ends, so that the files of frames are numbered from 1 in ``frame_pattern``.
    """

    source: ImageSource
    items: Iterable[ImageItem]
    count: int | None
    target: Path | None
    files: dict[int, Path]
    frame_pattern: str

    def file_of(self, item: ImageItem) -> Path:
        """Return the file for the depth of an image."""
        return self.files.get(item.index) or Path(self.frame_pattern.format(item.index + 1))


def make_tasks(options: RunOptions) -> list[Task]:
    """
    Return one task for each video or bag of a folder or list of them, one for any other input.

    ImageError if the input cannot be opened, two outputs would share a name, an output would
    replace its input, or something that must stay has the name of the bag to write.
    """
    recordings = recordings_of(options.source, str(options.outdir))
    if not recordings:
        return [make_task(options, options.source, None)]
    stems = unique_stems(recordings, os.path.isdir)
    tasks = [make_task(options, name, stem) for name, stem in zip(recordings, stems)]
    check_inputs_stay(recordings, [task.target for task in tasks if task.target])
    return tasks


def recordings_of(source: str, outdir: str) -> list[str]:
    """Return the videos and bags of a folder or list of them, without results."""
    return list_recordings(source, result_test(source, outdir))


def make_task(options: RunOptions, name: str, stem: str | None) -> Task:
    """
    Return the task of one input; ``stem`` names the results of one of several recordings.

    Such a recording that cannot be opened gives a task that fails.
    """
    try:
        several = stem is not None and not is_bag(Path(name))
        source = open_images(name, None if several else options.topic)
    except ImageError as error:
        if stem is None:
            raise
        source = _broken(name, error)
    if source.kind == 'images':
        return _pictures(options, source)
    return _recording(options, source, name, stem)


def files_left_out(source: str, outdir: str) -> list[Path]:
    """Return the files of an input folder that are left out, without results."""
    return left_out(source, result_test(source, outdir))


def result_test(source: str, outdir: str) -> Callable[[str | Path], bool]:
    """Return the test for files in the output folder, where that is below the input folder."""
    real_outdir = storage.real(outdir)
    if storage.real(source) not in real_outdir.parents:
        return lambda file: False
    return lambda file: real_outdir in storage.real(file).parents


def ordered_items(task: Task, info: ModelInfo, input_size: int) -> Iterable[ImageItem]:
    """Return the images of a task, files with equal sizes of the network input side by side."""
    if task.source.kind != 'images':
        return task.items
    items = list(task.items)
    return [items[index] for index in order_by_size(
        [item.path for item in items], network_size_of(info, input_size))]


def first_size_hw(task: Task, info: ModelInfo, input_size: int) -> Size | None:
    """Return the size of the first image that can be computed; None if none states one."""
    sizes = [task.source.size_hw] if task.source.kind != 'images' else (
        read_size_hw(item.path) for item in task.items if item.path)
    return next((size for size in sizes if size and _is_computable(info, size, input_size)), None)


def unique_stems(names: Sequence[str],
                 is_folder: Callable[[str], bool] = lambda name: False) -> list[str]:
    """
    Return a file name without suffix for each of ``names``, which are relative paths.

    It is the stem of the input, as in the reference tools, and the whole name of a folder. Inputs
    with the same stem get their folders in front, joined by '_'; ImageError names two that still
    share a name.
    """
    whole = [path if is_folder(name) or not path.name else path.with_suffix('')
             for name, path in ((name, PurePosixPath(name)) for name in names)]
    counts = Counter(path.name for path in whole)
    stems = [path.name if counts[path.name] == 1 else _with_folders(path) for path in whole]
    names_by_stem: dict[str, str] = {}
    for name, stem in zip(names, stems):
        if stem in names_by_stem:
            raise ImageError(f'{names_by_stem[stem]} and {name} would both be written as {stem}; '
                             'rename one of them or run them one after the other')
        names_by_stem[stem] = name
    return stems


def stem_of(source: ImageSource, name: str) -> str:
    """Return a file name without suffix for the results of the only recording of a run."""
    if source.kind == 'camera':
        return source.name.replace(' ', '_')
    path = Path(name)
    return path.resolve().name if path.is_dir() else path.stem


def picture_names(names: Sequence[str], file_format: OutputFormat) -> list[str]:
    """Return the names of the results of pictures; ImageError as ``unique_stems``."""
    suffix = SUFFIXES[file_format]
    return [f'{shortened(stem, suffix)}{suffix}' for stem in unique_stems(names)]


def recording_name(stem: str, is_bag: bool) -> str:
    """Return the name of the video or bag for a recording."""
    # The files in a bag have the name of its folder, and SQLite adds a file while it writes.
    ending, longest = ('_depth', '_depth.db3-journal') if is_bag else ('.mp4', '.mp4')
    return f'{shortened(stem, longest)}{ending}'


def check_inputs_stay(inputs: Iterable[str | Path], outputs: Iterable[str | Path]) -> None:
    """Raise ImageError if an output would replace one of the inputs, or a folder with it."""
    written = set(map(storage.real, outputs))
    for place in inputs:
        real = storage.real(place)
        if not written.isdisjoint((real, *real.parents)):
            raise ImageError(f'the output would replace its input {place}; choose another '
                             '--outdir')


def check_bag_target(target: str, files: Collection[str], may_replace: bool) -> None:
    """Raise ImageError if a bag must not replace a folder with these files."""
    if not may_replace:
        raise ImageError(f'{target} exists already; add --force to replace it')
    other = foreign_entry(files)
    if other or files and METADATA not in files:
        raise ImageError(f'{target} holds {other or "no metadata.yaml"}, so it is not only a bag '
                         'and is not replaced; move it or choose another --outdir')


def _recording(options: RunOptions, source: ImageSource, name: str, stem: str | None) -> Task:
    stem, suffix = stem or stem_of(source, name), SUFFIXES[options.file_format]
    limits = [count for count in (source.count, options.frames) if count is not None]
    target = None
    if options.file_format == 'png8':
        target = options.outdir / recording_name(stem, source.kind == 'bag')
        check_inputs_stay([name], [target])
        if target.exists() and target.is_dir() != (source.kind == 'bag'):
            raise ImageError(f'{target} is a {"folder" if target.is_dir() else "file"}, which the '
                             'result cannot replace; move it or choose another --outdir')
        if source.kind == 'bag' and target.exists():
            check_bag_target(str(target), storage.list_files(str(target)), options.force)
    stem = shortened(stem, f'_0000000{suffix}')
    # A stem may hold braces.
    pattern = str(options.outdir / stem).replace('{', '{{').replace('}', '}}')
    return Task(source, _first(source, options.frames), min(limits, default=None), target, {},
                f'{pattern}_{{:06d}}{suffix}')


def _broken(name: str, error: ImageError) -> ImageSource:
    """Return a source for a video that cannot be opened: reading it raises ``error``."""
    def fail() -> Iterator[ImageItem]:
        raise error
    return ImageSource('video', name, None, None, None, fail)


def _pictures(options: RunOptions, source: ImageSource) -> Task:
    is_result = result_test(source.name, str(options.outdir))
    items = [item for item in source if item.path is None or not is_result(item.path)]
    if not items:
        raise ImageError(f'{source.name} holds no image outside of {options.outdir}')
    items = items[:options.frames]
    names = picture_names([item.name for item in items], options.file_format)
    files = {item.index: options.outdir / name for item, name in zip(items, names)}
    check_inputs_stay((item.path for item in items if item.path), files.values())
    return Task(source, items, len(items), None, files, '')


def _first(source: ImageSource, frames: int | None) -> Iterable[ImageItem]:
    return source if frames is None else islice(source, frames)


def _is_computable(info: ModelInfo, size_hw: Size, input_size: int) -> bool:
    try:
        require_computable(info, size_hw, input_size)
    except ImageError:
        return False
    return True


def _with_folders(path: PurePosixPath) -> str:
    return '_'.join(part for part in path.parts if part not in ('/', '.', '..'))
