"""Stabilization removes changes of scale and shift and keeps the motion in the scene."""

import cv2
from depth_anything_ros.vision.stabilization import Stabilizer
import numpy as np
import pytest

F32 = np.ndarray


def scene(seed: int = 0, size_hw: tuple[int, int] = (252, 336)) -> F32:
    """Return a smooth inverse depth map between about 0 and 2 with some edges."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.uniform(0, 1, (6, 8)).astype(np.float32), size_hw[::-1],
                        interpolation=cv2.INTER_CUBIC)
    steps = cv2.resize(rng.uniform(0, 1, (5, 7)).astype(np.float32), size_hw[::-1],
                       interpolation=cv2.INTER_NEAREST)
    return smooth + steps


def flicker(seed: int = 1, count: int = 40) -> list[tuple[float, float]]:
    """Return a scale and a shift that jump from frame to frame by a few percent."""
    rng = np.random.default_rng(seed)
    return [(float(np.exp(rng.normal(0, 0.05))), float(rng.normal(0, 0.05)))
            for _ in range(count)]


def stable(stabilizer: Stabilizer, inverse_depth: F32) -> F32:
    """Return the map by the scale and shift that the stabilizer finds for it."""
    scale, shift = stabilizer.update(inverse_depth)
    return inverse_depth * np.float32(scale) + np.float32(shift)


def change(maps: list[F32]) -> float:
    """Return the mean change from map to map."""
    return float(np.nanmean([np.abs(new - old) for old, new in zip(maps, maps[1:])]))


def test_the_first_map_stays_as_it_is() -> None:
    assert Stabilizer().update(scene()) == pytest.approx((1.0, 0.0))


def test_the_flicker_of_a_static_scene_goes() -> None:
    maps = [scene() * scale + shift for scale, shift in flicker()]
    stabilizer = Stabilizer()
    assert change([stable(stabilizer, one) for one in maps]) < 0.15 * change(maps)


def test_a_lasting_change_of_scale_is_followed_in_the_end() -> None:
    stabilizer = Stabilizer()
    stable(stabilizer, scene())
    results = [stable(stabilizer, 1.5 * scene()) for _ in range(60)]
    np.testing.assert_allclose(results[0], scene() * 1.05, atol=0.02)
    np.testing.assert_allclose(results[-1], scene() * 1.5, atol=0.02)


def test_an_object_that_moves_keeps_its_depth_and_its_outline() -> None:
    """Every pixel is exactly one scale and shift of its own map, whatever was there before."""
    stabilizer, results, slopes = Stabilizer(), [], []
    for number, (scale, shift) in enumerate(flicker()):
        truth = scene()
        left = 20 + 5 * number
        truth[80:160, left:left + 50] = 3.0 + 0.05 * number
        results.append((stable(stabilizer, truth * scale + shift), truth))
    for result, truth in results:
        slope, offset = np.polyfit(truth.ravel(), result.ravel(), 1)
        np.testing.assert_allclose(result, slope * truth + offset, atol=1e-4)
        slopes.append(slope)
    raw = [scale for scale, _ in flicker()]
    assert np.std(np.diff(slopes)) < 0.4 * np.std(np.diff(raw))


def test_an_object_that_comes_nearer_does_not_change_the_background() -> None:
    stabilizer, background = Stabilizer(), []
    for number in range(30):
        truth = scene()
        truth[60:180, 120:220] = 1.5 + 0.1 * number
        background.append(stable(stabilizer, truth)[:, :100])
    assert np.abs(background[-1] - background[0]).max() < 0.03


def test_a_pan_over_a_scene_keeps_its_scale() -> None:
    wide = scene(5, (252, 900))
    maps = [wide[:, 6 * number:6 * number + 336] for number in range(60)]
    stabilizer, scales = Stabilizer(), []
    for one, (scale, shift) in zip(maps, flicker(count=60)):
        gain, offset = stabilizer.update(one * scale + shift)
        scales.append((gain * scale, gain * shift + offset))
    raw = np.array(flicker(count=60))
    found = np.array(scales)
    assert np.diff(found, axis=0).std(axis=0).max() < 0.5 * np.diff(raw, axis=0).std(axis=0).min()


@pytest.mark.parametrize('unknown', [0, 60])
def test_what_a_fast_pan_brings_into_view_does_not_count(unknown: int) -> None:
    wide, stabilizer = scene(5, (252, 1536)), Stabilizer(leak=0.0)
    wide[40:40 + unknown, 300:1200:300] = wide[40:40 + unknown, 301:1201:300] = np.nan
    found = [stabilizer.update(wide[:, 60 * number:60 * number + 336]) for number in range(20)]
    np.testing.assert_allclose(found, [(1.0, 0.0)] * 20, atol=0.05)


def test_a_cut_resets_the_estimate() -> None:
    stabilizer = Stabilizer()
    resets = []
    for _ in range(5):
        stabilizer.update(scene(0))
        resets.append(stabilizer.was_reset)
    assert resets == [True, False, False, False, False]
    assert stabilizer.update(3.0 * scene(9)[::-1] + 1.0) == pytest.approx((1.0, 0.0))
    assert stabilizer.was_reset
    stabilizer.update(np.full_like(scene(0), np.nan))
    assert not stabilizer.was_reset


def test_another_size_resets_the_estimate() -> None:
    stabilizer = Stabilizer()
    stabilizer.update(scene())
    assert stabilizer.update(2.0 * scene(0, (154, 196))) == pytest.approx((1.0, 0.0))


def test_reset_forgets_the_estimate() -> None:
    stabilizer = Stabilizer()
    stabilizer.update(scene())
    assert stabilizer.update(1.1 * scene())[0] < 0.95
    stabilizer.reset()
    assert stabilizer.update(1.1 * scene()) == pytest.approx((1.0, 0.0))


def test_invalid_pixels_change_nothing() -> None:
    torn = 1.2 * scene()
    torn[40:120, 30:200] = np.nan
    torn[0, 0] = np.inf
    whole = Stabilizer()
    whole.update(scene())
    stabilizer = Stabilizer()
    stabilizer.update(scene())
    expected = whole.update(1.2 * scene())
    assert stabilizer.update(torn) == pytest.approx(expected, abs=0.02)


def test_maps_that_are_valid_in_different_parts_are_a_cut() -> None:
    left, right = np.ones((2, 252, 336), np.float32)
    left[:, 168:], right[:, :168] = np.nan, np.nan
    stabilizer = Stabilizer()
    stabilizer.update(left)
    assert stabilizer.update(1.2 * right) == pytest.approx((1.0, 0.0))
    assert stabilizer.was_reset


def test_an_empty_or_a_flat_map_is_passed_over() -> None:
    stabilizer = Stabilizer()
    stabilizer.update(scene())
    assert stabilizer.update(np.full((252, 336), np.nan, np.float32)) == (1.0, 0.0)
    assert stabilizer.update(1.1 * scene())[0] == pytest.approx(1 / 1.1 * 0.9 + 0.1, abs=0.01)
    assert stabilizer.update(np.ones((252, 336), np.float32)) == pytest.approx((1.0, 0.0))
