"""What one parameter of the node is: its type, limits, unit and when it is read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
import math
from operator import attrgetter
import re
from typing import Any, get_args, Literal

from depth_anything_ros.errors import SettingsError
from depth_anything_ros.model_info import ExecutionPrecision

Value = bool | int | float | str | tuple[str, ...] | tuple[float, ...]
When = Literal['start', 'configure', 'activate', 'runtime']
__all__ = ['Settings', 'Spec', 'SPECS', 'Value']

_DEVICE = re.compile(r'(CPU|GPU|NPU)(\.\d+)?')
_CAMERA = re.compile(r'[A-Za-z][A-Za-z0-9_]*')


@dataclass(frozen=True)
class Spec:
    """
    What is known of one parameter besides its value.

    ``when`` is the moment at which the node reads it: at its start (read-only), in configure, in
    activate, or with the next frame. ``minimum`` and ``maximum`` are inclusive. ``shared``: one
    value for all cameras of a node; others can be set for each. A list is held as a tuple.
    """

    name: str
    default: Value
    description: str
    unit: str
    when: When
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    shared: bool

    @property
    def expected(self) -> str:
        """Return what a value must be, in words."""
        kind = {bool: 'true or false', int: 'an integer', float: 'a number', str: 'a text',
                tuple: 'a list of texts'}
        words = kind[type(self.default)]
        if isinstance(self.default, tuple) and self.default:
            words = f'a list of {len(self.default)} numbers'
        if self.choices:
            words = f'one of {", ".join(self.choices)}'
        if self.minimum is not None and self.maximum is not None:
            words += f' from {self.minimum:g} to {self.maximum:g}'
        return words

    def check(self, value: object) -> Value:
        """Return ``value`` in this parameter's type, or raise SettingsError."""
        if isinstance(self.default, tuple):
            return self._checked_list(self.default, value)
        if isinstance(self.default, float) and type(value) is int:
            value = float(value)
        if not isinstance(value, (bool, int, float, str)) or type(value) is not type(self.default):
            raise SettingsError(self.name, value, self.expected)
        if self.choices and value not in self.choices:
            raise SettingsError(self.name, value, self.expected)
        if isinstance(value, (int, float)) and not self._in_range(value):
            raise SettingsError(self.name, value, self.expected)
        return value

    def _checked_list(self, default: tuple[Any, ...], value: object) -> Value:
        # An empty list in a YAML file reaches the node as a parameter without a value.
        if value is None and not default:
            return ()
        if isinstance(value, str) or not hasattr(value, '__iter__'):
            raise SettingsError(self.name, value, self.expected)
        items = tuple(value)
        if not default and all(isinstance(item, str) for item in items):
            return items
        numbers = [item for item in items
                   if type(item) in (int, float) and self._in_range(item)]
        if not default or len(numbers) != len(default) or len(items) != len(default):
            raise SettingsError(self.name, value, self.expected)
        return tuple(float(number) for number in numbers)

    def _in_range(self, value: float) -> bool:
        return (math.isfinite(value)
                and (self.minimum is None or value >= self.minimum)
                and (self.maximum is None or value <= self.maximum))


def parameter(default: Value, when: When, description: str, *, unit: str = '',
              minimum: float | None = None, maximum: float | None = None,
              choices: tuple[str, ...] = (), shared: bool = False) -> Any:
    """Return a dataclass field that declares a parameter; see Spec."""
    return field(default=default, metadata={
        'description': description, 'unit': unit, 'when': when, 'minimum': minimum,
        'maximum': maximum, 'choices': choices, 'shared': shared})


@dataclass(frozen=True)
class AlignmentSettings:
    """How 1/z = scale * d + shift is fitted to a reference."""

    source: str = parameter(
        'none', 'activate', 'What the depth is fitted to: depth (image on reference/depth), '
        'points (cloud on reference/points), range (sensor_msgs/Range on reference/range), ground '
        '(the floor, from camera_height and camera_pitch) or none (relative_scale and '
        'relative_shift).',
        choices=('none', 'depth', 'points', 'range', 'ground'))
    fit: str = parameter(
        'auto', 'runtime', 'What is fitted: scale, or scale_shift. auto takes scale_shift for '
        'relative models and scale for metric ones and for a range sensor.',
        choices=('auto', 'scale', 'scale_shift'))
    time_constant: float = parameter(
        2.0, 'runtime', 'Time over which fits are averaged; 0 takes each as it is.', unit='s',
        minimum=0.0, maximum=3600.0)
    timeout: float = parameter(
        5.0, 'runtime', 'Without a good fit for this long, metric depth stops. 0 for never.',
        unit='s', minimum=0.0, maximum=3600.0)
    max_time_difference: float = parameter(
        0.1, 'runtime', 'Largest difference between the stamps of an image and its reference.',
        unit='s', minimum=0.0, maximum=10.0)
    min_support: int = parameter(
        30, 'runtime', 'Fewest reference points that must agree with a fit. A range sensor gives '
        'one.', minimum=3, maximum=100000)
    max_outliers: float = parameter(
        0.5, 'runtime', 'Largest share of reference points that may disagree with a fit.',
        minimum=0.0, maximum=0.9)
    max_residual: float = parameter(
        0.15, 'runtime', 'Largest median error of the depth at the points that agree, as a share '
        'of the depth.', minimum=0.001, maximum=1.0)
    reference_min: float = parameter(
        0.1, 'runtime', 'Reference depths below this are ignored.', unit='m', minimum=0.0,
        maximum=1e4)
    reference_max: float = parameter(
        20.0, 'runtime', 'Reference depths above this are ignored.', unit='m', minimum=0.01,
        maximum=1e4)
    reference_frame: str = parameter(
        'tf', 'activate', 'Where points and range sensor are seen from the camera: tf (needs '
        'tf2_ros) or fixed (reference_pose).', choices=('tf', 'fixed'))
    reference_pose: tuple[float, ...] = parameter(
        (0.0,) * 6, 'runtime', 'Pose of the sensor in the optical frame of the camera: x, y, z in '
        'metres and roll, pitch, yaw in radians.', minimum=-1e3, maximum=1e3)


@dataclass(frozen=True)
class Settings:
    """One valid set of parameters; raises SettingsError where two of them contradict."""

    model: str = parameter(
        '', 'configure', 'Path of the IR (.xml, its .bin beside it): depth_anything_nano.xml in '
        'models/, or one that depth_anything_convert made.', shared=True)
    cameras: tuple[str, ...] = parameter(
        (), 'configure', 'Names of several cameras that share one model, such as [front, rear]: '
        'each has its topics below its name, and any parameter that is read in activate or with '
        'the next frame can be set for one as <name>.<parameter>. Empty: one camera without a '
        'name.', shared=True)
    device: str = parameter(
        'CPU', 'runtime', 'OpenVINO devices in order of preference, separated by commas: '
        'the first that compiles and passes the self-check runs, for example NPU,GPU,CPU.',
        shared=True)
    precision: str = parameter(
        'auto', 'runtime', 'Execution precision. auto lets the device choose (bf16 on CPUs that '
        'have it, f16 on GPU and NPU).', choices=get_args(ExecutionPrecision), shared=True)
    requests: int = parameter(
        0, 'configure', 'Infer requests in flight. 0 takes what the device recommends for low '
        'latency.', minimum=0, maximum=8, shared=True)
    request_timeout: float = parameter(
        10.0, 'configure', 'Time after which an infer request is given up and reported.',
        unit='s', minimum=0.05, maximum=600.0, shared=True)
    cache_dir: str = parameter(
        '~/.cache/depth_anything_ros', 'configure', 'Folder for compiled models, which makes the '
        'next start faster. Empty for none.', shared=True)
    self_check: bool = parameter(
        True, 'configure', 'Compare the device with the f32 result stored in the IR and refuse '
        'a device that computes something else. On the CPU once, where cache_dir can remember it.',
        shared=True)
    expected_width: int = parameter(
        640, 'configure', 'Image width to compile for at configure. Another width works too and '
        'costs one compilation.', unit='px', minimum=1, maximum=16384, shared=True)
    expected_height: int = parameter(
        480, 'configure', 'Image height to compile for at configure.', unit='px',
        minimum=1, maximum=16384, shared=True)
    input_size: int = parameter(
        0, 'runtime', 'Short side of the network input; the aspect ratio is kept and both sides '
        'are rounded to what the network takes: multiples of 14, of 32 for depth_anything_nano. '
        "0 takes the model's own: 518, 288 for depth_anything_nano. Smaller is faster and less "
        'detailed: 252 is several times as fast as 518.', unit='px',
        minimum=0, maximum=2058, shared=True)
    target_rate: float = parameter(
        0.0, 'configure', 'Depth images a second that every camera is to get: the largest input '
        'size up to input_size that allows them is measured and taken, and another one when the '
        'load changes. 0 for off.', unit='Hz', minimum=0.0, maximum=1000.0, shared=True)
    image_transport: str = parameter(
        'raw', 'activate', 'Input to subscribe to: raw for image, compressed for '
        'image/compressed.', choices=('raw', 'compressed'))
    image_geometry: str = parameter(
        'auto', 'runtime', 'Whether the image is rectified (P of camera_info holds) or raw (K and '
        'the distortion D hold). auto: raw if D is not zero and the image topic is not named '
        'rect.', choices=('auto', 'rectified', 'raw'))
    relative_scale: float = parameter(
        0.0, 'runtime', 'Scale of a relative model in 1/z = scale * d + shift. 0 means unknown: '
        'then no metric depth is published.', unit='1/m', minimum=0.0, maximum=1e6)
    relative_shift: float = parameter(
        0.0, 'runtime', 'Shift of a relative model in 1/z = scale * d + shift.', unit='1/m',
        minimum=-1e6, maximum=1e6)
    metric_scale: float = parameter(
        1.0, 'runtime', 'Metric models: the depth is multiplied by this.', minimum=1e-3,
        maximum=1e3)
    metric_offset: float = parameter(
        0.0, 'runtime', 'Metric models: this is added after metric_scale.', unit='m',
        minimum=-1e3, maximum=1e3)
    metric_focal: float = parameter(
        0.0, 'runtime', 'Metric models: focal length, divided by the short side of the image, of '
        'the camera for which the metres hold. The depth is multiplied by that of this camera '
        'over it. 0 for no correction.', minimum=0.0, maximum=100.0)
    alignment: AlignmentSettings = field(default_factory=AlignmentSettings)
    camera_height: float = parameter(
        0.0, 'runtime', 'Height of the camera above the floor, for alignment.source ground and '
        'the height band of the cloud. 0 means unknown.', unit='m', minimum=0.0, maximum=1e3)
    camera_pitch: float = parameter(
        0.0, 'runtime', 'Angle by which the optical axis points below the horizon.', unit='rad',
        minimum=-1.57, maximum=1.57)
    stabilization: str = parameter(
        'color', 'runtime', 'What is freed of flicker by aligning each frame to its predecessors '
        'on what stands still: color (the colour image), all (data too) or off.',
        choices=('off', 'color', 'all'))
    edge_filter: float = parameter(
        0.0, 'runtime', 'Metric depth becomes NaN where its inverse jumps between neighbours by '
        'more than this share of itself beyond what it changes around, against flying pixels: '
        '0.05 is a good value. 0 for off.', minimum=0.0, maximum=1.0)
    output_size: str = parameter(
        'input', 'runtime', 'Size of depth and colour: input (of the image), native (of the '
        "network's output) or divisor (of the image, divided by output_divisor).",
        choices=('input', 'native', 'divisor'))
    output_divisor: int = parameter(
        2, 'runtime', 'Divisor for output_size divisor.', minimum=1, maximum=16)
    depth_encoding: str = parameter(
        '32FC1', 'runtime', 'Encoding of ~/depth/image: 32FC1 in metres, NaN where invalid, or '
        '16UC1 in millimetres, 0 where invalid.', choices=('32FC1', '16UC1'))
    depth_min: float = parameter(
        0.0, 'runtime', 'Metric depth below this becomes NaN in ~/depth/image.', unit='m',
        minimum=0.0, maximum=1e4)
    depth_max: float = parameter(
        0.0, 'runtime', 'Metric depth above this becomes NaN in ~/depth/image. 0 for no limit.',
        unit='m', minimum=0.0, maximum=1e4)
    points_color: bool = parameter(
        True, 'runtime', 'Whether points carry rgb beside x, y and z.')
    points_stride: int = parameter(
        2, 'runtime', 'Every n-th row and column of the depth becomes a point.',
        unit='px', minimum=1, maximum=64)
    points_voxel: float = parameter(
        0.0, 'runtime', 'One point per cube of this size, as an unorganised cloud. 0 for off.',
        unit='m', minimum=0.0, maximum=100.0)
    points_min: float = parameter(
        0.1, 'runtime', 'Points nearer than this become NaN.', unit='m', minimum=0.0, maximum=1e4)
    points_max: float = parameter(
        20.0, 'runtime', 'Points farther than this become NaN. 0 for no limit.', unit='m',
        minimum=0.0, maximum=1e4)
    points_clearing: float = parameter(
        0.0, 'runtime', 'Points farther than points_max are put at this depth instead of NaN, so '
        'that a costmap can clear along their rays. 0 for NaN.', unit='m', minimum=0.0,
        maximum=1e4)
    points_height_min: float = parameter(
        0.0, 'runtime', 'Points lower above the floor than this become NaN; needs camera_height.',
        unit='m', minimum=-1e3, maximum=1e3)
    points_height_max: float = parameter(
        0.0, 'runtime', 'Points higher above the floor than this become NaN. Both 0 for off.',
        unit='m', minimum=-1e3, maximum=1e3)
    points_near: float = parameter(
        0.5, 'runtime', 'Relative model without scale: where the nearest 2 % of the scene is '
        'drawn. For looking, not for measuring.', unit='m', minimum=0.01, maximum=1e4)
    points_far: float = parameter(
        10.0, 'runtime', 'Relative model without scale: where the farthest 2 % of the scene is '
        'drawn. For looking, not for measuring.', unit='m', minimum=0.02, maximum=1e4)
    color_map: str = parameter(
        'spectral_r', 'runtime', 'Colours of ~/color/image, from far to near.',
        choices=('spectral_r', 'inferno', 'magma', 'viridis', 'turbo', 'gray'))
    snapshot_dir: str = parameter(
        '~/depth_anything_snapshots', 'runtime', 'Folder in which ~/save_snapshot makes a folder.',
        shared=True)
    diagnostics_period: float = parameter(
        1.0, 'start', 'Time between two messages on /diagnostics.', unit='s',
        minimum=0.1, maximum=60.0, shared=True)

    def __post_init__(self) -> None:
        for spec in SPECS:
            spec.check(self.value(spec.name))
        if not self.devices or not all(map(_DEVICE.fullmatch, self.devices)):
            raise SettingsError('device', self.device,
                                'CPU, GPU, GPU.1 or NPU, or several separated by commas')
        if not all(map(_CAMERA.fullmatch, self.cameras)) or (
                len(set(self.cameras)) < len(self.cameras)):
            raise SettingsError('cameras', self.cameras, 'different names of letters, digits and '
                                'underscores that begin with a letter')
        self._check_order('points_near', 'points_far')
        self._check_order('alignment.reference_min', 'alignment.reference_max')
        for limited in ('depth', 'points'):
            if self.value(f'{limited}_max'):
                self._check_order(f'{limited}_min', f'{limited}_max')
        if self.points_clearing:
            if not self.points_max:
                raise SettingsError('points_max', self.points_max, 'set, as points_clearing is')
            self._check_order('points_max', 'points_clearing')
        if self.has_height_band:
            self._check_order('points_height_min', 'points_height_max')
        if self.camera_height == 0 and (self.has_height_band or self.alignment.source == 'ground'):
            raise SettingsError('camera_height', self.camera_height, 'set for alignment.source '
                                'ground and for points_height_min and points_height_max')

    @property
    def devices(self) -> tuple[str, ...]:
        """Return the devices in order of preference."""
        return tuple(name.strip() for name in self.device.split(',') if name.strip())

    @property
    def has_height_band(self) -> bool:
        """Return whether points are limited by their height above the floor."""
        return bool(self.points_height_min or self.points_height_max)

    def value(self, name: str) -> Any:
        """Return the value of the parameter ``name``, which may have a group before a point."""
        return attrgetter(name)(self)

    def _check_order(self, lower: str, upper: str) -> None:
        if self.value(lower) >= self.value(upper):
            raise SettingsError(lower, self.value(lower),
                                f'below {upper}, which is {self.value(upper):g}')

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> 'Settings':
        """Return checked settings; names that are missing keep their default."""
        by_name = {spec.name: spec for spec in SPECS}
        unknown = sorted(set(values) - set(by_name))
        if unknown:
            raise SettingsError(unknown[0], values[unknown[0]],
                                f'a known parameter, one of {", ".join(by_name)}')
        flat: dict[str, Any] = {}
        groups: dict[str, dict[str, Any]] = {name: {} for name in _GROUPS}
        for name, value in values.items():
            group, _, member = name.rpartition('.')
            (groups[group] if group else flat)[member] = by_name[name].check(value)
        return cls(**flat, **{name: _GROUPS[name](**given) for name, given in groups.items()})


_GROUPS: dict[str, Any] = {'alignment': AlignmentSettings}


def _specs(declared: type, prefix: str = '') -> Iterator[Spec]:
    for entry in fields(declared):
        if entry.name in _GROUPS:
            yield from _specs(_GROUPS[entry.name], f'{entry.name}.')
        else:
            yield Spec(name=prefix + entry.name, default=getattr(declared, entry.name),
                       **entry.metadata)


SPECS: tuple[Spec, ...] = tuple(_specs(Settings))
