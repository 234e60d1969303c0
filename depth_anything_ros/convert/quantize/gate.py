"""The gate for an INT8 model: how far its depth may be from that of the model in f32."""

from collections.abc import Sequence
from dataclasses import dataclass
import math

from depth_anything_ros.vision.agreement import Agreement
import numpy as np


@dataclass(frozen=True)
class MapsAgreement(Agreement):
    """Of all maps; ``sky_error`` is the share of pixels that are sky in one of two only."""

    sky_error: float = 0.0


@dataclass(frozen=True)
class Loss:
    """
    Mean and largest AbsRel and smallest Pearson correlation over images.

    ``sky_max`` is the largest share of an image whose sky differs, 0 for a model without sky.
    """

    abs_rel_mean: float
    abs_rel_max: float
    pearson_min: float
    sky_max: float = 0.0

    @classmethod
    def of(cls, images: Sequence[MapsAgreement]) -> 'Loss':
        """Return the loss over images from the agreement of each."""
        return cls(float(np.mean([image.abs_rel for image in images])),
                   max(image.abs_rel for image in images),
                   min(image.pearson for image in images),
                   max(image.sky_error for image in images))

    def __str__(self) -> str:
        sky = f', sky {self.sky_max:.4f} worst' if self.sky_max else ''
        return (f'AbsRel {self.abs_rel_mean:.4f} mean {self.abs_rel_max:.4f} worst, '
                f'Pearson {self.pearson_min:.4f} worst{sky}')


@dataclass(frozen=True)
class Gate:
    """The largest accepted loss; ValueError for limits that no model can meet."""

    abs_rel_mean: float = 0.012
    abs_rel_max: float = 0.03
    pearson_min: float = 0.995
    sky_max: float = 0.02

    def __post_init__(self) -> None:
        if not (self.abs_rel_mean > 0 and self.abs_rel_max > 0 and self.pearson_min < 1):
            raise ValueError('the limits of AbsRel must be positive and that of Pearson below 1')

    def excess(self, loss: Loss) -> float:
        """
        Return the largest ratio of an error to its limit; the gate is met up to 1.

        Pearson falls with the square of the error.
        """
        pearson = math.sqrt(max(1 - loss.pearson_min, 0) / (1 - self.pearson_min))
        return max(loss.abs_rel_mean / self.abs_rel_mean, loss.abs_rel_max / self.abs_rel_max,
                   pearson, loss.sky_max / self.sky_max)

    def __str__(self) -> str:
        return (f'AbsRel {self.abs_rel_mean:g} mean {self.abs_rel_max:g} worst, '
                f'Pearson {self.pearson_min:g} worst, sky {self.sky_max:g} worst')
