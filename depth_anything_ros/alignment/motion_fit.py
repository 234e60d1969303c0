"""Fits a depth map to the points that ``motion.MotionTracker`` triangulated."""

from depth_anything_ros.alignment.fit import Fit
from depth_anything_ros.alignment.motion import MotionSamples
from depth_anything_ros.arrays import F32


def fit_motion(inverse_depth: F32, samples: MotionSamples, with_shift: bool,
               previous: Fit | None = None) -> Fit:
    """
    Return the fit of a map [H, W] of the same image to ``samples``; shift 0 unless ``with_shift``.

    Scale and shift need points spread over the image and over depth. Otherwise only the scale is
    fitted: the ratio of scale and shift stays that of ``previous``, the last fit with a shift, or
    the shift is 0 without one. AlignmentError with the reason if ``samples`` has no points or they
    fix no scale; the caller should hold the last alignment.
    """
    raise NotImplementedError
