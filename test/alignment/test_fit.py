"""Robust fits: known scales among outliers, relative noise, and rejected fits."""

from dataclasses import replace

from depth_anything_ros.alignment.fit import (
    check_fit, Fit, fit_alignment, fit_together, fits_shift, FittedSamples, Samples)
from depth_anything_ros.errors import AlignmentError
from depth_anything_ros.model_info import Kind
from depth_anything_ros.parameters import AlignmentSettings
import numpy as np
import pytest

GOOD = Fit(0.3, 0.1, 200, 0.1, 0.03, (0.2, 1.0))


def samples(count: int = 200, scale: float = 0.3, shift: float = 0.1, noise: float = 0.0,
            outliers: float = 0.0, seed: int = 0) -> Samples:
    """Return d of points from 0.8 to 8 m; a share of them has a random depth instead."""
    rng = np.random.default_rng(seed)
    inverse_z = 1 / rng.uniform(0.8, 8.0, count)
    values = (inverse_z * np.exp(noise * rng.standard_normal(count)) - shift) / scale
    wrong = rng.permutation(count)[:round(count * outliers)]
    inverse_z[wrong] = 1 / rng.uniform(0.3, 10.0, wrong.size)
    return Samples(values, inverse_z)


@pytest.mark.parametrize('outliers', [0.0, 0.2, 0.4])
@pytest.mark.parametrize('count', [20, 200, 2000])
def test_a_planted_scale_and_shift_is_found_among_outliers(count: int, outliers: float) -> None:
    fit = fit_alignment(samples(count, outliers=outliers), with_shift=True)
    assert (fit.scale, fit.shift) == pytest.approx((0.3, 0.1), rel=1e-3)
    assert fit.residual < 1e-3
    assert fit.outliers == pytest.approx(outliers, abs=0.06)
    assert fit.support == round((1 - fit.outliers) * count)


@pytest.mark.parametrize('with_shift', [True, False])
def test_even_a_minority_that_agrees_wins_over_points_that_do_not(with_shift: bool) -> None:
    planted = samples(300, shift=0.1 * with_shift, noise=0.02, outliers=0.65)
    fit = fit_alignment(planted, with_shift)
    assert (fit.scale, fit.shift) == pytest.approx((0.3, 0.1 * with_shift), rel=0.05)
    assert fit.outliers == pytest.approx(0.62, abs=0.06)


@pytest.mark.parametrize('outliers', [0.0, 0.2, 0.4])
def test_a_planted_scale_is_found_without_a_shift(outliers: float) -> None:
    fit = fit_alignment(samples(shift=0.0, outliers=outliers), with_shift=False)
    assert fit.scale == pytest.approx(0.3, rel=1e-3)
    assert fit.shift == 0.0


@pytest.mark.parametrize('seed', range(5))
def test_noise_and_outliers_together_cost_little_depth(seed: int) -> None:
    fit = fit_alignment(samples(noise=0.05, outliers=0.3, seed=seed), with_shift=True)
    inverse_z = np.linspace(1 / 8, 1 / 0.8, 50)
    found = fit.scale * (inverse_z - 0.1) / 0.3 + fit.shift
    assert np.abs(inverse_z / found - 1).mean() < 0.03
    assert fit.residual == pytest.approx(0.67 * 0.05, rel=0.35)


def test_one_surface_at_a_wrong_depth_does_not_pull_at_the_fit() -> None:
    right = samples(noise=0.02)
    inverse_z = right.inverse_z.copy()
    nearest = np.argsort(-inverse_z)[:60]
    inverse_z[nearest] /= 1.6
    fit = fit_alignment(Samples(right.values, inverse_z), with_shift=True)
    assert (fit.scale, fit.shift) == pytest.approx((0.3, 0.1), rel=0.1)
    assert fit.outliers > 0.25


def test_a_wrong_surface_hidden_in_the_noise_is_resisted_too() -> None:
    errors = []
    for seed in range(6):
        right = samples(noise=0.08, seed=seed)
        inverse_z = right.inverse_z.copy()
        inverse_z[np.argsort(inverse_z)[:60]] *= 1.5
        fit = fit_alignment(Samples(right.values, inverse_z), with_shift=True)
        found = fit.scale * (right.inverse_z - 0.1) / 0.3 + fit.shift
        errors.append(np.abs(right.inverse_z / found - 1).mean())
    assert np.mean(errors) < 0.06


def test_far_points_weigh_as_much_as_near_ones() -> None:
    rng = np.random.default_rng(1)
    inverse_z = np.repeat([1.0, 0.1], 500)
    values = inverse_z * np.exp(0.08 * rng.standard_normal(1000))
    fit = fit_alignment(Samples(values, inverse_z), with_shift=True)
    assert fit.scale * 0.1 + fit.shift == pytest.approx(0.1, rel=0.02)


def test_the_same_samples_always_give_the_same_fit() -> None:
    some = samples(noise=0.1, outliers=0.4)
    assert fit_alignment(some, with_shift=True) == fit_alignment(some, with_shift=True)


def test_a_fit_says_over_which_depths_it_was_made() -> None:
    fit = fit_alignment(samples(2000), with_shift=True)
    far, near = 1 / np.percentile(np.linspace(0.8, 8.0, 1000), (90, 10))
    assert fit.inverse_z == pytest.approx((far, near), rel=0.05)


def test_a_single_range_fixes_a_scale() -> None:
    fit = fit_alignment(Samples(np.array([4.0]), np.array([0.5])), with_shift=False)
    assert fit == Fit(0.125, 0.0, 1, 0.0, 0.0, (0.5, 0.5))


def test_two_points_fix_a_scale_and_a_shift() -> None:
    fit = fit_alignment(Samples(np.array([1.0, 4.0]), np.array([0.3, 0.9])), with_shift=True)
    assert (fit.scale, fit.shift, fit.support) == pytest.approx((0.2, 0.1, 2))


def test_points_of_little_weight_count_little_in_the_fit_and_in_its_residual() -> None:
    right, wrong = samples(200, noise=0.02), samples(100, scale=0.2, noise=0.3)
    both = Samples(*(np.concatenate([getattr(one, name) for one in (right, wrong)])
                     for name in ('values', 'inverse_z')),
                   weights=np.repeat([1.0, 1e-3], (200, 100)))
    fit, alone = (fit_alignment(one, True, all_surfaces=True) for one in (both, right))
    assert (fit.scale, fit.shift) == pytest.approx((alone.scale, alone.shift), rel=1e-2)
    assert fit.residual == pytest.approx(alone.residual, rel=0.05)


@pytest.mark.parametrize('with_shift', [True, False])
def test_several_sources_get_the_least_squares_of_relative_errors(with_shift: bool) -> None:
    """Each source counts the same, so its points count by their number."""
    shift = 0.1 * with_shift
    few, many = samples(50, 0.3, shift, 0.005), samples(400, 0.31, shift, 0.005, seed=1)
    together = fit_together(tuple(FittedSamples(fit_alignment(one, with_shift), one)
                                  for one in (few, many)), with_shift)
    rows = np.concatenate([
        np.stack([one.values, np.full(count, with_shift), one.inverse_z], axis=1)
        / (one.inverse_z[:, None] * count ** 0.5) for one, count in ((few, 50), (many, 400))])
    expected = np.linalg.lstsq(rows[:, :2], rows[:, 2], rcond=None)[0]
    assert (together.scale, together.shift) == pytest.approx(tuple(expected), rel=1e-3)


@pytest.mark.filterwarnings('error')
def test_sources_that_see_one_distance_fix_no_shift_together() -> None:
    wall = Samples(np.full(16, 2.0), np.full(16, 0.5))
    source = FittedSamples(fit_alignment(wall, with_shift=False), wall)
    with pytest.raises(AlignmentError, match='too little depth'):
        fit_together((source, source), with_shift=True)
    assert fit_together((source, source), with_shift=False).scale == pytest.approx(0.25)


@pytest.mark.parametrize(('count', 'with_shift'), [(0, True), (0, False), (1, True)])
def test_too_few_points_are_refused_with_their_number(count: int, with_shift: bool) -> None:
    with pytest.raises(AlignmentError, match=f'^{count} reference points .*reference_max'):
        fit_alignment(samples(count), with_shift)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('noise', [0.0, 0.02])
def test_a_flat_wall_fixes_no_shift_but_a_scale(noise: float) -> None:
    rng = np.random.default_rng(0)
    wall = Samples(2 * np.exp(noise * rng.standard_normal(300)),
                   0.5 * np.exp(noise * rng.standard_normal(300)))
    with pytest.raises(AlignmentError, match='too little depth .* alignment.fit to scale'):
        fit_alignment(wall, with_shift=True)
    assert fit_alignment(wall, with_shift=False).scale == pytest.approx(0.25, rel=0.01)
    same = Samples(np.linspace(1, 2, 300), np.full(300, 0.5))
    with pytest.raises(AlignmentError, match='too little depth'):
        fit_alignment(same, with_shift=True)


@pytest.mark.filterwarnings('error')
def test_a_reference_that_contradicts_the_model_is_refused() -> None:
    inverse_z = np.linspace(0.1, 1, 100)
    with pytest.raises(AlignmentError, match='farther where the model is nearer'):
        fit_alignment(Samples(2 - inverse_z, inverse_z), with_shift=True)
    with pytest.raises(AlignmentError, match='farther where the model is nearer'):
        fit_alignment(Samples(-inverse_z, inverse_z), with_shift=False)


def test_a_reference_that_has_nothing_to_do_with_the_image_is_not_believed() -> None:
    settings = AlignmentSettings()
    for seed in range(10):
        rng = np.random.default_rng(seed)
        unrelated = Samples(rng.uniform(0, 4, 200), 1 / rng.uniform(0.5, 8, 200))
        with pytest.raises(AlignmentError):
            check_fit(fit_alignment(unrelated, with_shift=True), settings)


@pytest.mark.parametrize(('fit', 'kind', 'source', 'expected'), [
    ('auto', 'relative', 'points', True), ('auto', 'relative', 'range', False),
    ('auto', 'metric', 'depth', False), ('scale', 'relative', 'depth', False),
    ('scale_shift', 'metric', 'ground', True)])
def test_the_shift_is_fitted_for_relative_models_or_on_demand(
        fit: str, kind: Kind, source: str, expected: bool) -> None:
    assert fits_shift(fit, kind, source) is expected


def test_a_good_fit_passes() -> None:
    check_fit(GOOD, AlignmentSettings())


@pytest.mark.parametrize(('change', 'fact', 'fix'), [
    ({'support': 29}, '29 reference points agree', 'lower alignment.min_support'),
    ({'outliers': 0.51}, '51 % of the reference disagrees', 'raise alignment.max_outliers'),
    ({'residual': 0.153}, 'is 15.3 % of the depth, at most 15 %', 'raise alignment.max_residual')])
def test_a_fit_beyond_a_limit_is_refused_with_the_fact_and_the_fix(
        change: dict[str, float], fact: str, fix: str) -> None:
    with pytest.raises(AlignmentError, match=f'{fact}.*{fix}'):
        check_fit(replace(GOOD, **change), AlignmentSettings())


def test_limits_are_those_of_the_settings() -> None:
    settings = AlignmentSettings(min_support=300, max_outliers=0.05, max_residual=0.01)
    for change in ({}, {'support': 300}, {'support': 300, 'outliers': 0.05}):
        with pytest.raises(AlignmentError):
            check_fit(replace(GOOD, **change), settings)
    check_fit(replace(GOOD, support=300, outliers=0.05, residual=0.01), settings)


def test_one_point_is_enough_from_a_range_sensor() -> None:
    single = replace(GOOD, support=1, outliers=0.0, residual=0.0)
    check_fit(single, AlignmentSettings(source='range'))
    with pytest.raises(AlignmentError):
        check_fit(single, AlignmentSettings(source='points'))
