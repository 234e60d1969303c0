"""The loss in metres, its targets and its companion, against brute force."""

import math

from depth_anything_ros.arrays import F32
import numpy as np
from numpy.testing import assert_allclose
import pytest

torch = pytest.importorskip('torch')

from depth_anything_ros.distill.batches import crop_matrix  # noqa: E402, I100
from depth_anything_ros.distill.job import Augmentation, NO_AUGMENTATION, Recipe  # noqa: E402
from depth_anything_ros.distill.metric.objective import (  # noqa: E402
    canonical_inverse, companion_error, crop_focal, extended_log, MetricBatch, MetricObjective,
    MetricScale, silog_error, warped_depth)
from depth_anything_ros.vision.depth import DepthRange  # noqa: E402

SCALE = MetricScale(100.0, DepthRange(0.5, 20.0))


def test_silog_is_that_of_the_reference_for_each_map() -> None:
    rng = np.random.default_rng(0)
    found, wanted = rng.normal(size=(2, 3, 4, 5))
    seen = rng.random((3, 4, 5)) < 0.6
    expected = []
    for one in range(3):
        errors = [found[one, row, column] - wanted[one, row, column]
                  for row in range(4) for column in range(5) if seen[one, row, column]]
        mean = sum(errors) / len(errors)
        square = sum(error ** 2 for error in errors) / len(errors)
        expected.append(math.sqrt(square - 0.5 * mean ** 2))
    assert_allclose(silog_error(*map(torch.from_numpy, (found, wanted, seen))), expected,
                    rtol=1e-6)


def test_a_map_without_measured_depth_has_no_error_and_no_gradient() -> None:
    found = torch.ones(1, 2, 2, requires_grad=True)
    error = silog_error(found, torch.zeros(1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.bool))
    error.sum().backward()
    assert error.item() < 1e-3
    assert found.grad is not None and not found.grad.any()


def test_the_logarithm_continues_straight_so_that_negative_values_learn() -> None:
    values = torch.tensor([-1.0, 0.0, 0.09, 0.1, 0.11, 2.0], requires_grad=True)
    found = extended_log(values, 0.1)
    assert_allclose(found[3:].detach(), np.log([0.1, 0.11, 2.0]), rtol=1e-6)
    assert (found.diff() > 0).all()
    found.sum().backward()
    assert values.grad is not None
    assert_allclose(values.grad, [10, 10, 10, 10, 1 / 0.11, 0.5], rtol=1e-5)


def test_the_companion_compares_where_the_sensor_is_blind_only() -> None:
    rng = np.random.default_rng(1)
    label = torch.from_numpy(rng.normal(size=(1, 32, 32)))
    blind = torch.zeros(1, 32, 32, dtype=torch.bool)
    blind[:, :, 20:] = True
    assert companion_error(3 * label + 5, label, blind, 1.0).item() == pytest.approx(0, abs=1e-6)
    noise = torch.from_numpy(rng.normal(size=(1, 32, 32)))
    other, seen = torch.where(blind, noise, label), torch.where(blind, label, noise)
    assert companion_error(other, label, blind, 1.0) > 5 * companion_error(
        seen, label, blind, 1.0)
    assert not companion_error(other, label, torch.zeros_like(blind), 1.0).any()


@pytest.mark.parametrize(('blind_columns', 'is_compared'), [(12, True), (0, False)])
def test_the_loss_compares_with_the_labels_where_nothing_was_measured_only(
        blind_columns: int, is_compared: bool) -> None:
    """The measured depth is met exactly, and the labels are of another scene."""
    rng = np.random.default_rng(3)
    predicted, labels = torch.from_numpy(rng.uniform(0.5, 2, (2, 1, 32, 32)).astype(np.float32))
    targets = predicted.clone()
    targets[:, :, 32 - blind_columns:] = 0
    batch = MetricBatch(torch.empty(0), targets, labels)
    without, beside = (MetricObjective((), (), SCALE, Recipe(1), weight).loss(batch, predicted)
                       for weight in (0.0, 0.5))
    assert without < 1e-3
    assert (beside > without + 0.1) if is_compared else (beside == without)


def test_targets_are_canonical_inverse_depth_within_the_limits() -> None:
    depth = np.array([[0.4, 0.5, 2.0, 20.0, 20.1, np.nan, np.inf, 0.0]], np.float32)
    assert_allclose(canonical_inverse(depth, 150.0, SCALE),
                    [[0, 3, 0.75, 0.075, 0, 0, 0, 0]], rtol=1e-6)


def view(focal_px: float, size_hw: tuple[int, int]) -> F32:
    """Return the depth of a ball before a wall, seen with this focal length."""
    rows, columns = np.mgrid[:size_hw[0], :size_hw[1]]
    x, y = ((values - (side - 1) / 2) / focal_px
            for values, side in zip((columns, rows), size_hw[::-1]))
    return np.where(np.hypot(x, y) < 0.3, 1.0, 4.0).astype(np.float32)


def test_a_crop_has_the_target_of_a_camera_with_a_longer_lens() -> None:
    """The network sees the same picture of either camera, so its target must be the same."""
    rng = np.random.default_rng(2)
    zoom = Augmentation(**{**vars(NO_AUGMENTATION), 'area': 0.2})
    matrix = crop_matrix((120, 160), (60, 80), zoom, rng)
    focal_px = crop_focal((120.0, 120.0), matrix)
    assert focal_px > 70
    crop = warped_depth(view(120.0, (120, 160)), matrix, (60, 80))
    target = canonical_inverse(crop, focal_px, SCALE)
    assert_allclose(np.unique(target), np.array([0.25, 1]) * focal_px / 100, rtol=1e-6)
    assert crop_focal((120.0, 120.0), crop_matrix(
        (120, 160), (60, 80), NO_AUGMENTATION, rng)) == pytest.approx(60)


def test_depth_of_a_crop_is_no_mean_of_two_surfaces_and_unknown_beyond_the_edges() -> None:
    depth = view(50.0, (40, 60))
    shifted = warped_depth(depth, np.array([[1.0, 0, 10.4], [0, 1.0, 0.3]]), (40, 60))
    assert set(np.unique(shifted[np.isfinite(shifted)])) == {1.0, 4.0}
    assert np.isnan(shifted[:, 51:]).all() and np.isfinite(shifted[:39, :49]).all()
