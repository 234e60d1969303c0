"""
Images with measured depth in metres, as files in the work folder: a JPEG and an array each.

They come from folders of RGB-D images, which a YAML file describes, and from ROS 2 bags.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
import json
from pathlib import Path
from typing import Any

from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.cli.progress import Counting, Report
from depth_anything_ros.distill.dataset import (
    DatasetImage, digest, files_of, reduced_size_hw, states, write_jpeg)
from depth_anything_ros.distill.metric.bags import BagTopics, open_bag_frames
from depth_anything_ros.errors import DatasetError, ImageError, PointCloudError
from depth_anything_ros.files import atomic_path
from depth_anything_ros.media.bag_reader import is_bag
from depth_anything_ros.media.depth_files import encode_npy, read_npy
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.media.rgbd_folder import (
    config_of, open_folder, read_description, read_truth, RgbdConfig, RgbdPair)
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.depth import DepthRange, limit_range
import numpy as np

SUFFIXES = ('.yaml', '.yml')
_INDEX = 'frames.json'
# A frame with depth in a smaller share of its pixels shows that the sensor saw nothing.
_LEAST_VALID = 0.002
_GIVE = 'give a .yaml file that describes a folder of images and depth maps, or a ROS 2 bag'
# Of a frame: image BGR u8 [H, W, 3], depth f32 [H, W] in metres, and (fx, fy) in pixels.
RawFrame = tuple[str, Callable[[], tuple[U8, F32, tuple[float, float]]]]


@dataclass(frozen=True)
class Frame:
    """
    One image and its measured depth [m] at its size, NaN where there is none.

    ``focal_xy`` are the focal lengths in pixels of the image in the file. ``source`` is the
    position of its data among those given, ``number`` that of the frame, in the order of time.
    """

    image: DatasetImage
    depth: Path
    focal_xy: tuple[float, float]
    source: int
    number: int

    def read_depth(self) -> F32:
        """Return the depth f32 [H, W] in metres; DatasetError if the file is damaged."""
        try:
            depth_m: F32 = read_npy(self.depth).astype(np.float32)
        except (ImageError, ValueError) as error:
            raise DatasetError(self.depth, 'the depth cannot be read (it is missing or damaged)',
                               'remove its folder and run the same command again') from error
        return depth_m


@dataclass(frozen=True)
class FrameSelection:
    """
    Which frames are used, and how.

    Every ``every``-th one, reduced to ``short_side`` pixels; depth outside ``limits`` is unknown.
    """

    every: int
    short_side: int
    limits: DepthRange
    topics: BagTopics = BagTopics()


def collect_frames(data: Sequence[str], folder: Path, selection: FrameSelection, report: Report,
                   counting: Counting) -> list[Frame]:
    """
    Return the frames of all data, as files below ``folder``, where those of before are used again.

    Frames that cannot be read, or without depth, are left out and reported. DatasetError or
    ImageError for data that cannot be opened or has no usable frame.
    """
    return [frame for source, name in enumerate(data)
            for frame in _frames(Path(name), source, folder, selection, report, counting)]


def nearest(values: F32, size_hw: tuple[int, int]) -> F32:
    """Return a map [H, W] at another size; each pixel is one of the map, never a mean."""
    rows, columns = ((2 * np.arange(size) + 1) * old // (2 * size)
                     for size, old in zip(size_hw, values.shape))
    found: F32 = values[rows[:, None], columns]
    return found


def _frames(path: Path, source: int, folder: Path, selection: FrameSelection, report: Report,
            counting: Counting) -> list[Frame]:
    count, frames, files = _open(path, selection)
    target = folder / f'frames-{digest(path, f" {count} {selection} {states(files)}")}'
    if (earlier := _read_index(target / _INDEX, source)) is not None:
        report(f'      {path}: {len(earlier)} images with depth')
        return earlier
    target.mkdir(parents=True, exist_ok=True)
    found, empty = [], []
    with counting(f'frames of {path.name}', count, 0) as advance:
        for number, (name, read) in enumerate(frames):
            try:
                image_bgr, depth_m, focal_xy = read()
                depth_m = limit_range(depth_m, selection.limits.minimum_m,
                                      selection.limits.maximum_m)
            except (ImageError, PointCloudError) as error:
                report(f'      {name} is left out: {error}')
                continue
            finally:
                advance('')
            if np.isfinite(depth_m).mean() < _LEAST_VALID:
                empty.append(name)
                continue
            found.append(_write(target, number, source, image_bgr, depth_m, focal_xy, selection))
    if empty:
        report(f'      {path}: {len(empty)} frames have no depth between '
               f'{selection.limits.minimum_m:g} and {selection.limits.maximum_m:g} m and are left '
               f'out, the first is {empty[0]}')
    if not found:
        raise DatasetError(path, f'none of its {count} frames has valid depth', 'check the '
                           'unit of the depth (depth_scale), its range, and whether the sensor '
                           'measured')
    _write_index(target / _INDEX, found)
    report(f'      {path}: {len(found)} images with depth')
    return found


def _open(path: Path, selection: FrameSelection) -> tuple[int, Iterator[RawFrame], list[Path]]:
    """Return the number of frames, the frames, and the files that they are read from."""
    if path.suffix.lower() in SUFFIXES:
        return _open_folder(path, selection)
    if not path.exists():
        raise DatasetError(path, 'there is no such file or folder', _GIVE)
    if is_bag(path):
        return *open_bag_frames(path, selection.topics, selection.every,
                                selection.limits), files_of(path)
    raise DatasetError(path, 'it is neither a description nor a bag', _GIVE)


def _open_folder(path: Path, selection: FrameSelection
                 ) -> tuple[int, Iterator[RawFrame], list[Path]]:
    def describe(entries: Any) -> tuple[RgbdConfig, tuple[float, float], str]:
        config = config_of(entries, ('poses', 'folder'))
        if config.focal_px is None:
            raise ValueError('camera is missing: metres need the focal length; it is '
                             '[fx, fy, cx, cy] in pixels')
        return config, config.focal_px, str(entries.get('folder') or '.')

    config, focal_xy, folder = read_description(path, describe)
    pairs = open_folder(path.parent / folder, config).pairs[::selection.every]

    def read(pair: RgbdPair) -> tuple[U8, F32, tuple[float, float]]:
        image = read_picture(pair.color)
        return to_bgr(image), read_truth(pair, config, image.size_hw), focal_xy

    frames = ((str(pair.color), partial(read, pair)) for pair in pairs)
    return len(pairs), frames, [path, *(file for pair in pairs
                                        for file in (pair.color, pair.depth))]


def _write(target: Path, number: int, source: int, image_bgr: U8, depth_m: F32,
           focal_xy: tuple[float, float], selection: FrameSelection) -> Frame:
    size_hw = reduced_size_hw(depth_m.shape, selection.short_side)
    path, depth_path = (target / f'{number:06}{suffix}' for suffix in ('.jpg', '.npy'))
    write_jpeg(path, image_bgr, size_hw)
    with atomic_path(depth_path) as file:
        file.write_bytes(encode_npy(nearest(depth_m, size_hw).astype(np.float16)))
    focal = tuple(one * new / old for one, new, old in zip(
        focal_xy, size_hw[::-1], depth_m.shape[::-1]))
    return Frame(DatasetImage(f'{target.name}/{number:06}', path, number), depth_path, focal,
                 source, number)


def _write_index(path: Path, frames: list[Frame]) -> None:
    lines = [{**asdict(frame), 'image': frame.image.path.name, 'depth': frame.depth.name}
             for frame in frames]
    with atomic_path(path) as file:
        file.write_text(json.dumps(lines), encoding='utf-8')


def _read_index(path: Path, source: int) -> list[Frame] | None:
    """Return the frames of a folder that was finished, else None."""
    try:
        lines = json.loads(path.read_text(encoding='utf-8'))
        return [Frame(
            DatasetImage(f'{path.parent.name}/{Path(line["image"]).stem}',
                         path.parent / line['image'], line['number']),
            path.parent / line['depth'], (line['focal_xy'][0], line['focal_xy'][1]), source,
            line['number']) for line in lines]
    except (OSError, ValueError, LookupError, TypeError):
        return None
