"""
The losses of Depth Anything on pseudo-labels, each map [N, H, W] with its own scale and shift.

Source: Ranftl et al., MiDaS (2020), for the trimmed scale-and-shift-invariant loss and the
gradient matching; Yang et al., Depth Anything V1 and V2 (2024), for their weights, CutMix and the
feature alignment. The order error and the matching error are our own.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

_SCALES = 4
# One in this many pixels, those with the largest error, does not count.
_TRIMMED = 10
_ALIGNED_COSINE = 0.85
_MIN_DEVIATION = 1e-4
# The rank scale: number of straight pieces, every which pixel it uses, and its largest slope
# compared with a straight line.
_PIECES = 32
_PIXEL_STEP = 7
_MAX_SLOPE = 4.0


def normalize_map(depth: Tensor, mask: Tensor) -> Tensor:
    """
    Return maps [N, H, W] with zero median and unit mean deviation over their ``mask``.

    They are 0 outside the mask. The median of an even number of values is the lower one, as in
    PyTorch. A deviation below 1e-4 counts as 1e-4, so that a constant map becomes 0.
    """
    flat, inside = depth.flatten(1), mask.flatten(1)
    median = flat.masked_fill(~inside, torch.nan).nanmedian(dim=1, keepdim=True).values
    centred = (flat - median.nan_to_num()).masked_fill(~inside, 0)
    deviation = centred.abs().sum(1, keepdim=True) / inside.sum(1, keepdim=True).clamp(min=1)
    return (centred / deviation.clamp(min=_MIN_DEVIATION)).reshape(depth.shape)


def trimmed_error(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """
    Return [N]: the mean absolute difference of normalised maps without their worst 10 %.

    Each map loses its own worst pixels; a map with an empty mask has the error 0.
    """
    error = (predicted - target).abs().flatten(1)
    inside = mask.flatten(1)
    ascending = error.masked_fill(~inside, torch.inf).sort(dim=1).values
    count = inside.sum(1, keepdim=True)
    kept = count - count // _TRIMMED
    among = torch.arange(error.shape[1], device=error.device)[None] < kept
    total = ascending.masked_fill(~among, 0).sum(1)
    return total / kept[:, 0].clamp(min=1)


def gradient_error(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """
    Return [N]: the difference between the gradients of normalised maps, summed over four scales.

    Each scale uses every second pixel of the previous one; its sum of absolute horizontal and
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
    Return [N]: the mean absolute difference of normalised maps on the rank scale of the target.

    The rank scale maps a value to the share of the target's pixels below it, with a slope of at
    most four times that of a straight line; it continues straight outside the target's range. In
    inverse depth the far half of a scene has nearly equal values and hardly counts in the other
    errors; here each of its pixels counts like a near one.
    """
    student, teacher, inside = predicted.flatten(1), target.flatten(1), mask.flatten(1)
    knots = _rank_knots(teacher, inside)
    difference = (_rank(student, knots) - _rank(teacher, knots)).abs().masked_fill(~inside, 0)
    return difference.sum(1) / inside.sum(1).clamp(min=1)


def _rank_knots(values: Tensor, inside: Tensor) -> Tensor:
    """Return [N, 33], ascending, with equally many of the values [N, P] between neighbours."""
    sample, kept = values[:, ::_PIXEL_STEP], inside[:, ::_PIXEL_STEP]
    ascending = sample.masked_fill(~kept, torch.inf).sort(dim=1).values
    last = (kept.sum(1, keepdim=True) - 1).clamp(min=0)
    share = torch.linspace(0, 1, _PIECES + 1, dtype=values.dtype, device=values.device)
    knots = ascending.gather(1, (share * last).round().long())
    return knots.masked_fill(~kept.any(1, keepdim=True), 0)


def _rank(values: Tensor, knots: Tensor) -> Tensor:
    """Return values [N, P] on the rank scale with these knots [N, 33]."""
    first, last = knots[:, :1], knots[:, -1:]
    span = (last - first).clamp(min=_MIN_DEVIATION)
    gap = knots.diff(dim=1)
    slope = torch.minimum(1 / (_PIECES * gap.clamp(min=1e-9)), _MAX_SLOPE / span)
    height = torch.cat([torch.zeros_like(span), (slope * gap).cumsum(1)], 1)
    piece = torch.searchsorted(knots, values.detach()).clamp(1, _PIECES) - 1
    within = height.gather(1, piece) + (values - knots.gather(1, piece)) * slope.gather(1, piece)
    below, above = (values - first) / span, height[:, -1:] + (values - last) / span
    return torch.where(values < first, below, torch.where(values > last, above, within))


def depth_error(predicted: Tensor, target: Tensor, mask: Tensor, gradient_weight: float = 2.0,
                order_weight: float = 0.0) -> Tensor:
    """
    Return [N]: trimmed error plus weighted gradient and order errors, normalised on ``mask``.

    A constant target, such as open sky, has no shape to learn and gives 0.
    """
    student, teacher = normalize_map(predicted, mask), normalize_map(target, mask)
    error = (trimmed_error(student, teacher, mask)
             + gradient_weight * gradient_error(student, teacher, mask))
    if order_weight:
        error = error + order_weight * order_error(student, teacher, mask)
    return error * teacher.flatten(1).any(1)


def mixed_depth_error(predicted: Tensor, target: Tensor, pasted: Tensor,
                      gradient_weight: float = 2.0, order_weight: float = 0.0) -> Tensor:
    """
    Return the loss of a batch in which ``pasted`` [N, H, W] marks the pixels that CutMix pasted.

    ``target`` holds the label of the image that each pixel is from. The two parts of a map are
    from two images, so each has its own scale and shift; its weight is its share of the map.
    """
    has_paste = pasted.flatten(1).any(1)
    weights = gradient_weight, order_weight
    errors = depth_error(predicted, target, ~pasted, *weights)
    share = pasted.flatten(1).float().mean(1)
    total = (errors * (1 - share)).sum()
    if has_paste.any():
        inner = depth_error(predicted[has_paste], target[has_paste], pasted[has_paste], *weights)
        total = total + (inner * share[has_paste]).sum()
    return total / len(predicted)


def anchor_error(predicted: Tensor, target: Tensor) -> Tensor:
    """
    Return the mean absolute difference of the maps, without normalisation.

    With a small weight it gives the student the scale of the teacher and 0 at infinity, which the
    other losses ignore.
    """
    return (predicted - target).abs().mean()


def alignment_error(student: Tensor, teacher: Tensor,
                    average: Callable[[Tensor], Tensor] = lambda value: value) -> Tensor:
    """
    Return the mean of 1 - cosine of tokens [N, T, D] over those with a cosine below 0.85.

    Tokens above that are similar enough: the student may differ a little. ``average`` returns the
    mean of a value over the processes that share a batch; the mean of their errors is then that
    of the batch.
    """
    cosine = functional.cosine_similarity(student, teacher, dim=-1)
    different = (cosine < _ALIGNED_COSINE).to(cosine.dtype)
    count = average(different.sum())
    return ((1 - cosine) * different).sum() / torch.where(count > 0, count, torch.ones_like(count))


def matching_error(student: Tensor, teacher: Tensor) -> Tensor:
    """
    Return the mean of smooth L1 and 1 - cosine of tokens [N, T, D], added.

    The first also compares their lengths, the second their directions, which decide more.
    """
    cosine = functional.cosine_similarity(student.float(), teacher.float(), dim=-1)
    return functional.smooth_l1_loss(student.float(), teacher.float()) + (1 - cosine).mean()
