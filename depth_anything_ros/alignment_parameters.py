"""The groups of parameters for metres: alignment and motion; see ``parameters``."""

from dataclasses import dataclass

from depth_anything_ros.parameter_spec import parameter

# The time constant [s] of sources that may err in single images.
_AVERAGING_S = 2.0


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
        'auto', 'runtime', 'Fits only the scale, or scale and shift. auto fits both for relative '
        'models, and only the scale for metric models and for a range sensor.',
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
class MotionParameters:
    """How the motion of the camera is known, for ``alignment.source`` motion, motion+ground."""

    odom_frame: str = parameter(
        'odom', 'activate', 'Frame in which the camera moves. It must not jump: a frame of '
        'odometry, not of a map. TF must connect it to the frame of the images, unless '
        'motion.odometry_topic is set; then it is the frame_id of the odometry.')
    odometry_topic: str = parameter(
        '', 'activate', 'Topic with nav_msgs/Odometry, for systems without TF. Empty uses TF, '
        'which needs tf2_ros.')
    camera_pose: tuple[float, ...] = parameter(
        (0.0,) * 6, 'runtime', 'With motion.odometry_topic: pose of the optical frame of the '
        'camera in the child frame of the odometry, as x, y, z in metres, then roll, pitch, yaw '
        'in radians. A camera that looks ahead has -1.5708, 0, -1.5708 as its last three.',
        minimum=-1e3, maximum=1e3)
    time_offset: float = parameter(
        0.0, 'runtime', 'Added to the stamp of an image to find its pose: positive if the camera '
        'stamps its images too early, compared with the odometry.', unit='s', minimum=-10.0,
        maximum=10.0)
    max_gap: float = parameter(
        0.25, 'runtime', 'Largest time between two poses of the odometry. No pose is interpolated '
        'over a longer one, and points are not followed across it.', unit='s', minimum=0.001,
        maximum=10.0)
    max_speed: float = parameter(
        10.0, 'activate', 'A pose that moves faster has jumped: points are not followed across '
        'the jump.', unit='m/s', minimum=0.01, maximum=1e3)
    max_deviation: float = parameter(
        10.0, 'runtime', 'With motion.odometry_topic: largest standard deviation of the position, '
        'by the variances of x and y. 0 means no limit, for odometry whose covariance grows with '
        'the distance.', unit='m', minimum=0.0, maximum=1e6)
    points: int = parameter(
        300, 'activate', 'Number of points that are followed through the images. More points take '
        'more time.', minimum=50, maximum=2000)
