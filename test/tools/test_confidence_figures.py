"""Figures of the confidence: AUSE by brute force, and measurements whose result is known."""

from itertools import permutations
from pathlib import Path

from depth_anything_ros.vision.depth import DepthRange
import numpy as np
from numpy.testing import assert_allclose
import pytest
from tiny import weighted_sum
from tools.measure import confidence
from tools.measure.confidence_looks import AGES, look, Looked, Picture
from tools.measure.sparsification import (
    ause, Bin, calibration_error, fit_logistic, reliability, sparsification_curve)


def brute_force_curve(errors: list[float], uncertainty: list[float]) -> list[float]:
    """Return the mean over all orders of the pixels that the uncertainty allows."""
    curves = [[np.mean([errors[index] for index in order[:count]]) / np.mean(errors)
               for count in range(1, len(errors) + 1)]
              for order in permutations(range(len(errors)))
              if all(uncertainty[one] <= uncertainty[other]
                     for one, other in zip(order, order[1:]))]
    return np.mean(curves, axis=0).tolist()


@pytest.mark.parametrize('uncertainty', [
    [0.1, 0.7, 0.3, 0.2, 0.9, 0.4], [1.0, 2.0, 1.0, 2.0, 1.0, 3.0], [0.0] * 6])
def test_curve_and_area_are_those_of_brute_force_also_with_ties(uncertainty: list[float]) -> None:
    errors = [0.3, 0.05, 0.6, 0.1, 0.2, 0.0]
    expected = brute_force_curve(errors, uncertainty)
    found = sparsification_curve(np.array(errors), np.array(uncertainty))
    assert_allclose(found, expected, rtol=1e-12)
    oracle = brute_force_curve(errors, errors)
    assert ause(np.array(errors), np.array(uncertainty)) == pytest.approx(
        np.mean(np.array(expected) - oracle))


def test_the_error_itself_is_best_and_its_opposite_is_worst() -> None:
    errors = np.random.default_rng(0).exponential(size=500)
    chance = ause(errors, np.zeros(500))
    assert ause(errors, errors) == 0
    assert ause(errors, np.exp(errors)) == pytest.approx(0, abs=1e-12)
    assert 0 < chance < ause(errors, -errors)


def test_reliability_counts_each_pixel_in_one_bin() -> None:
    bins = reliability(np.array([0.05, 0.12, 0.18, 1.0]), np.array([False, True, False, True]))
    assert [(one.within, one.share) for one in bins] == [(0.0, 0.25), (0.5, 0.5), (1.0, 0.25)]
    assert_allclose([one.confidence for one in bins], [0.05, 0.15, 1.0])
    assert calibration_error(bins) == pytest.approx(0.25 * 0.05 + 0.5 * 0.35)
    assert calibration_error([Bin(0.5, 0.5, 1.0)]) == 0


def test_a_logistic_regression_finds_the_weights_that_made_the_data() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(50000, 3)) * (1, 5, 0) + (0, 3, 7)
    chance = 1 / (1 + np.exp(-(0.5 + inputs @ (1.0, -0.4, 0.0))))
    targets = rng.random(50000) < chance
    assert_allclose(fit_logistic(inputs, targets, np.ones(50000)), (0.5, 1.0, -0.4, 0.0),
                    atol=0.06)
    # A row that counts twice is the same as two rows.
    twice = fit_logistic(inputs[:900], targets[:900], np.repeat([1.0, 2.0], 450))
    rows = np.concatenate([np.arange(900), np.arange(450, 900)])
    assert_allclose(twice, fit_logistic(inputs[rows], targets[rows], np.ones(1350)), atol=1e-4)


def looked(scene: str, seed: int, old_is_noise: bool = False) -> Looked:
    """Return an image whose errors follow the second look, and nothing else."""
    rng = np.random.default_rng(seed)
    change = rng.normal(size=4000)
    errors = 0.1 * np.exp(change + 0.3 * rng.normal(size=4000))
    one_look = rng.normal(size=(4000, 3))
    noise = rng.normal(size=4000) if old_is_noise else change
    return Looked(
        scene, errors, {'edge_filter': one_look[:, 0], 'distance': one_look[:, 1]}, one_look,
        {age: np.column_stack([one_look, noise if age else change]) for age in AGES})


def test_figures_tell_a_useful_second_look_from_measures_that_are_noise() -> None:
    figures = confidence.confidence_figures([looked(scene, number) for number, scene in
                                             enumerate(('a', 'a', 'b', 'c'))])
    assert figures['confidence_ause_ratio'] == pytest.approx(
        figures['confidence_ause'] / figures['confidence_ause_edge_filter'])
    assert figures['confidence_ause_ratio'] < 0.2
    assert 0.9 < figures['confidence_ause_ratio_one_look'] < 1.1
    assert figures['confidence_ause_edge_filter'] == pytest.approx(
        figures['confidence_ause_random'], rel=0.1)
    assert figures['confidence_ause_ratio_age_4'] == pytest.approx(
        figures['confidence_ause_ratio'])
    assert figures['confidence_calibration_error_b'] < 0.05
    assert figures['confidence_within_70'] > 0.9 > figures['confidence_within_edge_filter_70']
    assert figures['confidence_kept_50'] == pytest.approx(figures['confidence_within'], abs=0.05)


def test_an_old_second_look_that_is_noise_is_seen() -> None:
    figures = confidence.confidence_figures([looked(scene, number, True) for number, scene in
                                             enumerate(('a', 'b', 'c'))])
    assert figures['confidence_ause_ratio_age_1'] > (
        5 * figures['confidence_ause_ratio_age_0'])


def test_weights_come_from_other_scenes_only() -> None:
    """In scene a the second look has the opposite meaning, which only its own weights can know."""
    opposite = looked('a', 0)
    opposite.two_looks[0][:, 3] *= -1
    images = [opposite, looked('b', 1), looked('c', 2)]
    found = confidence.held_out_confidence(images, confidence.two_looks)
    assert ause(opposite.errors, 1 - found[0]) > ause(opposite.errors, np.zeros(4000))


def test_a_perfect_model_has_no_error_and_its_looks_agree(tiny_ir: Path) -> None:
    rows = np.linspace(40, 250, 120).astype(np.uint8)[:, None, None]
    image = np.ascontiguousarray(np.broadcast_to(rows, (120, 160, 3)))
    truth_m = (1 / (0.3 * weighted_sum(image) + 0.05)).astype(np.float32)
    truth_m[:40] = np.nan
    picture = Picture('a', image, truth_m, DepthRange(0.1, 10.0), {1: image})
    found, = look([picture], tiny_ir, sizes={'half': 0.5})
    assert found.errors.shape == (20 * 40,) and found.errors.max() < 0.03
    assert set(found.two_looks) == {0, 1}
    assert found.one_look.shape == (800, 3) and found.two_looks[0].shape == (800, 4)
    assert found.measures['mirrored'].max() < 0.01 and found.measures['half'].max() < 0.05
    assert_allclose(found.measures['distance'], np.exp(found.one_look[:, 1]), rtol=0.02)


def test_missing_data_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                               capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr('tools.shared_data.CORPUS', tmp_path / 'missing')
    assert confidence.main(['--box']) == 1
    assert 'lacks weights' in capsys.readouterr().err
