"""The losses equal what loops over pixels compute, and learn nothing from scale and shift."""

from collections.abc import Callable
import math

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from depth_anything_ros.distill.losses import (  # noqa: E402, I100
    alignment_error, anchor_error, depth_error, gradient_error, matching_error,
    mixed_depth_error, normalize_map, order_error, trimmed_error)

Map = list[list[float]]
SHAPES = [(1, 1), (1, 9), (7, 10), (17, 24), (16, 33)]


def random_maps(shape: tuple[int, int], count: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *shape, generator=generator, dtype=torch.float64) * 3 + 5


def random_mask(shape: tuple[int, int], count: int = 3, seed: int = 1) -> torch.Tensor:
    """Return masks of which the first is full and the last is empty."""
    mask = torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)) < 0.6
    mask[0], mask[-1] = True, False
    return mask


def inside_of(values: Map, mask: list[list[bool]]) -> list[float]:
    return [value for row, kept in zip(values, mask) for value, keep in zip(row, kept) if keep]


def loop_normalize(values: Map, mask: list[list[bool]]) -> Map:
    some = sorted(inside_of(values, mask))
    if not some:
        return [[0.0] * len(row) for row in values]
    median = some[(len(some) - 1) // 2]
    deviation = max(sum(abs(one - median) for one in some) / len(some), 1e-4)
    return [[(value - median) / deviation if keep else 0.0 for value, keep in zip(row, kept)]
            for row, kept in zip(values, mask)]


def loop_trimmed(ours: Map, theirs: Map, mask: list[list[bool]]) -> float:
    errors = sorted(abs(one - other) for one, other in zip(
        inside_of(ours, mask), inside_of(theirs, mask)))
    kept = errors[:math.ceil(len(errors) * 9 / 10)]
    return sum(kept) / max(len(kept), 1)


def loop_gradient(ours: Map, theirs: Map, mask: list[list[bool]]) -> float:
    total = 0.0
    for step in (1, 2, 4, 8):
        steps, count = 0.0, 0
        for row in range(0, len(ours), step):
            for column in range(0, len(ours[0]), step):
                if not mask[row][column]:
                    continue
                count += 1
                here = ours[row][column] - theirs[row][column]
                for y, x in ((row + step, column), (row, column + step)):
                    if y < len(ours) and x < len(ours[0]) and mask[y][x]:
                        steps += abs(ours[y][x] - theirs[y][x] - here)
        total += steps / max(count, 1)
    return total


def loop_order(ours: Map, theirs: Map, mask: list[list[bool]]) -> float:
    values = [value for row in theirs for value in row]
    inside = [kept for row in mask for kept in row]
    some = sorted(value for value, kept in list(zip(values, inside))[::7] if kept) or [0.0]
    knots = [some[round(place * (len(some) - 1) / 32)] for place in range(33)]
    span = max(knots[-1] - knots[0], 1e-4)

    def rank(value: float) -> float:
        if value < knots[0]:
            return (value - knots[0]) / span
        total = max(value - knots[-1], 0) / span
        for low, high in zip(knots, knots[1:]):
            if high > low:
                share = min(max((value - low) / (high - low), 0), 1)
                total += share * min(1 / 32, 4 / span * (high - low))
        return total

    apart = [abs(rank(one) - rank(other)) for one, other in zip(
        inside_of(ours, mask), inside_of(theirs, mask))]
    return sum(apart) / max(len(apart), 1)


def loop_depth(ours: Map, theirs: Map, mask: list[list[bool]]) -> float:
    ours, theirs = loop_normalize(ours, mask), loop_normalize(theirs, mask)
    if not any(map(any, theirs)):
        return 0.0
    return loop_trimmed(ours, theirs, mask) + 2 * loop_gradient(ours, theirs, mask)


@pytest.mark.parametrize('shape', SHAPES)
def test_maps_are_normalised_by_median_and_mean_deviation(shape: tuple[int, int]) -> None:
    maps, mask = random_maps(shape), random_mask(shape)
    expected = [loop_normalize(*pair) for pair in zip(maps.tolist(), mask.tolist())]
    np.testing.assert_allclose(normalize_map(maps, mask).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(('found', 'loop'), [
    (trimmed_error, loop_trimmed), (gradient_error, loop_gradient), (order_error, loop_order),
    (depth_error, loop_depth)])
@pytest.mark.parametrize('shape', SHAPES)
def test_each_error_is_that_of_loops_over_pixels(
        found: Callable[..., torch.Tensor], loop: Callable[..., float],
        shape: tuple[int, int]) -> None:
    ours, theirs, mask = random_maps(shape), random_maps(shape, seed=2), random_mask(shape)
    expected = [loop(*three) for three in zip(ours.tolist(), theirs.tolist(), mask.tolist())]
    np.testing.assert_allclose(found(ours, theirs, mask).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize('count', [1, 9, 10, 11, 20, 47])
def test_of_any_number_of_pixels_a_tenth_is_left_out(count: int) -> None:
    error = torch.arange(1.0, count + 1)[None, None].flip(2)
    kept = math.ceil(count * 9 / 10)
    found = trimmed_error(error, torch.zeros_like(error), torch.ones(1, 1, count).bool())
    assert found.tolist() == [pytest.approx((1 + kept) / 2)]


def test_pixels_far_off_do_not_count_while_they_are_few() -> None:
    target = random_maps((10, 10))
    broken = target.clone()
    broken[:, 4, :9] += 100
    full = torch.ones_like(target).bool()
    assert trimmed_error(broken, target, full).tolist() == [0, 0, 0]
    broken[:, 5, :2] += 100
    assert (trimmed_error(broken, target, full) > 0.1).all()


def test_far_pixels_count_in_the_order_like_near_ones() -> None:
    near, far = torch.linspace(5, 10, 350), torch.linspace(1.0, 1.2, 350)
    target = torch.cat([near, far]).reshape(1, 20, 35)
    full = torch.ones_like(target).bool()
    swapped = target.clone()
    swapped[:, 10:] = target[:, 10:].flip(1, 2)
    turned = target.clone()
    turned[:, :10] = target[:, :10].flip(1, 2)
    far_error, near_error = (order_error(one, target, full) for one in (swapped, turned))
    assert trimmed_error(swapped, target, full) < 0.05 * trimmed_error(turned, target, full)
    assert far_error > 0.15 * near_error
    assert order_error(target, target, full).item() == 0


def test_the_order_counts_with_its_weight_and_a_flat_label_in_no_way() -> None:
    ours, theirs, full = random_maps((9, 9)), random_maps((9, 9), seed=2), torch.ones(3, 9, 9) > 0
    plain, both = (depth_error(ours, theirs, full, 2.0, weight) for weight in (0.0, 3.0))
    order = order_error(normalize_map(ours, full), normalize_map(theirs, full), full)
    assert torch.allclose(both, plain + 3 * order) and (order > 0.05).all()
    flat = torch.full_like(theirs, 2)
    assert depth_error(ours, flat, full, 2.0, 3.0).abs().max() == 0


def test_scale_and_shift_of_either_map_change_nothing() -> None:
    ours, theirs = random_maps((16, 24)), random_maps((16, 24), seed=2)
    mask = random_mask((16, 24))
    error = depth_error(ours, theirs, mask)
    assert torch.allclose(error, depth_error(0.02 * ours - 7, 30 * theirs + 4, mask), rtol=1e-9)
    assert error[0] > 1 and error[-1] == 0


def test_an_affine_copy_of_the_label_has_no_error() -> None:
    label = random_maps((16, 24))
    mask = torch.ones_like(label).bool()
    assert depth_error(3 * label + 2, label, mask).abs().max() < 1e-12
    assert (depth_error(-label, label, mask) > 1).all()


def test_the_parts_of_cutmix_have_each_their_own_scale_and_shift() -> None:
    ours, theirs = random_maps((16, 24)), random_maps((16, 24), seed=2)
    pasted = torch.zeros(3, 16, 24, dtype=torch.bool)
    pasted[0, 2:9, 5:20], pasted[2] = True, True
    expected = 0.0
    for one, other, inner in zip(ours.tolist(), theirs.tolist(), pasted.tolist()):
        share = sum(map(sum, inner)) / (16 * 24)
        outer = [[not inside for inside in row] for row in inner]
        expected += share * loop_depth(one, other, inner) / 3
        expected += (1 - share) * loop_depth(one, other, outer) / 3
    assert mixed_depth_error(ours, theirs, pasted).item() == pytest.approx(expected, rel=1e-6)
    foreign = torch.where(pasted, 5 * ours - 60, ours)
    assert mixed_depth_error(ours, foreign, pasted).item() < 1e-9
    assert mixed_depth_error(ours, foreign, torch.zeros_like(pasted)).item() > 0.1


def test_a_constant_label_and_an_empty_mask_count_nothing_and_push_nowhere() -> None:
    maps = random_maps((8, 8)).requires_grad_()
    flat = torch.full((3, 8, 8), 2.0, dtype=torch.float64)
    full, empty = torch.ones(3, 8, 8).bool(), torch.zeros(3, 8, 8).bool()
    error = depth_error(maps, flat, full) + depth_error(maps, random_maps((8, 8), seed=2), empty)
    error.sum().backward()
    assert error.tolist() == [0, 0, 0]
    assert maps.grad.abs().max() == 0


def test_a_constant_prediction_is_pushed_towards_the_label() -> None:
    flat = torch.full((1, 8, 8), 2.0, dtype=torch.float64, requires_grad=True)
    label, full = random_maps((8, 8), 1), torch.ones(1, 8, 8).bool()
    depth_error(flat, label, full).sum().backward()
    assert torch.isfinite(flat.grad).all()
    with torch.no_grad():
        moved = flat - 1e-10 * flat.grad
    assert depth_error(moved, label, full) < depth_error(flat, label, full)


def test_gradients_are_those_of_finite_differences() -> None:
    shape = (4, 5)
    ours, theirs = random_maps(shape).requires_grad_(), random_maps(shape, seed=2)
    pasted = torch.zeros(3, *shape, dtype=torch.bool)
    pasted[:2, 1:3, 2:5] = True
    assert torch.autograd.gradcheck(
        lambda maps: mixed_depth_error(maps, theirs, pasted, order_weight=1.5), ours)


def test_the_anchor_holds_the_scale_that_the_others_leave_open() -> None:
    label = random_maps((4, 4))
    assert anchor_error(label, label).item() == 0
    assert anchor_error(label + 0.5, label).item() == pytest.approx(0.5)


def test_tokens_that_agree_well_enough_are_left_alone() -> None:
    angles = torch.tensor([[0.0, 20.0, 60.0], [30.0, 90.0, 180.0]], dtype=torch.float64).deg2rad()
    teacher = torch.stack([torch.ones(2, 3), torch.zeros(2, 3)], -1).double()
    student = 7 * torch.stack([angles.cos(), angles.sin()], -1)
    apart = [1 - math.cos(math.radians(angle)) for angle in (60, 90, 180)]
    assert alignment_error(student, teacher).item() == pytest.approx(sum(apart) / len(apart))
    assert alignment_error(teacher, teacher).item() == 0
    student.requires_grad_()
    alignment_error(student, teacher).backward()
    moved = student.grad.abs().sum(-1) > 1e-6
    assert moved.tolist() == [[False, False, True], [False, True, False]]


def test_the_matching_error_sees_the_direction_and_the_length_of_tokens() -> None:
    teacher = torch.tensor([[[3.0, 0.0], [0.0, 1.0]]])
    assert matching_error(teacher, teacher).item() == pytest.approx(0, abs=1e-6)
    longer = teacher * 2
    # Smooth L1 of 3 is 2.5, of 1 it is 0.5; both directions are the same.
    assert matching_error(longer, teacher).item() == pytest.approx((2.5 + 0.5) / 4)
    turned = torch.tensor([[[0.0, 3.0], [0.0, 1.0]]])
    assert matching_error(turned, teacher).item() == pytest.approx((2.5 + 2.5) / 4 + 1 / 2)
