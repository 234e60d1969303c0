"""The group of parameters for the motion of the camera; see ``parameters``."""

from dataclasses import dataclass

from depth_anything_ros.parameter_spec import parameter


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
