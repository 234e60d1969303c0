"""
The one declaration of every parameter of the node.

Defaults, ROS descriptors, validation, ``config/depth_anything.yaml``, the launch arguments and the
table in the README are all made from it or tested against it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
import math
import re
from typing import Any, Literal

from depth_anything_ros.errors import SettingsError

_DEVICE = re.compile(r'(CPU|GPU|NPU)(\.\d+)?')
Value = bool | int | float | str
When = Literal['start', 'configure', 'activate', 'runtime']


@dataclass(frozen=True)
class Spec:
    """
    What is known of one parameter besides its value.

    ``when`` is the moment at which the node reads it: at its start (read-only), in configure, in
    activate, or with the next frame. ``minimum`` and ``maximum`` are inclusive.
    """

    name: str
    default: Value
    description: str
    unit: str
    when: When
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]

    @property
    def expected(self) -> str:
        """Return what a value must be, in words."""
        kind = {bool: 'true or false', int: 'an integer', float: 'a number', str: 'a text'}
        words = kind[type(self.default)]
        if self.choices:
            words = f'one of {", ".join(self.choices)}'
        if self.minimum is not None and self.maximum is not None:
            words += f' from {self.minimum:g} to {self.maximum:g}'
        return words

    def check(self, value: object) -> Value:
        """Return ``value`` in this parameter's type, or raise SettingsError."""
        if isinstance(self.default, float) and type(value) is int:
            value = float(value)
        if not isinstance(value, (bool, int, float, str)) or type(value) is not type(self.default):
            raise SettingsError(self.name, value, self.expected)
        if self.choices and value not in self.choices:
            raise SettingsError(self.name, value, self.expected)
        if isinstance(value, (int, float)) and not self._in_range(value):
            raise SettingsError(self.name, value, self.expected)
        return value

    def _in_range(self, value: float) -> bool:
        return (math.isfinite(value)
                and (self.minimum is None or value >= self.minimum)
                and (self.maximum is None or value <= self.maximum))


def _param(default: Value, when: When, description: str, *, unit: str = '',
           minimum: float | None = None, maximum: float | None = None,
           choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={
        'description': description, 'unit': unit, 'when': when,
        'minimum': minimum, 'maximum': maximum, 'choices': choices})


@dataclass(frozen=True)
class Settings:
    """One valid set of parameters; raises SettingsError where two of them contradict."""

    model: str = _param(
        '', 'configure', 'Path of the IR (.xml, its .bin beside it) that depth_anything_convert '
        'made.')
    device: str = _param(
        'CPU', 'configure', 'OpenVINO devices in order of preference, separated by commas: '
        'the first that compiles and passes the self-check runs, for example NPU,GPU,CPU.')
    precision: str = _param(
        'auto', 'configure', 'Execution precision. auto lets the device choose (bf16 on CPUs that '
        'have it, f16 on GPU and NPU).', choices=('auto', 'f32', 'bf16', 'f16'))
    requests: int = _param(
        0, 'configure', 'Infer requests in flight. 0 takes what the device recommends for low '
        'latency.', minimum=0, maximum=8)
    request_timeout: float = _param(
        10.0, 'configure', 'Time after which an infer request is given up and reported.',
        unit='s', minimum=0.05, maximum=600.0)
    cache_dir: str = _param(
        '~/.cache/depth_anything_ros', 'configure', 'Folder for compiled models, which makes the '
        'next start faster. Empty for none.')
    self_check: bool = _param(
        True, 'configure', 'Compare the device with the f32 result stored in the IR and refuse '
        'a device that computes something else.')
    expected_width: int = _param(
        640, 'configure', 'Image width to compile for at configure. Another width works too and '
        'costs one compilation.', unit='px', minimum=1, maximum=16384)
    expected_height: int = _param(
        480, 'configure', 'Image height to compile for at configure.', unit='px',
        minimum=1, maximum=16384)
    input_size: int = _param(
        0, 'runtime', 'Short side of the network input; the aspect ratio is kept and both sides '
        "are rounded to multiples of 14. 0 takes the model's own (518). Smaller is faster and "
        'less detailed: 252 is several times as fast as 518.', unit='px',
        minimum=0, maximum=2058)
    image_transport: str = _param(
        'raw', 'activate', 'Input to subscribe to: raw for image, compressed for '
        'image/compressed.', choices=('raw', 'compressed'))
    relative_scale: float = _param(
        0.0, 'runtime', 'Scale of a relative model in 1/z = scale * d + shift. 0 means unknown: '
        'then no metric depth is published.', unit='1/m', minimum=0.0, maximum=1e6)
    relative_shift: float = _param(
        0.0, 'runtime', 'Shift of a relative model in 1/z = scale * d + shift.', unit='1/m',
        minimum=-1e6, maximum=1e6)
    depth_min: float = _param(
        0.0, 'runtime', 'Metric depth below this becomes NaN in ~/depth/image.', unit='m',
        minimum=0.0, maximum=1e4)
    depth_max: float = _param(
        0.0, 'runtime', 'Metric depth above this becomes NaN in ~/depth/image. 0 for no limit.',
        unit='m', minimum=0.0, maximum=1e4)
    points_stride: int = _param(
        2, 'runtime', 'Every n-th row and column of the depth becomes a point.',
        unit='px', minimum=1, maximum=64)
    points_min: float = _param(
        0.1, 'runtime', 'Points nearer than this become NaN.', unit='m', minimum=0.0, maximum=1e4)
    points_max: float = _param(
        20.0, 'runtime', 'Points farther than this become NaN. 0 for no limit.', unit='m',
        minimum=0.0, maximum=1e4)
    points_near: float = _param(
        0.5, 'runtime', 'Relative model without scale: where the nearest 2 % of the scene is '
        'drawn. For looking, not for measuring.', unit='m', minimum=0.01, maximum=1e4)
    points_far: float = _param(
        10.0, 'runtime', 'Relative model without scale: where the farthest 2 % of the scene is '
        'drawn. For looking, not for measuring.', unit='m', minimum=0.02, maximum=1e4)
    color_map: str = _param(
        'spectral_r', 'runtime', 'Colours of ~/color/image, from far to near.',
        choices=('spectral_r', 'inferno', 'magma', 'viridis', 'turbo', 'gray'))
    diagnostics_period: float = _param(
        1.0, 'start', 'Time between two messages on /diagnostics.', unit='s',
        minimum=0.1, maximum=60.0)

    def __post_init__(self) -> None:
        for spec in SPECS:
            spec.check(getattr(self, spec.name))
        if not self.devices or not all(map(_DEVICE.fullmatch, self.devices)):
            raise SettingsError('device', self.device,
                                'CPU, GPU, GPU.1 or NPU, or several separated by commas')
        if self.points_near >= self.points_far:
            raise SettingsError('points_near', self.points_near,
                                f'below points_far, which is {self.points_far:g}')
        for name in ('depth', 'points'):
            low, high = getattr(self, f'{name}_min'), getattr(self, f'{name}_max')
            if high and low >= high:
                raise SettingsError(f'{name}_min', low, f'below {name}_max, which is {high:g}')

    @property
    def devices(self) -> tuple[str, ...]:
        """Return the devices in order of preference."""
        return tuple(name.strip() for name in self.device.split(',') if name.strip())

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> 'Settings':
        """Return checked settings; names that are missing keep their default."""
        by_name = {spec.name: spec for spec in SPECS}
        unknown = sorted(set(values) - set(by_name))
        if unknown:
            raise SettingsError(unknown[0], values[unknown[0]],
                                f'a known parameter, one of {", ".join(by_name)}')
        checked: dict[str, Any] = {name: by_name[name].check(value)
                                   for name, value in values.items()}
        return cls(**checked)


SPECS: tuple[Spec, ...] = tuple(
    Spec(name=entry.name, default=getattr(Settings, entry.name), **entry.metadata)
    for entry in fields(Settings))
