"""The parameters ``alignment.*``: where metres come from and when they are believed."""

from dataclasses import dataclass

from depth_anything_ros.parameter_spec import parameter


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
