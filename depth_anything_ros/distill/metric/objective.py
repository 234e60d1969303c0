"""
What a network in metres learns from: crops with depth, the loss, and the companion.

The network's output is canonical inverse depth, f / (focal_px * z): f is the focal length of the
camera in pixels of the network's image, so that a crop, or another camera, changes the output as
it changes the image (Yin et al., Metric3D, ICCV 2023). The loss is the scale-invariant logarithmic
one of Eigen et al. (2014) with lambda 0.5, as in the metric models of Depth Anything V2, with the
gradient error of MiDaS on the logarithm.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
from depth_anything_ros.arrays import F32, F64, U8
from depth_anything_ros.distill.batches import (
    change_appearance, crop_matrix, made_ahead, shuffled, warped)
from depth_anything_ros.distill.dataset import LabelledImage
from depth_anything_ros.distill.job import Recipe
from depth_anything_ros.distill.losses import gradient_error, normalize_map, trimmed_error
from depth_anything_ros.distill.metric.frames import Frame
from depth_anything_ros.distill.processes import ALONE, Processes
from depth_anything_ros.vision.depth import DepthRange
import numpy as np
import torch
from torch import Tensor

_LAMBDA = 0.5
_MIN_ERROR = 1e-8


@dataclass(frozen=True)
class MetricPair:
    """A frame with the map of the relative model as its label."""

    frame: Frame
    labelled: LabelledImage


@dataclass(frozen=True)
class MetricScale:
    """The output's canonical focal length ``focal_px`` and its range ``limits`` in metres."""

    focal_px: float
    limits: DepthRange

    @property
    def floor(self) -> float:
        """Return the inverse depth below which a logarithm is continued by a straight line."""
        return 0.5 / self.limits.maximum_m


@dataclass(frozen=True)
class MetricBatch:
    """
    The input of one step: ``images`` u8 [N, H, W, 3], BGR.

    ``targets`` f32 [N, H, W] are canonical inverse depth, 0 where it was not measured; ``labels``
    f32 [N, H, W] the inverse depth of the relative model.
    """

    images: Tensor
    targets: Tensor
    labels: Tensor


class MetricObjective:
    """
    Learns the depth of ``pairs``; each is drawn ``weights[source]`` times in an epoch.

    ``companion`` is the weight of the relative model's loss where nothing was measured.
    """

    def __init__(self, pairs: Sequence[MetricPair], weights: Sequence[int], scale: MetricScale,
                 recipe: Recipe, companion: float, processes: Processes = ALONE) -> None:
        self._pairs = [pair for pair in pairs for _ in range(weights[pair.frame.source])]
        self._scale, self._recipe, self._companion = scale, recipe, companion
        self._processes = processes

    def batches(self, first_step: int) -> Generator[MetricBatch, None, None]:
        """Yield batches without end; each depends on the seed and the number of its step alone."""
        order = shuffled(len(self._pairs), self._recipe.seed)
        return made_ahead(partial(self._make, order), first_step, self._processes)

    def loss(self, batch: MetricBatch, predicted: Tensor) -> Tensor:
        """Return the loss of canonical inverse depth [N, H, W], which may be negative."""
        targets, labels = (one.to(predicted.device) for one in (batch.targets, batch.labels))
        seen = targets > 0
        found = extended_log(predicted, self._scale.floor)
        wanted = torch.where(seen, targets, torch.ones_like(targets)).log()
        error = silog_error(found, wanted, seen) + self._recipe.gradient_weight * gradient_error(
            found, wanted, seen)
        if self._companion:
            error = error + self._companion * companion_error(
                predicted, labels, ~seen, self._recipe.gradient_weight)
        return error.mean()

    def _make(self, order: Callable[[int], int], step: int) -> MetricBatch:
        recipe = self._recipe
        crops = [self._crop(self._pairs[order(step * recipe.batch + position)],
                            (recipe.seed, step, 2, position))
                 for position in self._processes.part_of_batch(recipe.batch)]
        return MetricBatch(*(torch.from_numpy(np.stack(arrays)) for arrays in zip(*crops)))

    def _crop(self, pair: MetricPair, seed: tuple[int, ...]) -> tuple[U8, F32, F32]:
        recipe, generator = self._recipe, np.random.default_rng(seed)
        image, label = pair.labelled.read()
        matrix = crop_matrix(label.shape, recipe.crop_hw, recipe.augmentation, generator)
        target = canonical_inverse(
            warped_depth(pair.frame.read_depth(), matrix, recipe.crop_hw),
            crop_focal(pair.frame.focal_xy, matrix), self._scale)
        image, label = warped(image, label, matrix, recipe.crop_hw)
        return change_appearance(image, recipe.augmentation, generator), target, label


def canonical_inverse(depth_m: F32, focal_px: float, scale: MetricScale) -> F32:
    """
    Return f / (canonical f * z) of depth [m], 0 where it is unknown or outside the limits.

    ``focal_px`` is f in pixels of the network's image.
    """
    seen = (depth_m >= scale.limits.minimum_m) & (depth_m <= scale.limits.maximum_m)
    inverse: F32 = np.zeros_like(depth_m)
    np.divide(np.float32(focal_px / scale.focal_px), depth_m, out=inverse, where=seen)
    return inverse


def warped_depth(depth_m: F32, matrix: F64, size_hw: tuple[int, int]) -> F32:
    """Return a crop of depth as ``warped``: no mean of two surfaces, NaN beyond the edges."""
    return cv2.warpAffine(  # type: ignore[return-value]
        depth_m, matrix, size_hw[::-1], flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT, borderValue=float('nan'))


def crop_focal(focal_xy: tuple[float, float], matrix: F64) -> float:
    """Return the focal length in pixels of a crop: the mean of both axes, as at run time."""
    along_x, along_y = np.hypot(*matrix[:, :2])
    return float(focal_xy[0] / along_x + focal_xy[1] / along_y) / 2


def extended_log(values: Tensor, floor: float) -> Tensor:
    """Return the logarithm, below ``floor`` its tangent, so that negative values can learn."""
    line = values / floor - 1 + torch.tensor(floor, device=values.device).log()
    return torch.where(values > floor, values.clamp(min=floor).log(), line)


def silog_error(found: Tensor, wanted: Tensor, seen: Tensor) -> Tensor:
    """Return [N]: sqrt(mean g^2 - 0.5 (mean g)^2) of g = found - wanted [N, H, W] where seen."""
    difference = (found - wanted).masked_fill(~seen, 0).flatten(1)
    count = seen.flatten(1).sum(1).clamp(min=1)
    mean, square = difference.sum(1) / count, difference.square().sum(1) / count
    return (square - _LAMBDA * mean.square() + _MIN_ERROR).sqrt()


def companion_error(predicted: Tensor, labels: Tensor, blind: Tensor,
                    gradient_weight: float) -> Tensor:
    """
    Return [N]: the error against the relative model where the sensor is blind.

    Both maps [N, H, W] are normalised over all pixels, so that the blind part fits the rest.
    """
    every = torch.ones_like(blind)
    student, teacher = normalize_map(predicted, every), normalize_map(labels, every)
    return trimmed_error(student, teacher, blind) + gradient_weight * gradient_error(
        student, teacher, blind)
