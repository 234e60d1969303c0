"""
The losses of Depth Anything on pseudo-labels, each map [N, H, W] with its own scale and shift.

Source: Ranftl et al., MiDaS (2020), for the trimmed scale-and-shift-invariant loss and the
gradient matching; Yang et al., Depth Anything V1 and V2 (2024), for their weights, CutMix and the
feature alignment. The order error is this project's own.
"""

import torch
from torch import Tensor
from torch.nn import functional

_SCALES = 4
# The worst of this many pixels is left out.
_WORST = 10
_TOLERANCE = 0.85
_LEAST_DEVIATION = 1e-4
# The scale of ranks: its straight pieces, which of the pixels it is made from, how much steeper
# than a straight line it may be.
_PIECES = 32
_EVERY = 7
_STEEPEST = 4.0


def normalize_map(depth: Tensor, mask: Tensor) -> Tensor:
    """
    Return maps [N, H, W] with zero median and unit mean deviation over their ``mask``.

    Beside the mask they are 0. The median of an even number of values is the lower one, as in
    PyTorch. A map that deviates by less than 1e-4 is divided by that: a constant one becomes 0.
    """
    flat, inside = depth.flatten(1), mask.flatten(1)
    median = flat.masked_fill(~inside, torch.nan).nanmedian(dim=1, keepdim=True).values
    centred = (flat - median.nan_to_num()).masked_fill(~inside, 0)
    deviation = centred.abs().sum(1, keepdim=True) / inside.sum(1, keepdim=True).clamp(min=1)
    return (centred / deviation.clamp(min=_LEAST_DEVIATION)).reshape(depth.shape)


def trimmed_error(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """
    Return [N]: the mean absolute difference of normalised maps without the worst 10 %.

    Those are taken from each map for itself; a map with an empty mask has 0.
    """
    error = (predicted - target).abs().flatten(1)
    inside = mask.flatten(1)
    ascending = error.masked_fill(~inside, torch.inf).sort(dim=1).values
    count = inside.sum(1, keepdim=True)
    kept = count - count // _WORST
    among = torch.arange(error.shape[1], device=error.device)[None] < kept
    total = ascending.masked_fill(~among, 0).sum(1)
    return total / kept[:, 0].clamp(min=1)


def gradient_error(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """
    Return [N]: how much the steps of normalised maps to the next pixel differ, at four scales.

    Each scale takes every second pixel of the one before; its sum of absolute horizontal and
    vertical differences is divided by its number of pixels.
    """
    difference = predicted - target
    total = torch.zeros(len(difference), device=difference.device)
    for scale in range(_SCALES):
        step = 2 ** scale
        part, inside = difference[:, ::step, ::step], mask[:, ::step, ::step]
        across = (part[:, :, 1:] - part[:, :, :-1]).abs()
        down = (part[:, 1:] - part[:, :-1]).abs()
        steps = (across * (inside[:, :, 1:] & inside[:, :, :-1])).sum((1, 2)) \
            + (down * (inside[:, 1:] & inside[:, :-1])).sum((1, 2))
        total = total + steps / inside.sum((1, 2)).clamp(min=1)
    return total


def order_error(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """
    Return [N]: how far apart normalised maps are on the scale of the target's ranks.

    The scale rises by 1 from the target's lowest to its highest value, by as much where many
    pixels lie, up to four times as steeply as a straight line; beyond them it is straight. In
    inverse depth the far half of a scene lies close together and hardly counts in the other
    errors; here each of its pixels counts like a near one.
    """
    ours, theirs, inside = predicted.flatten(1), target.flatten(1), mask.flatten(1)
    knots = _knots(theirs, inside)
    apart = (_rank(ours, knots) - _rank(theirs, knots)).abs().masked_fill(~inside, 0)
    return apart.sum(1) / inside.sum(1).clamp(min=1)


def _knots(values: Tensor, inside: Tensor) -> Tensor:
    """Return [N, 33], ascending: between two lie equally many of the values [N, P]."""
    some, kept = values[:, ::_EVERY], inside[:, ::_EVERY]
    ascending = some.masked_fill(~kept, torch.inf).sort(dim=1).values
    last = (kept.sum(1, keepdim=True) - 1).clamp(min=0)
    share = torch.linspace(0, 1, _PIECES + 1, dtype=values.dtype, device=values.device)
    knots = ascending.gather(1, (share * last).round().long())
    return knots.masked_fill(~kept.any(1, keepdim=True), 0)


def _rank(values: Tensor, knots: Tensor) -> Tensor:
    """Return values [N, P] on the scale that the knots [N, 33] make."""
    first, last = knots[:, :1], knots[:, -1:]
    span = (last - first).clamp(min=_LEAST_DEVIATION)
    gap = knots.diff(dim=1)
    slope = torch.minimum(1 / (_PIECES * gap.clamp(min=1e-9)), _STEEPEST / span)
    height = torch.cat([torch.zeros_like(span), (slope * gap).cumsum(1)], 1)
    piece = torch.searchsorted(knots, values.detach()).clamp(1, _PIECES) - 1
    within = height.gather(1, piece) + (values - knots.gather(1, piece)) * slope.gather(1, piece)
    below, above = (values - first) / span, height[:, -1:] + (values - last) / span
    return torch.where(values < first, below, torch.where(values > last, above, within))


def depth_error(predicted: Tensor, target: Tensor, mask: Tensor, gradient_weight: float = 2.0,
                order_weight: float = 0.0) -> Tensor:
    """
    Return [N]: trimmed error plus weighted gradient and order errors, normalised on ``mask``.

    A constant target, as open sky is, has no shape to learn and counts as 0.
    """
    ours, theirs = normalize_map(predicted, mask), normalize_map(target, mask)
    error = (trimmed_error(ours, theirs, mask)
             + gradient_weight * gradient_error(ours, theirs, mask))
    if order_weight:
        error = error + order_weight * order_error(ours, theirs, mask)
    return error * theirs.flatten(1).any(1)


def mixed_depth_error(predicted: Tensor, target: Tensor, pasted: Tensor,
                      gradient_weight: float = 2.0, order_weight: float = 0.0) -> Tensor:
    """
    Return the loss of a batch in which ``pasted`` [N, H, W] marks what CutMix brought in.

    ``target`` holds the label of each pixel's own image. The two parts of a map come from two
    images, so each has its own scale and shift; they count by their share of the map.
    """
    some = pasted.flatten(1).any(1)
    weights = gradient_weight, order_weight
    errors = depth_error(predicted, target, ~pasted, *weights)
    share = pasted.flatten(1).float().mean(1)
    total = (errors * (1 - share)).sum()
    if some.any():
        inner = depth_error(predicted[some], target[some], pasted[some], *weights)
        total = total + (inner * share[some]).sum()
    return total / len(predicted)


def anchor_error(predicted: Tensor, target: Tensor) -> Tensor:
    """
    Return the mean absolute difference of the maps as they are.

    With a small weight it gives the student the teacher's scale and keeps 0 at infinity, which the
    other losses leave open.
    """
    return (predicted - target).abs().mean()


def alignment_error(student: Tensor, teacher: Tensor) -> Tensor:
    """
    Return 1 - cosine of tokens [N, T, D], over those that do not agree well already.

    Tokens whose cosine is above 0.85 are left alone: the student may differ there.
    """
    cosine = functional.cosine_similarity(student, teacher, dim=-1)
    apart = (cosine < _TOLERANCE).to(cosine.dtype)
    return ((1 - cosine) * apart).sum() / apart.sum().clamp(min=1)
