"""
Metadata of a model, in the section ``depth_anything`` of the rt_info of its IR.

The converter writes it and the runtime reads it, so that a user need not configure it. rt_info
holds only strings, so every value is stored as JSON.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
import json
import math
from typing import Any, get_args, Literal
import unicodedata

SECTION = 'depth_anything'
# An entry of the section that is not part of ModelInfo: the sha256 of the .bin, as hexadecimal
# digits. IRs of earlier releases have none.
WEIGHTS_SHA256 = 'weights_sha256'
# Version 2 has facts of other networks than Depth Anything V1 and V2, which a release that reads
# only version 1 would ignore: it would give wrong depth. Models without them keep version 1.
FORMAT_VERSION, _FORMAT_VERSIONS = 1, (1, 2)
_OPTIONAL = ('fixed_size_hw', 'quantization', 'output_multiple', 'resize', 'interpolation',
             'side_limits', 'has_shift', 'focal_px', 'range_m', 'sky_threshold', 'description')
_LATER = _OPTIONAL[3:]
_TEXTS = ('encoder', 'kind', 'model_version', 'source_name', 'source_sha256', 'licence',
          'precision', 'converter_version')
# No ROS message can hold surrogates, which have no UTF-8; control characters break a line of log.
_UNPRINTABLE = ('Cs', 'Cc')
LARGEST_SIDE = 16384
_MOST_SELF_CHECK_PIXELS = 2 ** 22

# Height and width, or width and height where a name ends in _wh.
Size = tuple[int, int]
Kind = Literal['relative', 'metric']
# Of Depth Anything; other networks have none.
ModelVersion = Literal['v1', 'v2', 'v3', 'other']
Resize = Literal['shortest_side', 'longest_side', 'stretch', 'letterbox']
Interpolation = Literal['cubic', 'linear', 'area']
# Of the stored weights, and of the execution; with auto the device chooses.
Precision = Literal['fp32', 'fp16', 'int8']
ExecutionPrecision = Literal['auto', 'f32', 'bf16', 'f16']

SELF_CHECK_SIZE_HW = (196, 252)
SELF_CHECK_GRID_HW = (7, 9)


def device_names(text: str) -> tuple[str, ...]:
    """Return the devices of a text such as 'NPU,GPU,CPU', in order of preference."""
    return tuple(name.strip() for name in text.split(',') if name.strip())


def output_size(network_hw: tuple[int, int], multiple: int,
                output_multiple: int | None) -> tuple[int, int]:
    """
    Return the size of the output of a network for an input of ``network_hw``.

    It has ``output_multiple`` pixels per ``multiple`` of the input; None for the same size.
    """
    if output_multiple is None:
        return network_hw
    height, width = network_hw
    return height // multiple * output_multiple, width // multiple * output_multiple


@dataclass(frozen=True)
class InputRule:
    """
    How an image becomes the input of a network, see ``ModelInfo``.

    Its sides are multiples of ``multiple`` pixels.
    """

    multiple: int
    resize: Resize = 'shortest_side'
    interpolation: Interpolation = 'cubic'
    side_limits: tuple[int, int] | None = None


@dataclass(frozen=True)
class SelfCheck:
    """
    Expected output of the f32 network for the test image of ``vision.self_check``.

    ``size_hw`` is the size of the image in pixels; ``samples`` are the f32 outputs on a regular
    ``grid_hw`` grid in row-major order, in the unit of the model; ``std`` is the standard
    deviation of the whole output, whose size ``ModelInfo.output_hw`` gives.
    """

    size_hw: tuple[int, int]
    grid_hw: tuple[int, int]
    std: float
    samples: tuple[float, ...]


@dataclass(frozen=True)
class Quantization:
    """
    How an INT8 model was made, and its loss against the f32 execution of the same model.

    ``method`` names the settings; ``kept_float`` the layers whose activations have no fixed ranges
    and reach them in floating point. The loss was measured on ``images`` images: ``abs_rel_mean``
    and ``abs_rel_max`` of the aligned depth, ``pearson_min`` of the raw maps
    (``vision.agreement``).
    """

    method: str
    kept_float: tuple[str, ...]
    calibration_images: int
    images: int
    abs_rel_mean: float
    abs_rel_max: float
    pearson_min: float


@dataclass(frozen=True)
class ModelInfo:
    """
    Everything that the runtime needs to know about one IR.

    ``kind`` relative: the output is inverse depth up to scale and shift, larger is nearer; only up
    to scale without ``has_shift``. With ``focal_px`` the focal length f of the camera, in pixels
    of the network's image, gives the scale: depth is f / focal_px / output metres. ``range_m`` are
    the nearest and the farthest depth that such a network was trained on, None if unknown.
    ``kind`` metric: the output is depth in metres, at most ``max_depth_m``.
    ``mean_rgb`` and ``std_rgb`` apply to RGB in 0..1. ``input_size`` is the default of the side in
    pixels that ``resize`` fixes: the short one, the long one, or both sides of a square, to which
    images are stretched, or fitted between borders (letterbox). ``side_limits`` are the smallest
    and the largest side that the network takes, None for any. ``precision`` is the precision of
    the stored weights. ``fixed_size_hw`` is the only input size of the network, None if height and
    width are free. ``quantization`` is None for models in floating point. ``output_multiple`` is
    None where the output has the size of the input; else it has that many pixels per
    ``patch_multiple`` of it. With ``sky_threshold`` a second output, ``sky``, is at least that
    where the image shows sky. ``description`` states how the source is run, as JSON, for a network
    that was described by its user, else ''.
    """

    encoder: str
    kind: Kind
    model_version: ModelVersion
    max_depth_m: float | None
    patch_multiple: int
    mean_rgb: tuple[float, float, float]
    std_rgb: tuple[float, float, float]
    input_size: int
    source_name: str
    source_sha256: str
    licence: str
    precision: Precision
    converter_version: str
    self_check: SelfCheck
    fixed_size_hw: tuple[int, int] | None = None
    quantization: Quantization | None = None
    output_multiple: int | None = None
    resize: Resize = 'shortest_side'
    interpolation: Interpolation = 'cubic'
    side_limits: tuple[int, int] | None = None
    has_shift: bool = True
    focal_px: float | None = None
    range_m: tuple[float, float] | None = None
    sky_threshold: float | None = None
    description: str = ''
    format_version: int = FORMAT_VERSION

    @property
    def unit(self) -> str:
        """Return the unit of the output: 'm' for metric depth, '' for relative inverse depth."""
        return 'm' if self.kind == 'metric' else ''

    @property
    def needs_fit(self) -> bool:
        """Return whether scale and shift of the output mean nothing; with ``focal_px`` they do."""
        return self.kind == 'relative' and self.focal_px is None

    @property
    def input_rule(self) -> InputRule:
        """Return how an image becomes the input of the network."""
        return InputRule(self.patch_multiple, self.resize, self.interpolation, self.side_limits)

    def output_hw(self, network_hw: tuple[int, int]) -> tuple[int, int]:
        """Return the size of the network's output for an input of ``network_hw``."""
        return output_size(network_hw, self.patch_multiple, self.output_multiple)

    def to_strings(self) -> dict[str, str]:
        """Return the rt_info entries: one JSON text per field."""
        values = asdict(self)
        later = {field.name for field in fields(self)
                 if field.name in _LATER and values[field.name] == field.default}
        values['format_version'] = 1 if len(later) == len(_LATER) else 2
        return {name: json.dumps(value) for name, value in values.items() if name not in later}

    @classmethod
    def from_strings(cls, entries: Mapping[str, str]) -> 'ModelInfo':
        """
        Read the entries of ``to_strings``.

        ValueError names the entry that is missing, unreadable or of an unknown format version.
        """
        # Entries that a later release added are missing in older models.
        values = {field.name: _parse(entries, field.name) for field in fields(cls)
                  if field.name in entries or field.name not in _OPTIONAL}
        if values['format_version'] not in _FORMAT_VERSIONS:
            raise ValueError(f'format_version is {values["format_version"]}, '
                             f'this release reads {" and ".join(map(str, _FORMAT_VERSIONS))}')
        values['format_version'] = FORMAT_VERSION
        for name in _TEXTS:
            if not isinstance(values[name], str):
                raise ValueError(f'{name} is {values[name]!r}, not a text')
        if values['kind'] not in ('relative', 'metric'):
            raise ValueError(f'kind is {values["kind"]!r}, neither relative nor metric')
        if (values['kind'] == 'metric' and not values['max_depth_m']
                and values['model_version'] != 'other'):
            raise ValueError('kind is metric but max_depth_m is not given')
        depth_m = values['max_depth_m']
        if depth_m is not None and not (_is_number(depth_m) and depth_m > 0):
            raise ValueError(f'max_depth_m is {depth_m!r}, not a positive number')
        for name in ('patch_multiple', 'input_size', 'output_multiple'):
            if name in _OPTIONAL and values.get(name) is None:
                continue
            if type(values[name]) is not int or not 1 <= values[name] <= LARGEST_SIDE:
                raise ValueError(f'{name} is {values[name]!r}, not a positive integer up to '
                                 f'{LARGEST_SIDE}')
        _check_later(values)
        _read_nested(values)
        return cls(**values)


def _check_later(values: dict[str, Any]) -> None:
    """Check the entries of format version 2; ValueError names the one that is wrong."""
    for name, choices in (('resize', get_args(Resize)), ('interpolation', get_args(Interpolation)),
                          ('has_shift', (True, False))):
        if values.get(name, choices[0]) not in choices:
            raise ValueError(f'{name} is {values[name]!r}, none of {", ".join(map(str, choices))}')
    for name in ('focal_px', 'sky_threshold'):
        value = values.get(name)
        if value is not None and not (_is_number(value) and value > 0):
            raise ValueError(f'{name} is {value!r}, not a positive number')
    if not isinstance(values.get('description', ''), str):
        raise ValueError(f'description is {values["description"]!r}, not a text')
    if values.get('range_m') is not None:
        values['range_m'] = _range(values['range_m'])
    if values.get('side_limits') is not None:
        try:
            smallest, largest = _sides(values['side_limits'])
        except (TypeError, ValueError) as error:
            raise ValueError(f'side_limits is malformed ({error})') from error
        if smallest > largest:
            raise ValueError(f'side_limits are {smallest} and {largest}, the larger one first')
        values['side_limits'] = (smallest, largest)


def _range(values: Any) -> tuple[float, float]:
    """Return the nearest and the farthest depth; ValueError if they are none."""
    try:
        nearest, farthest = map(_number, values)
    except (TypeError, ValueError) as error:
        raise ValueError(f'range_m is malformed ({error})') from error
    if not 0 < nearest < farthest:
        raise ValueError(f'range_m is {nearest:g} to {farthest:g}, which holds no depth')
    return nearest, farthest


def _read_nested(values: dict[str, Any]) -> None:
    """Turn lists and dicts of JSON into tuples and dataclasses; ValueError names the entry."""
    try:
        values['self_check'] = _self_check(**values['self_check'])
        for name in ('mean_rgb', 'std_rgb'):
            red, green, blue = values[name]
            values[name] = (_number(red), _number(green), _number(blue))
        if min(values['std_rgb']) <= 0:
            raise ValueError(f'std_rgb is {values["std_rgb"]}')
    except (TypeError, ValueError) as error:
        raise ValueError(f'self_check, mean_rgb or std_rgb is malformed ({error})') from error
    try:
        if values.get('fixed_size_hw') is not None:
            values['fixed_size_hw'] = _sides(values['fixed_size_hw'])
        if values.get('quantization') is not None:
            values['quantization'] = _quantization(**values['quantization'])
    except (TypeError, ValueError) as error:
        raise ValueError(f'fixed_size_hw or quantization is malformed ({error})') from error


def _self_check(size_hw: Any, grid_hw: Any, std: Any, samples: Any) -> SelfCheck:
    (height, width), (rows, columns) = self_check_size(size_hw), _sides(grid_hw)
    if len(samples) != rows * columns or rows > height or columns > width:
        raise ValueError(f'{len(samples)} samples for a grid of {rows}x{columns}')
    if _number(std) < 0:
        raise ValueError(f'std is {std}')
    return SelfCheck((height, width), (rows, columns), float(std),
                     tuple(_number(sample) for sample in samples))


def self_check_size(values: Any) -> tuple[int, int]:
    """Return a height and a width; ValueError if a self-check cannot have that size."""
    height, width = _sides(values)
    if height * width > _MOST_SELF_CHECK_PIXELS:
        raise ValueError(f'{width}x{height} is too large')
    return height, width


def _quantization(kept_float: Any, method: Any, **numbers: Any) -> Quantization:
    return Quantization(kept_float=tuple(str(name) for name in kept_float), method=str(method),
                        **{name: value for name, value in numbers.items() if _is_number(value)})


def _sides(values: Any) -> tuple[int, int]:
    """Return a height and a width in pixels; ValueError or TypeError if they are none."""
    height, width = values
    if any(type(side) is not int or not 1 <= side <= LARGEST_SIDE for side in (height, width)):
        raise ValueError(f'{height!r} and {width!r} are no height and width')
    return height, width


def _number(value: Any) -> float:
    """Return a finite number; ValueError if it is something else."""
    if not _is_number(value):
        raise ValueError(f'{value!r} is no number')
    return float(value)


def _is_number(value: Any) -> bool:
    return (type(value) is int and abs(value) < 2 ** 63) or (
        type(value) is float and math.isfinite(value))


def _parse(entries: Mapping[str, str], name: str) -> Any:
    if name not in entries:
        raise ValueError(f'{name} is missing')
    try:
        return _printable(json.loads(entries[name]))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{name} is unreadable ({error})') from error


def _printable(value: Any) -> Any:
    """Return a value of JSON whose texts can be part of a message and of a line of log."""
    if isinstance(value, str):
        return ''.join('\N{REPLACEMENT CHARACTER}' if unicodedata.category(letter) in _UNPRINTABLE
                       else letter for letter in value)
    if isinstance(value, list):
        return [_printable(one) for one in value]
    if isinstance(value, dict):
        return {_printable(key): _printable(one) for key, one in value.items()}
    return value
