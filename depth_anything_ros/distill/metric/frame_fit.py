"""
Scale and shift of each image, as linear functions of its mean tokens.

With a fit to each image a relative model is much better than with one for all: most of its error
in metres is two numbers per image. What decides them, the kind of place and how much of it the
lens shows, is in the tokens. A few weights find it and cannot learn images by heart.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
import math

from depth_anything_ros.cli.progress import Advance, Counting
from depth_anything_ros.distill.batches import normalized
from depth_anything_ros.distill.job import NO_AUGMENTATION, Recipe
from depth_anything_ros.distill.metric.objective import (
    extended_log, MetricObjective, MetricPair, MetricScale)
from depth_anything_ros.distill.students import Student
from depth_anything_ros.distill.trainer import autocast
from depth_anything_ros.networks.dpt import mean_tokens
import torch
from torch import Tensor

# Crops with random changes beside each whole image, and the largest number of both together.
_CROPS_PER_IMAGE, _MOST_CROPS = 6, 4000
# The values of every n-th row and column are compared.
_STRIDE = 8
# Principal components of the tokens that each of several fits uses, and the crops that each
# component needs. Fits with more of them learn the rooms by heart.
_COMPONENTS, _CROPS_PER_COMPONENT = (16, 20, 24, 28, 32), 8
_STEPS, _RATE, _WEIGHT_DECAY = 300, 0.01, 1e-3


@dataclass(frozen=True)
class SeenCrops:
    """
    What the fit needs of N crops.

    ``tokens`` [N, D] are the mean ones, ``values`` [N, P] the relative model's output in some
    pixels, ``targets`` [N, P] canonical inverse depth there, 0 where it is unknown.
    """

    tokens: Tensor
    values: Tensor
    targets: Tensor


def fit_frames(student: Student, pairs: Sequence[MetricPair], weights: Sequence[int],
               scale: MetricScale, constant: tuple[float, float], recipe: Recipe, device: str,
               counting: Counting) -> None:
    """
    Fit the scales and shifts of a network that has none yet to ``pairs``.

    They begin at the ``constant`` ones. The same data and seed give the same weights.
    """
    crops = see_crops(student, pairs, weights, scale, recipe, device, counting)
    weight, bias = fit_linear(crops, constant, lambda values: extended_log(values, scale.floor))
    linear = student.network.depth_head.frame_fit.linear
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)


def see_crops(student: Student, pairs: Sequence[MetricPair], weights: Sequence[int],
              scale: MetricScale, recipe: Recipe, device: str, counting: Counting) -> SeenCrops:
    """Return what the network sees of ``pairs``, each whole and in random crops."""
    count = min(sum(weights[pair.frame.source] for pair in pairs),
                _MOST_CROPS // (1 + _CROPS_PER_IMAGE))
    parts: list[SeenCrops] = []
    with counting('images and crops', (1 + _CROPS_PER_IMAGE) * count, 0) as advance:
        for augmentation, number in ((NO_AUGMENTATION, count),
                                     (recipe.augmentation, _CROPS_PER_IMAGE * count)):
            objective = MetricObjective(pairs, weights, scale,
                                        replace(recipe, augmentation=augmentation), 0.0)
            parts += _see(student, objective, number, device, advance)
    return SeenCrops(*(torch.cat([getattr(part, one.name) for part in parts])
                       for one in fields(SeenCrops)))


def _see(student: Student, objective: MetricObjective, count: int, device: str,
         advance: Advance) -> list[SeenCrops]:
    network = student.network.to(device).eval()
    parts: list[SeenCrops] = []
    with closing(objective.batches(0)) as source, torch.no_grad(), autocast(device):
        while sum(len(part.tokens) for part in parts) < count:
            batch = next(source)
            image = normalized(batch.images.to(device), student.input_spec)
            tokens = network.pretrained(image)
            values = student.depth_of(tokens, (image.shape[-2], image.shape[-1])).cpu().float()
            parts.append(SeenCrops(mean_tokens(tokens).cpu().float(), *(
                one[:, _STRIDE // 2::_STRIDE, _STRIDE // 2::_STRIDE].flatten(1).clone()
                for one in (values, batch.targets))))
            for _ in batch.images:
                advance('')
    network.cpu()
    return parts


def fit_linear(crops: SeenCrops, constant: tuple[float, float],
               end: Callable[[Tensor], Tensor],
               components: Sequence[int] = _COMPONENTS) -> tuple[Tensor, Tensor]:
    """
    Return the weight [2, D] and bias [2] from tokens to the logarithm of the scale and the shift.

    They begin at the ``constant`` scale and shift. ``end`` makes the logarithm of canonical
    inverse depth of scaled and shifted values. Its mean error is minimised over the first
    principal components of the tokens: directions in which they hardly differ are left out. The
    result is the mean of fits with the numbers of ``components``, each of which errs in another
    way in places that were not recorded.
    """
    mean, spread = crops.tokens.mean(0), crops.tokens.std(0).clamp(min=1e-3)
    standard = (crops.tokens - mean) / spread
    variances, directions = torch.linalg.eigh(standard.T @ standard / len(standard))
    most = min(len(variances), max(1, len(standard) // _CROPS_PER_COMPONENT))
    weights, biases = [], []
    for used in sorted({min(count, most) for count in components}):
        basis = directions[:, -used:] / variances[-used:].clamp(min=1e-6).sqrt()
        found = _fit_parts(standard @ basis, crops, constant, end)
        weights.append((basis / spread[:, None]) @ found[1:])
        biases.append(found[0] - mean @ weights[-1])
    return torch.stack(weights).mean(0).T, torch.stack(biases).mean(0)


def _fit_parts(parts: Tensor, crops: SeenCrops, constant: tuple[float, float],
               end: Callable[[Tensor], Tensor]) -> Tensor:
    """Return [1 + K, 2]: bias and weights from the ``parts`` [N, K] of the tokens."""
    seen = crops.targets > 0
    wanted = torch.where(seen, crops.targets, torch.ones_like(crops.targets)).log()
    # A change by 1 of either number changes a usual value by as much as its logarithm by 1.
    units = torch.stack([torch.ones(()), wanted[seen].median().exp()])
    first = torch.tensor([math.log(constant[0]), constant[1]])
    change = torch.zeros(1 + parts.shape[1], 2, requires_grad=True)
    optimizer = torch.optim.Adam([change], _RATE)
    for step in range(_STEPS):
        optimizer.param_groups[0]['lr'] = _RATE * (1 - step / _STEPS)
        fits = first + units * (parts @ change[1:] + change[0])
        log_scale, shift = fits[:, :, None].unbind(1)
        found = end(crops.values * log_scale.exp() + shift)
        errors = (found - wanted).abs().masked_fill(~seen, 0).sum(1) / seen.sum(1).clamp(min=1)
        optimizer.zero_grad()
        (errors.mean() + _WEIGHT_DECAY * change[1:].square().sum()).backward()
        optimizer.step()
    result = change.detach() * units
    result[0] += first
    return result
