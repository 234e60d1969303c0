"""
Descriptions of networks that are not Depth Anything: the facts that their files do not state.

A description is a YAML file, or the facts on a known family. A network without one of the facts is
refused with their list, because a guess would give wrong depth without an error.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
import json
import math
from pathlib import Path
from typing import Any, get_args, Literal

from depth_anything_ros.arrays import F32
from depth_anything_ros.errors import (
    CheckpointError, INSTALL_CONVERT, line_of, MissingDependencyError, ModelError)
from depth_anything_ros.foreign_files import parse_yaml, read_text, shown
from depth_anything_ros.model_info import Interpolation, Kind, LARGEST_SIDE, Resize
from depth_anything_ros.networks.models import InputSpec, UNKNOWN_LICENCE
import numpy as np

Output = Literal['inverse_depth', 'depth', 'log_depth']
Metres = bool | Literal['focal']
ColorOrder = Literal['rgb', 'bgr']
Triple = tuple[float, float, float]

# Depth and inverse depth below these are no distances: infinitely far, or 10 km.
LEAST_DEPTH, LEAST_INVERSE_M = 1e-6, 1e-4
SEE = 'docs/converting.md describes every fact'
_LARGEST = 1e30
# Without these a network cannot be run, or its output has no meaning.
REQUIRED = {
    'output': 'inverse_depth, depth or log_depth',
    'metres': 'true, false, or focal: metres for one focal length only',
    'resize': f'{", ".join(get_args(Resize)[:-1])} or {get_args(Resize)[-1]}',
    'color': 'rgb or bgr',
    'mean': 'three numbers that are subtracted from red, green, blue in 0..1',
    'std': 'three numbers that they are divided by'}
# Only for a network whose height and width are free.
REQUIRED_SIZE = {'multiple': 'the sides are multiples of this number of pixels',
                 'size': 'usual side in pixels, the one that resize fixes'}


@dataclass(frozen=True)
class Description:
    """
    All facts on a network, see docs/converting.md.

    ``depth_output`` and ``sky_output`` name outputs, '' for the only one and for none; the others
    are dropped. ``constants`` are the values of inputs beside the image.
    """

    output: Output
    metres: Metres
    resize: Resize
    color: ColorOrder
    mean: Triple
    std: Triple
    multiple: int = 0
    size: int = 0
    interpolation: Interpolation = 'linear'
    min_side: int = 0
    max_side: int = 0
    focal_px: float = 0.0
    max_depth: float = 0.0
    depth_output: str = ''
    sky_output: str = ''
    sky_threshold: float = 0.0
    sky_inverted: bool = False
    name: str = 'unknown'
    licence: str = UNKNOWN_LICENCE
    constants: Mapping[str, float] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """Return what the converted network gives: metres only where it needs no focal length."""
        return 'metric' if self.metres is True else 'relative'

    @property
    def has_shift(self) -> bool:
        """Return whether the inverse depth is known up to scale and shift, not only to scale."""
        return self.metres is False and self.output == 'inverse_depth'

    @property
    def text(self) -> str:
        """Return the description as JSON."""
        return json.dumps(asdict(self))

    def input_spec(self, size_hw: tuple[int, int] | None) -> InputSpec:
        """Return the input of the network, whose only size is ``size_hw``, None for any."""
        multiple, size = self.multiple, self.size
        if size_hw is not None:
            multiple = multiple or math.gcd(*size_hw)
            size = size or min(size_hw)
        limits = (self.min_side or 1, self.max_side or LARGEST_SIDE)
        return InputSpec(multiple, size, self.mean, self.std, None, self.resize,
                         self.interpolation, None if limits == (1, LARGEST_SIDE) else limits)

    def image(self, image_nchw: F32) -> F32:
        """Return a normalised RGB image [N, 3, H, W] in the network's order of colours."""
        return np.ascontiguousarray(image_nchw[:, ::-1]) if self.color == 'bgr' else image_nchw

    def depth(self, values: F32) -> F32:
        """Return what the converted network gives for these values of the depth output."""
        with np.errstate(divide='ignore', over='ignore', invalid='ignore'):
            if self.output == 'log_depth':
                converted: F32 = np.exp(values if self.kind == 'metric' else -values)
                return converted
            if self.output == ('depth' if self.kind == 'metric' else 'inverse_depth'):
                return values
            if self.kind == 'metric':
                return np.reciprocal(np.maximum(values, np.float32(LEAST_INVERSE_M)))
            return np.where(values > LEAST_DEPTH, np.reciprocal(values), np.float32(0))

    def sky(self, values: F32) -> F32:
        """Return the sky that the converted network gives for these values of its output."""
        return 1 - values if self.sky_inverted else values


def read_facts(path: Path) -> dict[str, Any]:
    """Return the facts in a YAML file, each checked; CheckpointError names the wrong one."""
    try:
        facts = parse_yaml(read_text(path))
    except ImportError as error:
        raise MissingDependencyError('pyyaml', f'reading {path.name}', INSTALL_CONVERT) from error
    except OSError as error:
        raise CheckpointError(path, f'it cannot be read ({error.strerror})',
                              'check the path') from error
    except ValueError as error:
        raise CheckpointError(path, line_of(error), SEE) from error
    if not isinstance(facts, dict) or not facts:
        raise CheckpointError(path, 'it holds no facts', SEE)
    for name, value in facts.items():
        if name not in _CHECKS:
            raise CheckpointError(path, f'it has {name!r}, which is no fact on a network',
                                  f'use {", ".join(_CHECKS)}; {SEE}')
        if problem := _CHECKS[name](value):
            raise CheckpointError(path, f'{name} is {shown(value)}, not {problem}', SEE)
    return facts


def missing_facts(facts: Mapping[str, Any], fixed: bool) -> dict[str, str]:
    """Return the required facts that are missing, with their meaning; ``fixed``: of one size."""
    required = REQUIRED if fixed else {**REQUIRED, **REQUIRED_SIZE}
    missing = {name: text for name, text in required.items() if name not in facts}
    if facts.get('metres') == 'focal' and not facts.get('focal_px'):
        missing['focal_px'] = 'the focal length in pixels for which the depth is in metres'
    if facts.get('sky_output') and not facts.get('sky_threshold'):
        missing['sky_threshold'] = 'the value of the sky output from which on it is sky'
    return missing


def complete(path: Path, facts: Mapping[str, Any], fixed: bool) -> Description:
    """Return the description of the network at ``path``; CheckpointError lists missing facts."""
    missing = missing_facts(facts, fixed)
    if missing:
        listed = '; '.join(f'{name}: {text}' for name, text in missing.items())
        raise CheckpointError(
            path, f'{len(missing)} facts on this network are unknown ({listed})',
            'write them into a YAML file for depth_anything_convert convert '
            f'{path.name} --describe FILE.yaml; {SEE}')
    if facts.get('focal_px') and facts['metres'] != 'focal':
        raise CheckpointError(path, 'focal_px is given, but metres is not focal', SEE)
    multiple, smallest = facts.get('multiple', 1), facts.get('min_side', 1)
    largest = facts.get('max_side', LARGEST_SIDE)
    if largest // multiple * multiple < smallest:
        raise CheckpointError(path, f'no side from min_side {smallest} to max_side {largest} is a '
                              f'multiple of {multiple}', SEE)
    return Description(**{**facts, 'mean': _triple(facts['mean']), 'std': _triple(facts['std'])})


def from_text(path: Path, text: str) -> Description:
    """Return the description in the IR at ``path``; ModelError if none of this release is."""
    try:
        facts = json.loads(text)
        return Description(**{**facts, 'mean': _triple(facts['mean']),
                              'std': _triple(facts['std'])})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(path, f'its description is damaged or of another release '
                         f'({line_of(error)})', 'convert the network again') from error


def _triple(values: Any) -> Triple:
    red, green, blue = values
    return float(red), float(green), float(blue)


def _one_of(choices: tuple[Any, ...]) -> Callable[[Any], str]:
    text = f'one of {", ".join(str(choice).lower() for choice in choices)}'
    return lambda value: '' if value in choices and type(value) in map(type, choices) else text


def _number(least: float, text: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        valid = type(value) in (int, float) and abs(value) < _LARGEST and value > least
        return '' if valid else text
    return check


def _side(value: Any) -> str:
    return '' if type(value) is int and 1 <= value <= LARGEST_SIDE else 'a number of pixels'


def _text(value: Any) -> str:
    return '' if isinstance(value, str) and value.isprintable() and value else 'a text'


_any_number, _positive = _number(-_LARGEST, 'a number'), _number(0.0, 'a positive number')


def _three(check: Callable[[Any], str], text: str) -> Callable[[Any], str]:
    return lambda value: '' if (isinstance(value, list) and len(value) == 3
                                and not any(map(check, value))) else text


def _constants(value: Any) -> str:
    valid = isinstance(value, dict) and all(
        isinstance(name, str) and not _any_number(one) for name, one in value.items())
    return '' if valid else 'a number for each name of an input'


_CHECKS: dict[str, Callable[[Any], str]] = {
    'output': _one_of(get_args(Output)), 'metres': _one_of((True, False, 'focal')),
    'resize': _one_of(get_args(Resize)), 'color': _one_of(get_args(ColorOrder)),
    'mean': _three(_any_number, 'three numbers'),
    'std': _three(_positive, 'three positive numbers'), 'multiple': _side, 'size': _side,
    'interpolation': _one_of(get_args(Interpolation)), 'min_side': _side, 'max_side': _side,
    'focal_px': _positive, 'max_depth': _positive,
    'depth_output': _text, 'sky_output': _text, 'sky_threshold': _positive,
    'sky_inverted': _one_of((True, False)), 'name': _text, 'licence': _text,
    'constants': _constants}
