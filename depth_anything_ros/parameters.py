"""
The parameters of the node: they are declared here and in ``motion_parameters`` only.

A field of ``Settings`` or of a group such as ``AlignmentSettings`` is a parameter with its
default, limits, unit and description. The ROS descriptors, the parameter file, the launch
arguments and docs/parameters.md are made from ``SPECS``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
import re
from typing import Any, get_args

from depth_anything_ros.errors import SettingsError
from depth_anything_ros.model_info import device_names, ExecutionPrecision
from depth_anything_ros.motion_parameters import MotionParameters
from depth_anything_ros.parameter_spec import parameter, Spec

_DEVICE = re.compile(r'(CPU|GPU|NPU)(\.\d+)?')
# The time constant [s] of sources that may err in single images.
_AVERAGING_S = 2.0
# ROS refuses topics of more than 247 letters; braces are substitutions, such as {node}.
_CAMERA = re.compile(r'[A-Za-z][A-Za-z0-9_]{0,63}')
_TOPIC = re.compile(r'(~?/)?[A-Za-z_{][A-Za-z0-9_{}]*(/[A-Za-z_{][A-Za-z0-9_{}]*)*')


@dataclass(frozen=True)
class AlignmentSettings:
    """How 1/z = scale * d + shift is fitted to a reference."""

    source: str = parameter(
        'none', 'activate', 'Source of the metres: motion (of the camera, known from TF or '
        'odometry, see motion.*), depth (image on reference/depth), points (point '
        'cloud on reference/points), range (sensor_msgs/Range on reference/range), ground (the '
        'floor, with camera_height and camera_pitch), motion+ground (both, and none if they '
        'contradict each other) or none (relative_scale and relative_shift).',
        choices=('none', 'motion', 'depth', 'points', 'range', 'ground', 'motion+ground'))
    fit: str = parameter(
        'auto', 'runtime', 'Fits only the scale, or scale and shift. auto fits only the scale for '
        'metric models, for a range sensor, and for relative models that give inverse depth '
        'without a shift, such as Depth Anything 3; else both.',
        choices=('auto', 'scale', 'scale_shift'))
    time_constant: float = parameter(
        -1.0, 'runtime', 'Time constant of the running average over the fits. 0 uses each fit '
        'alone. -1 chooses: 0 for motion and motion+ground, because the scale of a relative model '
        'changes with the image, else 2.', unit='s', minimum=-1.0, maximum=3600.0)
    timeout: float = parameter(
        5.0, 'runtime', 'Stops metric depth after this time without a good fit. 0 never stops it.',
        unit='s', minimum=0.0, maximum=3600.0)
    max_time_difference: float = parameter(
        0.1, 'runtime', 'Largest difference between the time stamps of an image and of its '
        'reference.', unit='s', minimum=0.0, maximum=10.0)
    min_support: int = parameter(
        30, 'runtime', 'Smallest number of reference points that must agree with a fit. A range '
        'sensor needs only one.', minimum=3, maximum=100000)
    max_outliers: float = parameter(
        0.5, 'runtime', 'Largest share of the reference points that may disagree with a fit.',
        minimum=0.0, maximum=0.9)
    max_residual: float = parameter(
        0.15, 'runtime', 'Largest median error of the fitted depth, as a share of the depth.',
        minimum=0.001, maximum=1.0)
    max_disagreement: float = parameter(
        0.25, 'runtime', 'For motion+ground: largest share by which depth by the motion and depth '
        'by the floor may differ. If they differ by more, the fit is rejected.',
        minimum=0.01, maximum=1.0)
    reference_min: float = parameter(
        0.1, 'runtime', 'Ignores reference depth smaller than this.', unit='m', minimum=0.0,
        maximum=1e4)
    reference_max: float = parameter(
        20.0, 'runtime', 'Ignores reference depth larger than this.', unit='m', minimum=0.01,
        maximum=1e4)
    reference_frame: str = parameter(
        'tf', 'activate', 'Pose of the points or range sensor relative to the camera: tf (from '
        'TF, needs tf2_ros) or fixed (alignment.reference_pose).', choices=('tf', 'fixed'))
    reference_pose: tuple[float, ...] = parameter(
        (0.0,) * 6, 'runtime', 'Pose of the sensor in the optical frame of the camera, for '
        'alignment.reference_frame fixed: x, y, z in metres, then roll, pitch, yaw in radians.',
        minimum=-1e3, maximum=1e3)
    filled_tolerance: float = parameter(
        0.0, 'runtime', 'Largest difference of measured from fitted inverse depth, as a share of '
        'the fitted one, up to which ~/depth_filled/image keeps the measured depth. 0 uses three '
        'standard deviations of all differences, at most 0.25.', minimum=0.0, maximum=10.0)
    filled_seam: float = parameter(
        0.1, 'runtime', 'Distance from measured pixels, as a share of the width, over which the '
        'fitted depth in ~/depth_filled/image is blended with them. 0 does not blend.',
        minimum=0.0, maximum=1.0)

    @property
    def averaging_s(self) -> float:
        """Return the time constant in use [s], 0 for none."""
        if self.time_constant >= 0:
            return self.time_constant
        return 0.0 if self.uses('motion') else _AVERAGING_S

    def uses(self, source: str) -> bool:
        """Return whether ``source`` is the source of the metres, or one of two."""
        return source in self.source.split('+')


@dataclass(frozen=True)
class Settings:
    """A valid set of parameters; SettingsError if a value is wrong or two values contradict."""

    model: str = parameter(
        '', 'configure', 'Path of the model: the .xml of an OpenVINO IR, with its .bin in the '
        'same folder, made by depth_anything_convert. Empty means the model of the '
        'package, depth_anything_tiny.', shared=True)
    cameras: tuple[str, ...] = parameter(
        (), 'configure', 'Names of several cameras that share one model, for example '
        '[front, rear]. The topics of a camera are below its name. A parameter that is read in '
        'activate or with the next frame can be set for one camera as <name>.<parameter>. Empty '
        'means one camera without a name.', shared=True)
    device: str = parameter(
        'CPU', 'runtime', 'OpenVINO devices in order of preference, separated by commas, for '
        'example NPU,GPU,CPU. The node uses the first one that compiles the model and passes the '
        'self-check.', shared=True)
    precision: str = parameter(
        'auto', 'runtime', 'Execution precision of the network. auto lets GPU and NPU choose, '
        'usually f16. A CPU computes in f32, or in bf16 if it has that and is faster in it; '
        'beside NAME.xml it runs NAME_int8.xml, made by `depth_anything_convert quantize`, where '
        'that is faster, and logs it. The first start takes longer then.',
        choices=get_args(ExecutionPrecision), shared=True)
    requests: int = parameter(
        0, 'configure', 'Number of infer requests in flight. 0 uses the number that the device '
        'recommends for low latency.', minimum=0, maximum=8, shared=True)
    request_timeout: float = parameter(
        10.0, 'configure', 'Time after which a frame without an answer from the device is '
        'dropped and reported. Self-check and warm-up have 120 s, or this time if it is longer.',
        unit='s', minimum=0.05, maximum=600.0, shared=True)
    cache_dir: str = parameter(
        '~/.cache/depth_anything_ros', 'configure', 'Folder for compiled models, which make the '
        'next start faster. It takes at most 2 GiB: models used longest ago are removed. A '
        'damaged one is compiled again, with a warning. Empty turns the cache off.', shared=True)
    self_check: bool = parameter(
        True, 'configure', 'Compares the output of the device with the f32 output stored in the '
        'model and rejects a device with wrong results. On a CPU this runs once per model if '
        'cache_dir is set.', shared=True)
    expected_width: int = parameter(
        640, 'configure', 'Image width for which configure compiles the network. Another width '
        'costs one compilation when the first image arrives.', unit='px', minimum=1,
        maximum=16384, shared=True)
    expected_height: int = parameter(
        480, 'configure', 'Image height for which configure compiles the network. Another height '
        'costs one compilation when the first image arrives.', unit='px', minimum=1,
        maximum=16384, shared=True)
    input_size: int = parameter(
        0, 'runtime', 'Short side of the network input. A smaller input is faster and shows less '
        'detail: 252 is several times as fast as 518. The aspect ratio is kept, and both sides '
        'are rounded to multiples of 14. 0 uses the default of the model: 518, or 196 for '
        'depth_anything_tiny. For models that are not Depth Anything V1 or V2 it is the side that '
        'their rule fixes, and other multiples apply.', unit='px', minimum=0, maximum=2058,
        shared=True)
    target_rate: float = parameter(
        0.0, 'configure', 'Depth images per second for every camera. The node measures which '
        'input sizes up to input_size reach this rate, uses the largest one, and changes it when '
        'the load changes. 0 turns this off.', unit='Hz', minimum=0.0, maximum=1000.0,
        shared=True)
    image_transport: str = parameter(
        'raw', 'activate', 'Topic of the images: image for raw, image/compressed for compressed.',
        choices=('raw', 'compressed'))
    max_image_megapixels: float = parameter(
        50.0, 'runtime', 'Largest compressed image that is decoded, by the size in its header. '
        'Line noise can make a header that claims a size for which the memory is too small.',
        unit='MP', minimum=0.01, maximum=1000.0)
    image_geometry: str = parameter(
        'auto', 'runtime', 'Whether the images are rectified (P of camera_info applies) or raw '
        '(K and the distortion D apply). auto means rectified if the camera has no distortion, or '
        'if the last part of the image topic that has one of the words rect, rectified, '
        'undistorted and raw says so.', choices=('auto', 'rectified', 'raw'))
    relative_scale: float = parameter(
        0.0, 'runtime', 'Relative models without alignment: scale in 1/z = scale * d + shift, '
        'with depth z and model output d. 0 means unknown, and no metric depth is published, '
        'unless the focal length in camera_info gives the scale of the model.',
        unit='1/m', minimum=0.0, maximum=1e6)
    relative_shift: float = parameter(
        0.0, 'runtime', 'Relative models without alignment: shift in 1/z = scale * d + shift.',
        unit='1/m', minimum=-1e6, maximum=1e6)
    metric_scale: float = parameter(
        1.0, 'runtime', 'Metric models: factor of the depth. 1 leaves it unchanged.',
        minimum=1e-3, maximum=1e3)
    metric_offset: float = parameter(
        0.0, 'runtime', 'Metric models: offset of the depth, added after metric_scale. 0 leaves '
        'it unchanged.', unit='m', minimum=-1e3, maximum=1e3)
    metric_focal: float = parameter(
        0.0, 'runtime', 'Metric models: corrects the depth for the focal length of this camera. '
        'The value is the focal length of the training camera divided by the short side of its '
        'image. 0 turns the correction off.', minimum=0.0, maximum=100.0)
    alignment: AlignmentSettings = field(default_factory=AlignmentSettings)
    motion: MotionParameters = field(default_factory=MotionParameters)
    camera_height: float = parameter(
        0.0, 'runtime', 'Height of the camera above the floor, for alignment.source ground and '
        'motion+ground, and for the height limits of the points. 0 means unknown.', unit='m',
        minimum=0.0, maximum=1e3)
    camera_pitch: float = parameter(
        0.0, 'runtime', 'Angle of the optical axis below the horizon; positive looks down.',
        unit='rad', minimum=-1.57, maximum=1.57)
    stabilization: str = parameter(
        'color', 'runtime', 'Removes flicker by fitting each frame to the previous ones: color '
        '(only the colour image), all (also depth and points) or off.',
        choices=('off', 'color', 'all'))
    edge_filter: float = parameter(
        0.0, 'runtime', 'Removes flying pixels: depth becomes NaN at an edge where inverse depth '
        'jumps by more than this share of its value. 0.05 is a good start. 0 turns the filter '
        'off.', minimum=0.0, maximum=1.0)
    confidence_min: float = parameter(
        0.0, 'runtime', 'Removes uncertain depth: depth and points become NaN where '
        '~/confidence/image is below this. 0 turns the filter off.', minimum=0.0, maximum=1.0)
    confidence_every: int = parameter(
        4, 'runtime', 'Every n-th image is also computed mirrored, which takes one more '
        'inference; the difference of the two depths tells where depth is uncertain, until the '
        'next comparison. Only while ~/confidence/image has a subscriber or confidence_min is '
        'above 0. 0 compares none: the confidence then costs next to nothing and is less good.',
        minimum=0, maximum=1000)
    sky_filter: str = parameter(
        'off', 'runtime', 'Depth and points of the sky: off (as the network gives them), nan '
        '(none) or far (no depth, and points at points_clearing, with which a costmap clears free '
        'space). Sky is what the model names so. If it names none and is relative, sky is the '
        'region at the upper border that is infinitely far.', choices=('off', 'nan', 'far'))
    output_size: str = parameter(
        'input', 'runtime', 'Size of the depth and colour images: input (size of the input '
        'image), native (size of the network output) or divisor (size of the input image divided '
        'by output_divisor).', choices=('input', 'native', 'divisor'))
    output_divisor: int = parameter(
        2, 'runtime', 'Divisor of the image size for output_size divisor.', minimum=1, maximum=16)
    depth_encoding: str = parameter(
        '32FC1', 'runtime', 'Encoding of the depth images: 32FC1 (metres, NaN where invalid) or '
        '16UC1 (millimetres, 0 where invalid or beyond 65.535 m).', choices=('32FC1', '16UC1'))
    depth_min: float = parameter(
        0.0, 'runtime', 'Smallest depth in the depth images; smaller values become NaN.', unit='m',
        minimum=0.0, maximum=1e4)
    depth_max: float = parameter(
        0.0, 'runtime', 'Largest depth in the depth images; larger values become NaN. 0 means no '
        'limit.', unit='m', minimum=0.0, maximum=1e4)
    points_color: bool = parameter(True, 'runtime', 'Adds the field rgb to the points.')
    points_stride: int = parameter(
        2, 'runtime', 'Makes a point of every n-th row and column of the depth image.',
        unit='px', minimum=1, maximum=64)
    points_voxel: float = parameter(
        0.0, 'runtime', 'Merges the points in each cube of this size into one; the cloud is then '
        'unorganized. 0 turns this off.', unit='m', minimum=0.0, maximum=100.0)
    points_min: float = parameter(
        0.1, 'runtime', 'Smallest depth of a point; nearer points become NaN.', unit='m',
        minimum=0.0, maximum=1e4)
    points_max: float = parameter(
        20.0, 'runtime', 'Largest depth of a point; farther points become NaN. 0 means no limit.',
        unit='m', minimum=0.0, maximum=1e4)
    points_clearing: float = parameter(
        0.0, 'runtime', 'Moves points farther than points_max to this depth, so that a costmap '
        'can clear free space along their rays. 0 makes them NaN.', unit='m', minimum=0.0,
        maximum=1e4)
    points_height_min: float = parameter(
        0.0, 'runtime', 'Smallest height of a point above the floor; lower points become NaN. '
        'Needs camera_height. If both heights are 0, there is no limit.', unit='m', minimum=-1e3,
        maximum=1e3)
    points_height_max: float = parameter(
        0.0, 'runtime', 'Largest height of a point above the floor; higher points become NaN. '
        'Needs camera_height. If both heights are 0, there is no limit.', unit='m', minimum=-1e3,
        maximum=1e3)
    points_near: float = parameter(
        0.5, 'runtime', 'Distance of the nearest 2 % of the scene in the cloud of a relative '
        'model without metres. The cloud is for display, not for measurements.', unit='m',
        minimum=0.01, maximum=1e4)
    points_far: float = parameter(
        10.0, 'runtime', 'Distance of the farthest 2 % of the scene in the cloud of a relative '
        'model without metres. The cloud is for display, not for measurements.', unit='m',
        minimum=0.02, maximum=1e4)
    points_rate: float = parameter(
        0.0, 'runtime', 'Most point clouds per second, for subscribers that need fewer than there '
        'are images. 0 publishes one for each image.', unit='Hz', minimum=0.0, maximum=1000.0)
    color_rate: float = parameter(
        0.0, 'runtime', 'Most messages per second on ~/color/image. 0 publishes one for each '
        'image.', unit='Hz', minimum=0.0, maximum=1000.0)
    color_map: str = parameter(
        'spectral_r', 'runtime', 'Colour map of ~/color/image.',
        choices=('spectral_r', 'inferno', 'magma', 'viridis', 'turbo', 'gray'))
    snapshot_dir: str = parameter(
        '~/depth_anything_snapshots', 'runtime', 'Folder of the snapshots; each call of '
        '~/save_snapshot makes a new folder in it.', shared=True)
    diagnostics_period: float = parameter(
        1.0, 'start', 'Time between two messages on /diagnostics.', unit='s', minimum=0.1,
        maximum=60.0, shared=True)

    def __post_init__(self) -> None:
        for spec in SPECS:
            spec.check(self.value(spec.name))
        self._check_names()
        self._check_order('points_near', 'points_far')
        self._check_order('alignment.reference_min', 'alignment.reference_max')
        for limited in ('depth', 'points'):
            if self.value(f'{limited}_max'):
                self._check_order(f'{limited}_min', f'{limited}_max')
        if self.points_clearing:
            if not self.points_max:
                raise SettingsError('points_max', self.points_max,
                                    'above 0 if points_clearing is set')
            self._check_order('points_max', 'points_clearing')
        elif self.sky_filter == 'far':
            raise SettingsError('points_clearing', 0.0, 'set for sky_filter far')
        if self.has_height_band:
            self._check_order('points_height_min', 'points_height_max')
        self._check_needed()

    def _check_names(self) -> None:
        if not self.devices or not all(map(_DEVICE.fullmatch, self.devices)):
            raise SettingsError('device', self.device,
                                'CPU, GPU, GPU.1 or NPU, or several separated by commas')
        if not all(map(_CAMERA.fullmatch, self.cameras)) or (
                len(set(self.cameras)) < len(self.cameras)):
            raise SettingsError('cameras', self.cameras, 'different names of at most 64 letters, '
                                'digits and underscores that start with a letter')
        topic = self.motion.odometry_topic
        if topic and not _TOPIC.fullmatch(topic):
            raise SettingsError('motion.odometry_topic', topic, 'a topic such as odom or /robot/'
                                'odom: words of letters, digits and underscores')

    def _check_needed(self) -> None:
        if self.camera_height == 0 and (self.has_height_band or self.alignment.uses('ground')):
            raise SettingsError('camera_height', self.camera_height, 'set for alignment.source '
                                'ground or motion+ground, and for points_height_min and '
                                'points_height_max')
        if self.alignment.uses('motion') and not self.motion.odom_frame:
            raise SettingsError('motion.odom_frame', '', 'set for alignment.source motion')

    @property
    def devices(self) -> tuple[str, ...]:
        """Return the devices in order of preference."""
        return device_names(self.device)

    @property
    def has_height_band(self) -> bool:
        """Return whether the points are filtered by their height above the floor."""
        return bool(self.points_height_min or self.points_height_max)

    def value(self, name: str) -> Any:
        """Return the value of a parameter such as ``device`` or ``alignment.source``."""
        return attrgetter(name)(self)

    def _check_order(self, lower: str, upper: str) -> None:
        if self.value(lower) >= self.value(upper):
            raise SettingsError(lower, self.value(lower),
                                f'below {upper}, which is {self.value(upper):g}')

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> 'Settings':
        """Return checked settings, with defaults for missing names; SettingsError if not valid."""
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


_GROUPS: dict[str, Any] = {'alignment': AlignmentSettings, 'motion': MotionParameters}


def _specs(declared: type, prefix: str = '') -> Iterator[Spec]:
    for entry in fields(declared):
        if entry.name in _GROUPS:
            yield from _specs(_GROUPS[entry.name], f'{entry.name}.')
        else:
            yield Spec(name=prefix + entry.name, default=getattr(declared, entry.name),
                       **entry.metadata)


SPECS: tuple[Spec, ...] = tuple(_specs(Settings))
