"""Fits to the floor: synthetic rooms with boxes, noise and tilt, and views without a floor."""

from dataclasses import replace

from depth_anything_ros.alignment.fit import AlignmentFrame, AlignmentSource, check_fit
from depth_anything_ros.alignment.ground import (
    fit_ground, GroundSource, measure_ground, Mount)
from depth_anything_ros.errors import AlignmentError
from depth_anything_ros.parameters import AlignmentSettings, Settings
from depth_anything_ros.vision.geometry import Distortion, Intrinsics
import numpy as np
import pytest
from tools.measure.navigation_alignment import FLOOR_CAMERA, floor_view, Room

HEIGHTS = [0.3, 0.6, 1.0, 1.5]


def floor_error(room: Room, given_pitch: float, with_shift: bool, seed: int = 0) -> float:
    """Return the mean relative error of the floor's depth up to 4 m after the fit."""
    view = floor_view(room, seed)
    fit = fit_ground(view.inverse_depth, FLOOR_CAMERA, room.height_m, given_pitch, with_shift)
    check_fit(fit, AlignmentSettings(source='ground', max_outliers=0.7))
    near = view.floor & (view.inverse_z > 0.25)
    found = fit.scale * view.inverse_depth[near] + fit.shift
    return float(np.mean(np.abs(view.inverse_z[near] / found - 1)))


def test_the_floor_is_a_source_that_reads_height_and_pitch_for_each_frame() -> None:
    settings = Settings(camera_height=0.6, camera_pitch=0.2)
    source: AlignmentSource = GroundSource(lambda: settings)
    view = floor_view(Room(0.6, 0.2, scale=0.25, boxes=0), 0)
    frame = AlignmentFrame(view.inverse_depth, FLOOR_CAMERA, '', 1.0, 'camera')
    assert source.fit(frame, with_shift=False).scale == pytest.approx(0.25, rel=1e-3)
    settings = Settings(camera_height=1.2, camera_pitch=0.2)
    assert source.fit(frame, with_shift=False).scale == pytest.approx(0.125, rel=1e-3)
    unknown = AlignmentFrame(view.inverse_depth, None, 'no camera_info', 1.0, 'camera')
    with pytest.raises(AlignmentError, match='no camera_info'):
        source.fit(unknown, with_shift=False)
    source.close()


@pytest.mark.parametrize('height_m', HEIGHTS)
@pytest.mark.parametrize('shift', [-0.05, 0.0, 0.3])
def test_scale_and_shift_of_a_clean_floor_are_found(height_m: float, shift: float) -> None:
    view = floor_view(Room(height_m, 0.2, scale=0.25, shift=shift, boxes=0), 0)
    seen = measure_ground(view.inverse_depth, FLOOR_CAMERA, Mount(height_m, 0.2, True))
    fit = seen.fit
    assert (fit.scale, fit.shift) == pytest.approx((0.25, shift), rel=1e-3, abs=1e-3)
    assert fit.residual < 1e-3
    assert fit.inverse_z == pytest.approx(
        tuple(np.percentile(seen.samples.inverse_z, (10, 90))), rel=1e-3)


@pytest.mark.parametrize('height_m', HEIGHTS)
def test_the_scale_of_a_clean_floor_is_found_without_a_shift(height_m: float) -> None:
    view = floor_view(Room(height_m, 0.2, scale=0.25, boxes=0), 0)
    fit = fit_ground(view.inverse_depth, FLOOR_CAMERA, height_m, 0.2, with_shift=False)
    assert fit.scale == pytest.approx(0.25, rel=1e-3)
    assert fit.shift == 0.0


@pytest.mark.parametrize('with_shift', [True, False])
@pytest.mark.parametrize('height_m', HEIGHTS)
@pytest.mark.parametrize('seed', range(3))
def test_boxes_and_noise_change_little(with_shift: bool, height_m: float, seed: int) -> None:
    room = Room(height_m, 0.2, shift=0.3 if with_shift else 0.0, noise=0.03)
    assert floor_error(room, 0.2, with_shift, seed) < 0.07


@pytest.mark.parametrize('tilt', np.radians([-2, 2]))
@pytest.mark.parametrize('height_m', HEIGHTS)
def test_a_tilt_does_no_harm_without_a_shift(tilt: float, height_m: float) -> None:
    room = Room(height_m, 0.2 + tilt, roll_rad=tilt, noise=0.02)
    assert floor_error(room, 0.2, with_shift=False) < 0.05


def test_a_roll_does_no_harm_with_a_shift_either() -> None:
    room = Room(0.6, 0.2, roll_rad=np.radians(4), shift=0.3)
    assert floor_error(room, 0.2, with_shift=True) < 0.01


@pytest.mark.parametrize('tilt', np.radians([-2, 2]))
@pytest.mark.parametrize('height_m', HEIGHTS)
def test_with_a_shift_a_pitch_error_becomes_one_of_the_shift(tilt: float, height_m: float) -> None:
    view = floor_view(Room(height_m, 0.2 + tilt, shift=0.3, boxes=0), 0)
    fit = fit_ground(view.inverse_depth, FLOOR_CAMERA, height_m, 0.2, with_shift=True)
    assert fit.shift - 0.3 == pytest.approx(-tilt * np.cos(0.2) / height_m, rel=0.1)
    assert fit.scale == pytest.approx(0.25, rel=0.01)


def test_outliers_are_the_part_of_the_expected_floor_that_is_none() -> None:
    shares = []
    for boxes in (0, 8):
        view = floor_view(Room(0.6, 0.3, boxes=boxes), 1)
        fit = fit_ground(view.inverse_depth, FLOOR_CAMERA, 0.6, 0.3, with_shift=False)
        shares.append(fit.outliers)
    assert shares[0] < 0.05
    assert shares[1] > 0.2


def test_pixels_without_depth_are_neither_floor_nor_outliers() -> None:
    d = floor_view(Room(0.6, 0.2, boxes=0, wall_m=0.0), 0).inverse_depth.copy()
    d[150:200, 100:200] = np.nan
    fit = fit_ground(d, FLOOR_CAMERA, 0.6, 0.2, with_shift=False)
    assert (fit.scale, fit.outliers) == pytest.approx((0.25, 0.0), abs=1e-3)


@pytest.mark.parametrize('with_shift', [True, False])
def test_a_reflection_in_the_floor_is_not_mistaken_for_it(with_shift: bool) -> None:
    """A third of the floor shows the ceiling, which is farther than the floor."""
    shift = 0.3 if with_shift else 0.0
    view = floor_view(Room(0.6, 0.2, boxes=0, shift=shift), 0)
    d = view.inverse_depth.copy()
    d[:, 100:200] = (0.5 * view.inverse_z[:, 100:200] - shift) / 0.25
    fit = fit_ground(d, FLOOR_CAMERA, 0.6, 0.2, with_shift)
    assert (fit.scale, fit.shift) == pytest.approx((0.25, shift), rel=0.02)


@pytest.mark.parametrize('right', [180, 260])
@pytest.mark.parametrize('with_shift', [True, False])
def test_a_table_in_view_is_not_mistaken_for_the_floor(with_shift: bool, right: int) -> None:
    view = floor_view(Room(1.5, 0.5, boxes=0, shift=0.3 if with_shift else 0.0), 0)
    d = view.inverse_depth.copy()
    table = np.s_[60:220, 20:right]
    shift = 0.3 if with_shift else 0.0
    d[table] = (view.inverse_z[table] * 1.5 / 0.75 - shift) / 0.25
    fit = fit_ground(d, FLOOR_CAMERA, 1.5, 0.5, with_shift)
    assert (fit.scale, fit.shift) == pytest.approx((0.25, shift), rel=0.02)


@pytest.mark.parametrize('with_shift', [True, False])
@pytest.mark.parametrize('noise', [0.005, 0.03])
def test_a_wall_before_the_camera_is_not_mistaken_for_the_floor(
        with_shift: bool, noise: float) -> None:
    for seed in range(4):
        view = floor_view(Room(0.6, 0.0, boxes=0, wall_m=0.9, noise=noise), seed)
        assert not view.floor.any()
        with pytest.raises(AlignmentError):
            check_fit(fit_ground(view.inverse_depth, FLOOR_CAMERA, 0.6, 0.0, with_shift),
                      AlignmentSettings(source='ground'))


@pytest.mark.parametrize('with_shift', [True, False])
def test_a_strip_of_floor_before_a_wall_is_too_little(with_shift: bool) -> None:
    view = floor_view(Room(0.6, 0.0, boxes=0, wall_m=1.5), 0)
    assert 0.02 < view.floor[126:].mean() < 0.2
    with pytest.raises(AlignmentError, match='below the horizon is floor, 20 % are needed'):
        fit_ground(view.inverse_depth, FLOOR_CAMERA, 0.6, 0.0, with_shift)


def test_the_share_of_floor_that_is_needed_follows_from_max_outliers() -> None:
    """A fit that the node would refuse is no fit; with less floor, walls are taken for it."""
    view = floor_view(Room(0.6, 0.0, boxes=0, wall_m=2.1), 0)
    frame = AlignmentFrame(view.inverse_depth, FLOOR_CAMERA, '', 1.0, 'camera')
    settings = Settings(camera_height=0.6, camera_pitch=0.0)
    source = GroundSource(lambda: settings)
    with pytest.raises(AlignmentError, match='50 % are needed.*or raise alignment.max_outl'):
        source.fit(frame, with_shift=True)
    settings = replace(settings, alignment=AlignmentSettings(source='ground', max_outliers=0.8))
    fit = source.fit(frame, with_shift=True)
    assert 0.5 < fit.outliers < 0.8
    check_fit(fit, settings.alignment)


def test_a_camera_that_looks_up_is_an_error() -> None:
    view = floor_view(Room(1.0, -0.6), 0)
    with pytest.raises(AlignmentError, match='cannot see the floor; check camera_pitch'):
        fit_ground(view.inverse_depth, FLOOR_CAMERA, 1.0, -0.6, with_shift=True)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('with_shift', [True, False])
@pytest.mark.parametrize('value', [0.0, 1.0])
def test_a_flat_map_shows_no_floor(with_shift: bool, value: float) -> None:
    flat = np.full(FLOOR_CAMERA.size_hw, value, np.float32)
    with pytest.raises(AlignmentError, match='of the view below the horizon is floor'):
        fit_ground(flat, FLOOR_CAMERA, 1.0, 0.2, with_shift)


@pytest.mark.filterwarnings('error')
def test_pixels_without_a_value_do_not_count() -> None:
    view = floor_view(Room(0.6, 0.2, boxes=0), 0)
    d = view.inverse_depth.copy()
    d[::3, ::2] = np.nan
    fit = fit_ground(d, FLOOR_CAMERA, 0.6, 0.2, with_shift=True)
    assert (fit.scale, fit.shift) == pytest.approx((0.25, 0.0), abs=1e-3)


def test_the_distortion_of_a_raw_image_is_used() -> None:
    bent = Intrinsics(FLOOR_CAMERA.fx, FLOOR_CAMERA.fy, FLOOR_CAMERA.cx, FLOOR_CAMERA.cy,
                      FLOOR_CAMERA.size_hw, Distortion('plumb_bob', (-0.2, 0.03, 0, 0, 0)))
    view = floor_view(Room(0.6, 0.2, boxes=0), 0)
    straight, curved = (fit_ground(view.inverse_depth, camera, 0.6, 0.2, with_shift=False)
                        for camera in (FLOOR_CAMERA, bent))
    assert straight.residual < 1e-3 < curved.residual


def test_the_same_view_always_gives_the_same_fit() -> None:
    view = floor_view(Room(0.6, 0.2, noise=0.05), 0)
    first, second = (fit_ground(view.inverse_depth, FLOOR_CAMERA, 0.6, 0.2, with_shift=True)
                     for _ in range(2))
    assert first == second
