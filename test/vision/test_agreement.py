"""Agreement of two models: rank correlation, error after alignment, Pearson."""

from depth_anything_ros.vision.agreement import agreement, MAX_DEPTH_RATIO, rank_correlation
import numpy as np
import pytest


def by_counting(first: np.ndarray, second: np.ndarray) -> float:
    """Return Pearson's correlation of ranks that are counted pixel by pixel."""
    def ranks(values: np.ndarray) -> list[float]:
        listed = values.ravel().tolist()
        return [sum(other < one for other in listed) + (listed.count(one) - 1) / 2
                for one in listed]

    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def maps(levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two correlated maps [9, 13] with few levels and many ties."""
    rng = np.random.default_rng(levels)
    first = rng.random((9, 13), np.float32)
    second = first + rng.random((9, 13), np.float32)
    return np.round(first * levels) / levels, np.round(second * levels) / levels


def test_what_changes_no_order_does_not_count() -> None:
    first = np.random.default_rng(0).random((24, 32), np.float32)
    assert rank_correlation(first, np.exp(3 * first) - 7) == pytest.approx(1, abs=1e-12)
    assert rank_correlation(first, -first ** 3) == pytest.approx(-1, abs=1e-12)


def test_two_pixels_that_change_places_cost_what_the_formula_says() -> None:
    # 1 - 6 sum d^2 / (n (n^2 - 1)) with d = 1 twice and n = 5.
    first, second = np.float32([[1, 2, 3, 4, 5]]), np.float32([[1, 3, 2, 4, 5]])
    assert rank_correlation(first, second) == pytest.approx(1 - 6 * 2 / (5 * 24))


@pytest.mark.parametrize('levels', [2, 5, 100000])
def test_ties_share_their_mean_rank(levels: int) -> None:
    first, second = maps(levels)
    assert rank_correlation(first, second) == pytest.approx(by_counting(first, second), abs=1e-12)


@pytest.mark.parametrize('levels', [3, 100000])
def test_it_is_what_scipy_computes(levels: int) -> None:
    stats = pytest.importorskip('scipy.stats')
    first, second = maps(levels)
    expected = stats.spearmanr(first.ravel(), second.ravel()).statistic
    assert rank_correlation(first, second) == pytest.approx(expected, abs=1e-12)


def test_pixels_that_are_not_finite_in_either_map_are_left_out() -> None:
    first, second = maps(50)
    expected = rank_correlation(first[2:-1], second[2:-1])
    first[0], second[1], second[-1] = np.nan, np.inf, -np.inf
    assert rank_correlation(first, second) == expected


@pytest.mark.parametrize('flat', [0.0, 3.5])
def test_a_constant_map_correlates_with_nothing(flat: float) -> None:
    first = np.random.default_rng(0).random((4, 5), np.float32)
    constant = np.full_like(first, flat)
    assert rank_correlation(first, constant) == 0.0
    assert rank_correlation(constant, first) == 0.0
    assert rank_correlation(constant, constant) == 0.0


def test_two_pixels_have_an_order() -> None:
    first = np.float32([[1, 2, np.nan]])
    assert rank_correlation(first, np.float32([[3, 4, 5]])) == 1.0
    assert rank_correlation(first, np.float32([[4, 3, 5]])) == -1.0


def test_maps_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match='cannot be compared'):
        rank_correlation(np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32))
    with pytest.raises(ValueError, match='1 pixels are finite in both'):
        rank_correlation(np.float32([[1, np.nan, 2]]), np.float32([[np.inf, 1, 2]]))


def test_scale_and_shift_of_relative_maps_do_not_count() -> None:
    reference = np.float32([[1.0, 2.0, 4.0], [8.0, 5.0, 3.0]])
    found = agreement(3 * reference + 7, reference, relative=True)
    assert found.abs_rel == pytest.approx(0, abs=1e-6)
    assert found.pearson == pytest.approx(1)


def test_the_error_is_relative_to_depth_and_not_to_disparity() -> None:
    # The fit is 36/34 (d - 6) + 6, by symmetry around the mean.
    reference = np.float32([[2.0, 4.0, 8.0, 10.0]])
    candidate = np.float32([[2.0, 5.0, 7.0, 10.0]])
    fitted = np.polyval(np.polyfit(candidate[0], reference[0], 1), candidate[0])
    expected = np.mean(np.abs(1 / fitted - 1 / reference[0]) * reference[0])
    assert agreement(candidate, reference, relative=True).abs_rel == pytest.approx(expected)
    assert expected == pytest.approx(0.1200, abs=1e-4)


def test_what_lies_beyond_the_farthest_depth_does_not_count() -> None:
    nearest = MAX_DEPTH_RATIO
    reference = np.tile(np.float32([nearest, nearest / 2, 0.01, 0.02]), 100)[None]
    candidate = np.tile(np.float32([nearest, nearest / 2, 0.02, 0.01]), 100)[None]
    assert agreement(candidate, reference, relative=True).abs_rel < 1e-5


def test_metres_are_compared_as_they_are() -> None:
    reference = np.float32([[1.0, 2.0], [4.0, 5.0]])
    found = agreement(reference * 1.1, reference, relative=False)
    assert found.abs_rel == pytest.approx(0.1)
    assert found.pearson == pytest.approx(1)


@pytest.mark.parametrize('candidate', [
    np.zeros((2, 2), np.float32), np.full((2, 2), np.nan, np.float32)], ids=['flat', 'nan'])
def test_a_map_without_content_agrees_not_at_all(candidate: np.ndarray) -> None:
    found = agreement(candidate, np.float32([[1, 2], [3, 4]]), relative=True)
    assert (found.abs_rel, found.pearson) == (float('inf'), 0.0)


def test_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match='cannot be compared'):
        agreement(np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32), relative=True)
