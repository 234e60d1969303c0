"""Colour tables, the running range, and the colour of NaN."""

from depth_anything_ros.parameters import SPECS
from depth_anything_ros.vision.colorize import color_table, colorize, RangeTracker
import numpy as np
import pytest

COLOR_MAPS = next(spec.choices for spec in SPECS if spec.name == 'color_map')


@pytest.mark.parametrize(('name', 'matplotlib_name'), [
    ('spectral_r', 'Spectral_r'), ('inferno', 'inferno'), ('magma', 'magma'),
    ('viridis', 'viridis'), ('gray', 'gray')])
def test_a_table_is_that_of_matplotlib_within_one_level(
        name: str, matplotlib_name: str) -> None:
    matplotlib = pytest.importorskip('matplotlib')
    expected_rgb = matplotlib.colormaps[matplotlib_name](np.arange(256), bytes=True)[:, :3]
    difference = color_table(name)[:, 0, ::-1].astype(int) - expected_rgb
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize('name', COLOR_MAPS)
def test_every_colour_map_that_can_be_chosen_has_256_different_colours(name: str) -> None:
    table = color_table(name)
    assert table.shape == (256, 1, 3) and table.dtype == np.uint8
    assert len(np.unique(table.reshape(-1, 3), axis=0)) > 240


def test_near_is_red_and_far_is_blue_in_spectral_r() -> None:
    table = color_table('spectral_r')
    far_bgr, near_bgr = table[0, 0], table[255, 0]
    assert tuple(far_bgr) == (162, 79, 94)
    assert tuple(near_bgr) == (66, 1, 158)


def test_an_unknown_colour_map_is_refused() -> None:
    with pytest.raises(ValueError, match='plaid'):
        color_table('plaid')


def test_the_ends_of_the_range_get_the_ends_of_the_table() -> None:
    values = np.float32([[-5.0, 1.0, 2.0, 3.0, 99.0]])
    colors = colorize(values, 1.0, 3.0, color_table('gray'))
    assert colors.shape == (1, 5, 3) and colors.dtype == np.uint8
    assert colors[0, :, 0].tolist() == [0, 0, 127, 255, 255]


def test_values_far_beyond_the_range_get_the_ends_too() -> None:
    """Metres at infinity, and numbers that no integer holds."""
    values = np.float32([[-np.inf, -1e30, 1.0, 3.0, 1e30, np.inf]])
    colors = colorize(values, 1.0, 3.0, color_table('gray'))
    assert colors[0, :, 0].tolist() == [0, 0, 0, 255, 255, 255]
    flat = np.full((2, 2), 4.0, np.float32)
    assert not colorize(flat, 4.0, 4.0, color_table('gray')).any()


@pytest.mark.filterwarnings('error')
def test_nan_is_black_whatever_the_table() -> None:
    values = np.float32([[np.nan, 1.0], [2.0, np.nan]])
    colors = colorize(values, 1.0, 2.0, color_table('spectral_r'))
    assert not colors[0, 0].any() and not colors[1, 1].any()
    assert colors[0, 1].any() and colors[1, 0].any()


def test_a_flat_map_is_coloured_without_dividing_by_zero() -> None:
    colors = colorize(np.full((3, 3), 4.0, np.float32), 4.0, 4.0, color_table('viridis'))
    assert len(np.unique(colors.reshape(-1, 3), axis=0)) == 1


def test_colouring_leaves_the_map_unchanged() -> None:
    values = np.float32([[np.nan, 1.0, 7.0]])
    before = values.copy()
    colorize(values, 1.0, 2.0, color_table('gray'))
    np.testing.assert_array_equal(values, before)


def ramp(low: float, high: float) -> np.ndarray:
    """Return a map whose values run evenly from low to high in every fourth row."""
    return np.tile(np.linspace(low, high, 400, dtype=np.float32), (20, 1))


def test_the_first_map_sets_the_range_at_once_to_its_percentiles() -> None:
    low, high = RangeTracker().update(ramp(0.0, 100.0))
    assert low == pytest.approx(2.0, abs=0.5) and high == pytest.approx(98.0, abs=1.5)


def test_a_single_odd_frame_moves_the_range_by_no_more_than_the_gain() -> None:
    tracker = RangeTracker(gain=0.1)
    for _ in range(5):
        low, high = tracker.update(ramp(0.0, 100.0))
    odd_low, odd_high = tracker.update(ramp(0.0, 1000.0))
    assert odd_high - high == pytest.approx(0.1 * (10 - 1) * high, rel=1e-3)
    after_low, after_high = tracker.update(ramp(0.0, 100.0))
    assert high < after_high < odd_high
    assert low < after_low < odd_low


def test_a_lasting_change_is_followed() -> None:
    tracker = RangeTracker(gain=0.2)
    tracker.update(ramp(0.0, 1.0))
    for _ in range(60):
        low, high = tracker.update(ramp(50.0, 60.0))
    assert low == pytest.approx(50.2, abs=0.1) and high == pytest.approx(59.8, abs=0.1)


def test_a_map_without_a_finite_value_changes_nothing() -> None:
    tracker = RangeTracker()
    nothing = np.full((8, 8), np.nan, np.float32)
    assert tracker.update(nothing) == (0.0, 1.0)
    before = tracker.update(ramp(0.0, 100.0))
    assert tracker.update(nothing) == before


def test_invalid_pixels_do_not_count_for_the_range() -> None:
    values = ramp(0.0, 100.0)[:4]
    expected = RangeTracker().update(values)
    spoiled = np.concatenate([values, np.full_like(values, np.nan),
                              np.full_like(values, np.inf)])
    assert RangeTracker().update(spoiled) == pytest.approx(expected)


def test_a_reset_lets_the_next_map_set_the_range() -> None:
    tracker = RangeTracker()
    tracker.update(ramp(0.0, 1.0))
    tracker.reset()
    assert tracker.update(ramp(50.0, 60.0))[0] > 50
