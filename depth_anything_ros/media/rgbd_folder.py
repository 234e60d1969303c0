"""Folders of colour images with measured depth, described by a few lines of YAML."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
import glob
import math
from pathlib import Path, PurePosixPath
import re
from typing import Any, TypeVar

import cv2
from depth_anything_ros.arrays import AnyArray, F32
from depth_anything_ros.errors import (
    CameraInfoError, DatasetError, ImageError, INSTALL_TOOLS, line_of, MissingDependencyError)
from depth_anything_ros.foreign_files import foreign_file, parse_yaml, read_text, shown
from depth_anything_ros.media.depth_files import read_npy
from depth_anything_ros.vision.depth import DepthRange, limit_range
from depth_anything_ros.vision.encoded_image import check_picture
from depth_anything_ros.vision.geometry import Intrinsics
import numpy as np

_REQUIRED = ('color', 'depth', 'depth_scale', 'max_depth')
_OPTIONAL = ('min_depth', 'crop', 'camera')
_MIN_DEPTH_M = 1e-3
# A shorter focal length is one divided by the width of the image.
_LEAST_FOCAL_PX = 2.0
_BARE_STAR = re.compile(r'^\s*(color|depth)\s*:\s*(\*\S*)', re.MULTILINE)
# The scale in the header of a PFM. OpenCV divides the values by it, other readers use only its
# sign, which is the byte order.
_PFM_SCALE = re.compile(rb'\A(Pf\s+\d+\s+\d+\s+-?)[^\s-]+')
# Files of TUM RGB-D are named after the time of exposure, which differs between the cameras.
_TIME_STAMP = re.compile(r'\d{6,}\.\d+')
_SEE = 'docs/evaluating.md shows a complete file'
# What the keys of a description become.
Described = TypeVar('Described')


@dataclass(frozen=True)
class RgbdConfig:
    """
    The description of a folder of images and depth maps.

    ``color`` and ``depth`` are paths below the folder with one ``*`` each, which stands for the
    same text in both. Depth in metres is the stored value divided by ``depth_scale``. Only depth
    within ``limits`` is used, and only the rows top to bottom - 1 and the columns left to
    right - 1 of ``crop`` (top, bottom, left, right); None: the whole image. ``focal_px`` is fx, fy
    in pixels of the images, for models whose metres need it.
    """

    color: str
    depth: str
    depth_scale: float
    limits: DepthRange
    crop: tuple[int, int, int, int] | None = None
    focal_px: tuple[float, float] | None = None


@dataclass(frozen=True)
class RgbdPair:
    """
    One image and its depth map.

    ``name`` is the image's path below the folder, ``key`` the text that the * stands for.
    """

    name: str
    color: Path
    depth: Path
    key: str = ''


@dataclass(frozen=True)
class RgbdDataset:
    """The pairs of a folder; ``unmatched`` are the files without a counterpart."""

    config: RgbdConfig
    pairs: tuple[RgbdPair, ...]
    unmatched: tuple[str, ...] = ()


def read_config(path: Path) -> RgbdConfig:
    """Return the YAML description of a folder; DatasetError names the key that is wrong."""
    return read_description(path, config_of)


def read_description(path: Path, describe: Callable[[Mapping[Any, Any]], Described]) -> Described:
    """
    Return what ``describe`` makes of the keys in a YAML file.

    It raises ValueError for a wrong key, which becomes a DatasetError as a file without keys does.
    """
    text = ''
    try:
        text = read_text(path)
        entries = parse_yaml(text)
    except ImportError as error:
        raise MissingDependencyError('pyyaml', 'the description of a folder',
                                     INSTALL_TOOLS) from error
    except OSError as error:
        raise DatasetError(path, f'it cannot be read ({error.strerror})', _SEE) from error
    except ValueError as error:
        if bare := _BARE_STAR.search(text):
            raise DatasetError(path, 'YAML takes a * at the start of a value for an alias',
                               f"quote it: {bare[1]}: '{bare[2]}'") from error
        raise DatasetError(path, line_of(error), _SEE) from error
    if not isinstance(entries, dict):
        raise DatasetError(path, 'it holds no keys', _SEE)
    try:
        return describe(entries)
    except ValueError as error:
        raise DatasetError(path, str(error), _SEE) from error


def open_folder(folder: Path, config: RgbdConfig) -> RgbdDataset:
    """Return the pairs of a folder, sorted by name; DatasetError without any."""
    if not folder.is_dir():
        raise DatasetError(folder, 'there is no such folder', 'name the folder of the images')
    colors, depths = _matches(folder, config.color), _matches(folder, config.depth)
    common = [key for key in colors if key in depths]
    if not common:
        fix = 'correct the patterns'
        if colors and depths and all(map(_TIME_STAMP.fullmatch, (*colors, *depths))):
            fix = ('they are time stamps, which differ; give each depth file the name of its '
                   'image, as associate.py of TUM RGB-D finds them')
        raise DatasetError(
            folder, f'{len(colors)} files match {config.color}, {len(depths)} match '
            f'{config.depth}, and none have the same text for the *', fix)
    unmatched = [file for found, other in ((colors, depths), (depths, colors))
                 for key, file in found.items() if key not in other]
    return RgbdDataset(
        config, tuple(RgbdPair(_name(folder, colors[key]), colors[key], depths[key], key)
                      for key in common),
        tuple(_name(folder, file) for file in unmatched))


def read_truth(pair: RgbdPair, config: RgbdConfig, image_hw: tuple[int, int]) -> F32:
    """
    Return the measured depth [m], f32 [H, W], of an image of ``image_hw``; NaN: not used.

    ImageError if the file cannot be read, holds no depth, has another size than the image, or is
    smaller than the crop.
    """
    depth_m = read_depth(pair.depth, config.depth_scale)
    if depth_m.shape != image_hw:
        raise ImageError(
            f'{pair.depth} is {depth_m.shape[1]}x{depth_m.shape[0]}, but {pair.color.name} is '
            f'{image_hw[1]}x{image_hw[0]}; register the depth to the image')
    truth: F32 = np.full_like(depth_m, np.nan)
    top, bottom, left, right = config.crop or (0, image_hw[0], 0, image_hw[1])
    if bottom > image_hw[0] or right > image_hw[1]:
        raise ImageError(f'{pair.color} is {image_hw[1]}x{image_hw[0]}, smaller than the crop')
    truth[top:bottom, left:right] = depth_m[top:bottom, left:right]
    return limit_range(truth, config.limits.minimum_m, config.limits.maximum_m)


def read_depth(path: Path, scale: float) -> F32:
    """
    Return the map f32 [H, W] of a 16-bit PNG, .npy or .pfm file, its values divided by ``scale``.

    An array [H, W, 1] is a map too. ImageError if the file is missing, cannot be read, or cannot
    be depth: 8 bits or several channels.
    """
    if foreign := foreign_file(path):
        raise ImageError(f'{path}: {"; ".join(foreign)}')
    values = read_npy(path) if path.suffix.lower() == '.npy' else _decode(path)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2:
        raise ImageError(f'{path} has the shape {values.shape}, which is not one depth per pixel; '
                         'save it as [H, W]')
    if values.dtype == np.uint8 or values.dtype.kind not in 'uif':
        raise ImageError(f'{path} holds {values.dtype} values, a picture of depth and not '
                         'depth; give 16-bit PNG, .npy or .pfm files')
    with np.errstate(over='ignore'):
        depth_m: F32 = (values / np.float64(scale)).astype(np.float32)
    return depth_m


def config_of(entries: Mapping[Any, Any], others: tuple[str, ...] = ()) -> RgbdConfig:
    """
    Return the description by the keys of a YAML file; ValueError for a wrong one.

    ``others`` are keys that the file may have for other purposes.
    """
    missing = [key for key in _REQUIRED if entries.get(key) is None]
    if missing:
        raise ValueError(f'these keys are missing: {", ".join(missing)}')
    known = _REQUIRED + _OPTIONAL + others
    unknown = [str(key) for key in entries if key not in known]
    if unknown:
        raise ValueError(f'{unknown[0]} is not one of the keys {", ".join(known)}')
    scale = _number(entries, 'depth_scale')
    if scale <= 0:
        raise ValueError(f'depth_scale is {scale:g}; it must be above 0')
    minimum_m = _MIN_DEPTH_M if entries.get('min_depth') is None else _number(
        entries, 'min_depth')
    return RgbdConfig(_pattern(entries, 'color'), _pattern(entries, 'depth'), scale,
                      DepthRange(minimum_m, _number(entries, 'max_depth')),
                      _crop(entries.get('crop')),
                      None if entries.get('camera') is None else focal_centre_of(entries)[:2])


def focal_centre_of(entries: Mapping[Any, Any]) -> tuple[float, float, float, float]:
    """Return fx, fy, cx and cy [px] of the key ``camera``; ValueError for a wrong one."""
    camera = entries.get('camera')
    if not isinstance(camera, list) or len(camera) != 4 or not all(map(_is_number, camera)):
        raise ValueError(f'camera is {shown(camera)}; it must be [fx, fy, cx, cy] in pixels')
    fx, fy, cx, cy = map(float, camera)
    try:
        Intrinsics(fx, fy, cx, cy, (1, 1))
    except CameraInfoError as error:
        raise ValueError(f'camera is {camera!r}; {error}') from error
    if max(fx, fy) < _LEAST_FOCAL_PX:
        raise ValueError(f'camera is {camera!r}, shares of the image; it must be in pixels')
    return fx, fy, cx, cy


def _pattern(entries: Mapping[Any, Any], key: str) -> str:
    text = entries[key]
    if not isinstance(text, str) or text.count('*') != 1:
        raise ValueError(f'{key} is {shown(text)}; it must hold exactly one *')
    path = PurePosixPath(text)
    if path.is_absolute() or '..' in path.parts:
        raise ValueError(f'{key} is {text!r}; it must be a path below the folder')
    # Without ./ and double slashes, as the files that match are named.
    return str(path)


def _number(entries: Mapping[Any, Any], key: str) -> float:
    value = entries[key]
    if not _is_number(value):
        raise ValueError(f'{key} is {shown(value)}; it must be a number')
    return float(value)


def _is_number(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        return False


def _crop(value: Any) -> tuple[int, int, int, int] | None:
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 4 and all(type(side) is int for side in value):
        top, bottom, left, right = value
        if 0 <= top < bottom and 0 <= left < right:
            return top, bottom, left, right
    raise ValueError(f'crop is {shown(value)}; it must be [top, bottom, left, right] in pixels')


def _matches(folder: Path, pattern: str) -> dict[str, Path]:
    """Return the files that match, by their text for the *."""
    before, after = pattern.split('*')
    found = sorted(folder.glob(f'{glob.escape(before)}*{glob.escape(after)}'))
    by_key = {_name(folder, file)[len(before):len(_name(folder, file)) - len(after)]: file
              for file in found if file.is_file()}
    # Other systems put hidden files beside pictures, such as ._1.png.
    whole_name = before == '' or before.endswith('/')
    return {key: file for key, file in by_key.items()
            if not (whole_name and key.startswith('.'))}


def _name(folder: Path, file: Path) -> str:
    return file.relative_to(folder).as_posix()


def _decode(path: Path) -> AnyArray:
    """Decode a picture; ``cv2.imread`` fails silently and cannot open Unicode names."""
    try:
        content = np.frombuffer(_PFM_SCALE.sub(rb'\g<1>1', path.read_bytes()), np.uint8)
        check_picture(content)
        picture = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    except ImageError as error:
        raise ImageError(f'{path}: {error}') from error
    except (OSError, cv2.error) as error:
        raise ImageError(f'{path} is missing or not a readable image') from error
    if picture is None:
        raise ImageError(f'{path} is not a readable image')
    return picture
