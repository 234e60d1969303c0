"""Agreement of two maps, against cases computed by hand."""

from depth_anything_ros.vision.agreement import agreement, FARTHEST_TO_NEAREST
import numpy as np
import pytest


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
    nearest = FARTHEST_TO_NEAREST
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
