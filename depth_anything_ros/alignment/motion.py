"""
Metres from the motion of the camera: points tracked in the images and triangulated.

The robot knows how far its camera moved between two images, by wheel odometry, VIO or SLAM. A
point that both images show is then triangulated to metres (Hartley and Zisserman, Multiple View
Geometry, chapter 12). Nothing here knows ROS or the depth network: ``MotionTracker`` takes images
with poses and returns samples of 1/z, and ``motion_fit.fit_motion`` fits a depth map to them.
"""

from dataclasses import dataclass
from typing import Literal

from depth_anything_ros.arrays import F64, U8
from depth_anything_ros.vision.geometry import Intrinsics
import numpy as np

# samples: points for a fit. All others have none, and the last alignment should be held:
# start: first image after the start or a reset. still: the camera has not moved far enough since
# then. rotation: it only turned, or moved too little for the distance of what it sees. few_tracks:
# too few points could be followed. contradiction: odometry and images disagree. gap: the time
# between two images is too long or negative. jump: the pose moved faster than the limits allow.
MotionState = Literal['samples', 'start', 'still', 'rotation', 'few_tracks', 'contradiction',
                      'gap', 'jump']


@dataclass(frozen=True)
class MotionSettings:
    """
    Limits of the motion source. Pixels are those of the tracked image.

    ``tracked_width``: longer side of the image in which points are tracked [px], 160 to 1280;
    smaller images are not enlarged. ``points``: number of points that are tracked, 50 to 2000.
    ``key_frames``: number of earlier images that points are triangulated with, 2 to 12.
    ``max_forward_backward`` [px]: a point tracked forth and back must return within this distance.
    ``max_epipolar_error`` [px]: largest Sampson error of a point against the motion.
    ``min_parallax`` [degrees]: smallest angle between the two rays of a point.
    ``min_epipole_angle`` [degrees]: points nearer to the direction of motion are left out.
    ``min_baseline`` [m]: a shorter motion is standing still.
    ``min_points``: fewer triangulated points are no samples.
    ``max_gap`` [s]: longest time between two images. ``max_speed`` [m/s] and ``max_turn`` [rad/s]:
    a pose that changes faster has jumped.
    ``rotation_error`` [degrees] and ``translation_error`` (share of the distance): expected errors
    of the odometry between two key frames. They limit how far the images may correct rotation and
    direction, and enter the weights.
    """

    tracked_width: int = 480
    points: int = 300
    key_frames: int = 6
    max_forward_backward: float = 0.7
    max_epipolar_error: float = 1.5
    min_parallax: float = 1.0
    min_epipole_angle: float = 4.0
    min_baseline: float = 0.02
    min_points: int = 30
    max_gap: float = 1.0
    max_speed: float = 10.0
    max_turn: float = 10.0
    rotation_error: float = 0.3
    translation_error: float = 0.05


@dataclass(frozen=True)
class MotionSamples:
    """
    Triangulated points of one image.

    ``pixels`` [N, 2] are column and row in the image that was given to ``MotionTracker.add``, with
    its distortion; ``inverse_z`` [N] is their 1/z [1/m] in the optical frame of that image, and
    ``weights`` [N] the inverse of its variance [m²]. N is 0 unless ``state`` is ``samples``;
    ``reason`` says then what is missing and what helps. ``size_hw`` is the size of the image,
    ``baseline_m`` the longest distance to a key frame that was used, ``tracked`` the number of
    points that are followed.
    """

    pixels: F64
    inverse_z: F64
    weights: F64
    size_hw: tuple[int, int]
    stamp_s: float
    state: MotionState
    reason: str
    tracked: int
    baseline_m: float

    @property
    def usable(self) -> bool:
        """Return whether there are samples."""
        return self.state == 'samples'


class MotionTracker:
    """
    Follows points through the images of one camera; not thread-safe, for a thread of its own.

    Costs about 5 ms of CPU per image, so that every image can be given to ``add``, in the order of
    the stamps; the depth network may see fewer. Images may be skipped as long as the view overlaps.
    """

    def __init__(self, settings: MotionSettings = MotionSettings()) -> None:
        self._settings = settings

    def add(self, image: U8, camera: Intrinsics, odom_from_camera: F64,
            stamp_s: float) -> MotionSamples:
        """
        Follow the points into ``image`` and return those that can be triangulated.

        ``image`` is grey [H, W] or BGR [H, W, 3] at the resolution of ``camera``, which includes
        the distortion. ``odom_from_camera`` [4, 4] is the pose of the optical frame in a frame that
        does not jump, in metres: ``p_odom = odom_from_camera @ p_camera``, as TF looks up with
        target odom and source camera. ``stamp_s`` is the time of exposure of both.

        AlignmentError if the image, its size or the pose cannot be used; the state is unchanged
        then. CameraInfoError for a camera that is not calibrated comes from ``Intrinsics``.
        """
        raise NotImplementedError

    def reset(self, reason: str) -> None:
        """
        Forget all points and key frames, because of ``reason``.

        For example when odometry restarts or its covariance is too large. ``reason`` is that of
        the samples until the camera has moved far enough again.
        """
        raise NotImplementedError
