"""Names of the files that go out: the reference's flat ones, and never one for two images."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from depth_anything_ros.errors import ImageError
from depth_anything_ros.inference.engine import MAX_NETWORK_PIXELS
from depth_anything_ros.media.open_images import list_videos, open_images
from depth_anything_ros.media.pictures import read_size_hw
from depth_anything_ros.media.source import ImageSource, SourceImage
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.run.options import RunOptions
from depth_anything_ros.vision.transforms import network_size

Size = tuple[int, int]

_SUFFIXES = {'png8': '.png', 'png16': '.png', 'npy': '.npy', 'pfm': '.pfm', 'ply': '.ply'}


def unique_stems(names: Sequence[str]) -> list[str]:
    """
    Return a file name without suffix for each of ``names``, which are relative paths.

    It is the input's own stem, as in the reference. Inputs that would share it get their folders
    in front, joined by '_'; ImageError names two that still share one.
    """
    flat = [PurePosixPath(name).stem for name in names]
    counts = Counter(flat)
    stems = [stem if counts[stem] == 1 else _with_folders(name)
             for name, stem in zip(names, flat)]
    seen: dict[str, str] = {}
    for name, stem in zip(names, stems):
        if stem in seen:
            raise ImageError(f'{seen[stem]} and {name} would both be written as {stem}; rename '
                             'one of them or run them one after the other')
        seen[stem] = name
    return stems


def check_inputs_stay(inputs: Iterable[Path], outputs: Iterable[Path]) -> None:
    """Raise ImageError where an output would replace one of the inputs."""
    written = {path.resolve() for path in outputs}
    for path in inputs:
        if path.resolve() in written:
            raise ImageError(f'the output would replace its input {path}; choose another --outdir')


def _with_folders(name: str) -> str:
    parts = PurePosixPath(name).with_suffix('').parts
    return '_'.join(part for part in parts if part not in ('/', '.', '..'))


@dataclass(frozen=True)
class Task:
    """
    One source, the images of it to compute, and where they go.

    ``target`` is the video or the bag to write. It is None where every image becomes a file of
    its own, at ``files[index]``; frames, of which nobody knows how many there are, are numbered.
    """

    source: ImageSource
    items: Iterable[SourceImage]
    count: int | None
    target: Path | None
    files: dict[int, Path]
    frame_pattern: str

    def file_of(self, item: SourceImage) -> Path:
        """Return the file that an image becomes."""
        return self.files.get(item.index) or Path(self.frame_pattern.format(item.index + 1))


def make_tasks(options: RunOptions) -> list[Task]:
    """
    Return one task for each video of a folder or list of videos, one for any other input.

    ImageError where the input cannot be opened, two outputs would share a name, an output would
    replace its input, or the bag to write exists.
    """
    videos = list_videos(options.source)
    if not videos:
        return [_task(options, options.source, None)]
    return [_task(options, name, stem) for name, stem in zip(videos, unique_stems(videos))]


def in_order_of_size(items: Iterable[SourceImage], info: ModelInfo,
                     input_size: int) -> list[SourceImage]:
    """Return picture files grouped by the network's size, so that each is compiled once."""
    groups: dict[Size | None, list[SourceImage]] = {}
    for item in items:
        size_hw = read_size_hw(item.path) if item.path else None
        network_hw = info.fixed_size_hw or (
            network_size(size_hw, input_size, info.patch_multiple)
            if size_hw and min(size_hw) > 0 else None)
        groups.setdefault(network_hw, []).append(item)
    return [item for group in groups.values() for item in group]


def first_size_hw(task: Task, input_size: int) -> Size | None:
    """Return the size of the first image whose header tells one that the engine takes."""
    if task.source.kind != 'images':
        return task.source.size_hw
    sizes = (read_size_hw(item.path) for item in task.items if item.path)
    return next((size for size in sizes if size and _fits(size, input_size)), None)


def _fits(size_hw: Size, input_size: int) -> bool:
    if min(size_hw) < 1:
        return False
    height, width = network_size(size_hw, input_size)
    return height * width <= MAX_NETWORK_PIXELS


def _task(options: RunOptions, name: str, stem: str | None) -> Task:
    try:
        source = open_images(name, options.topic)
    except ImageError as error:
        if stem is None:
            raise
        source = _broken(name, error)
    if source.kind == 'images':
        return _pictures(options, source)
    stem = stem or _stem(source, name)
    limits = [count for count in (source.count, options.frames) if count is not None]
    target = None
    if options.file_format == 'png8':
        suffix = '_depth' if source.kind == 'bag' else '.mp4'
        target = options.outdir / f'{stem}{suffix}'
        check_inputs_stay([Path(name)], [target])
        if source.kind == 'bag' and target.exists() and not options.force:
            raise ImageError(f'{target} exists already; add --force to replace it')
    # A stem may hold braces.
    pattern = str(options.outdir / stem).replace('{', '{{').replace('}', '}}')
    return Task(source, _first(source, options.frames), min(limits, default=None), target, {},
                f'{pattern}_{{:06d}}{_SUFFIXES[options.file_format]}')


def _broken(name: str, error: ImageError) -> ImageSource:
    """Return a video that cannot be opened: it is reported when its turn comes."""
    def fail() -> Iterator[SourceImage]:
        raise error
    return ImageSource('video', name, None, None, None, fail)


def _pictures(options: RunOptions, source: ImageSource) -> Task:
    items = [item for item in source if not _is_own_output(item, source, options.outdir)]
    if not items:
        raise ImageError(f'{source.name} holds no image outside of {options.outdir}')
    items = items[:options.frames]
    stems = unique_stems([item.name for item in items])
    files = {item.index: options.outdir / f'{stem}{_SUFFIXES[options.file_format]}'
             for item, stem in zip(items, stems)}
    check_inputs_stay((item.path for item in items if item.path), files.values())
    return Task(source, items, len(items), None, files, '')


def _is_own_output(item: SourceImage, source: ImageSource, outdir: Path) -> bool:
    """Return whether a folder's picture lies in an output folder below that folder."""
    below = Path(source.name).resolve() in outdir.resolve().parents
    return below and item.path is not None and outdir.resolve() in item.path.resolve().parents


def _first(source: ImageSource, frames: int | None) -> Iterable[SourceImage]:
    return source if frames is None else islice(source, frames)


def _stem(source: ImageSource, name: str) -> str:
    if source.kind == 'camera':
        return f'camera_{name}'
    path = Path(name)
    return path.resolve().name if path.is_dir() else path.stem
