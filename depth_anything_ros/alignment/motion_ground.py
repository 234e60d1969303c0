"""
The floor as a second witness beside the points from motion.

Wheel slip and a wrong pose of the camera change all metres and are not visible to one of them
alone. If both agree, one fit is made for both; the floor also serves while the camera does not
move.
"""

from collections.abc import Callable

from depth_anything_ros.alignment.fit import (
    AlignmentFrame, check_fit, Fit, fit_together, FittedSamples)
from depth_anything_ros.alignment.ground import GroundSource
from depth_anything_ros.errors import AlignmentError, AlignmentHeldError
from depth_anything_ros.parameters import Settings
import numpy as np


class FloorWitness:
    """
    Compares fits to points from motion with the floor; both methods belong to one thread.

    After a contradiction the floor alone gives no fit until both agree again, because a wrong
    height of the camera does not correct itself.
    """

    def __init__(self, read_settings: Callable[[], Settings]) -> None:
        self._read_settings = read_settings
        self._ground = GroundSource(read_settings)
        self._contradiction = ''

    def fit_both(self, frame: AlignmentFrame, motion: FittedSamples, with_shift: bool) -> Fit:
        """
        Return the fit to the floor and to the points of ``motion``, which is of the same frame.

        Without a floor in the view, return that of the points. AlignmentError if both contradict
        each other by more than ``alignment.max_disagreement``.
        """
        try:
            floor = self._measure(frame, with_shift)
        except AlignmentError:
            return motion.fit
        self._contradiction = contradiction(
            motion, floor, self._read_settings().alignment.max_disagreement)
        if self._contradiction:
            raise AlignmentError(self._contradiction)
        return fit_together((motion, floor), with_shift)

    def fit_alone(self, frame: AlignmentFrame, with_shift: bool, unmoved: str) -> Fit:
        """
        Return the fit to the floor while the camera does not move, for the reason ``unmoved``.

        AlignmentHeldError without a floor in the view; AlignmentError after a contradiction.
        """
        if self._contradiction:
            raise AlignmentError(f'{self._contradiction}; the floor alone is not used until both '
                                 'agree, so drive a little')
        try:
            return self._measure(frame, with_shift).fit
        except AlignmentError as error:
            raise AlignmentHeldError(f'{unmoved}; no floor: {error}') from error

    def _measure(self, frame: AlignmentFrame, with_shift: bool) -> FittedSamples:
        floor = self._ground.measure(frame, with_shift)
        check_fit(floor.fit, self._read_settings().alignment)
        return floor


def contradiction(motion: FittedSamples, floor: FittedSamples, most: float) -> str:
    """Return how depth by the motion and by the floor differs by more than ``most``; or ''."""
    # Points at one distance fix no shift, so the fit to them holds only there.
    d = float(np.median(motion.samples.values))
    by_motion, by_floor = (max(seen.fit.scale * d + seen.fit.shift, 1e-6)
                           for seen in (motion, floor))
    ratio = by_motion / by_floor
    if max(ratio, 1 / ratio) <= 1 + most:
        return ''
    return (f'motion and floor contradict each other: {_words(motion.fit)} by the motion, '
            f'{_words(floor.fit)} by the floor, so depth by the floor is {ratio:.3g} times that '
            f'by the motion; {100 * most:.0f} % of difference is allowed; check camera_height, '
            'camera_pitch and the odometry (wheel slip), or raise alignment.max_disagreement')


def _words(fit: Fit) -> str:
    return f'scale {fit.scale:.3g} and shift {fit.shift:.3g}'
