"""Depth of a sensor with its holes filled, over real topics."""

from collections.abc import Callable
from typing import Any

from depth_anything_ros.alignment.filling import FITTED, MEASURED, NO_DEPTH
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest
from robot import camera_info, image_message, Robot
from sensor_msgs.msg import CameraInfo, Image, Range
from std_srvs.srv import SetBool
from tiny import weighted_sum
from waiting import on_stderr

HW = (120, 160)
# 1/z = SCALE * d + SHIFT: 0.4 to 5 m over the picture.
SCALE, SHIFT = 0.4, 0.05
FILLED, INFO, MASK = (f'/depth_anything/depth_filled/{name}'
                      for name in ('image', 'camera_info', 'mask'))
HOLE, GLASS = np.s_[30:90, 40:80], np.s_[40:60, 110:140]


def slope() -> np.ndarray:
    """Return a picture whose inverse depth rises smoothly from 0 to 6."""
    rows, columns = np.mgrid[0:HW[0], 0:HW[1]].astype(np.float32)
    value = (rows / HW[0] + columns / HW[1]) / 2 * 250
    return np.repeat(value[..., None].astype(np.uint8), 3, axis=-1)


def true_depth_m() -> np.ndarray:
    """Return the metres that belong to the slope."""
    return (1 / (SCALE * weighted_sum(slope()) + SHIFT)).astype(np.float32)


def sensor_m() -> np.ndarray:
    """Return what the sensor measures: 1 % too much, a hole, and glass at twice the distance."""
    depth_m = true_depth_m() * np.float32(1.01)
    depth_m[HOLE] = np.nan
    depth_m[GLASS] *= 2
    return depth_m


def pixels(message: Image) -> np.ndarray:
    """Return the array of a depth image or a mask."""
    kind = {'32FC1': np.float32, '16UC1': np.uint16, 'mono8': np.uint8}[message.encoding]
    return np.frombuffer(message.data, kind).reshape(message.height, message.width)


class Rig:
    """A robot with a depth sensor that somebody may listen to."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        robot.bring_up()
        robot.show_camera(camera_info(HW[1], HW[0], 100.0))
        self.maps = robot.listen(Image, '/depth_anything/depth/image')
        self.frames = robot.listen(Image, '/depth_anything/inverse_depth/image')

    def listen(self) -> tuple[list[Any], list[Any], list[Any]]:
        """Subscribe to the filled depth, its camera_info and its mask."""
        return (self.robot.listen(Image, FILLED), self.robot.listen(CameraInfo, INFO),
                self.robot.listen(Image, MASK))

    def measure(self, second: float, depth_m: np.ndarray, encoding: str = '32FC1') -> None:
        """Publish a depth image of the sensor and wait until the node has it."""
        kept = self.robot.stream().aligner._source._messages
        before = len(kept)
        message = image_message(depth_m, encoding, stamp_ns=round(second * 1e9))
        self.robot.publish('reference/depth', message)
        assert self.robot.until(lambda: len(kept) > before)

    def show(self, second: float) -> None:
        """Publish the picture and wait until the node has computed it."""
        before = len(self.frames)
        self.robot.show(slope(), stamp_ns=round(second * 1e9))
        assert self.robot.until(lambda: len(self.frames) > before)


@pytest.fixture
def make_rig(make_robot: Callable[..., Robot]) -> Callable[..., Rig]:
    """Return a function that makes an active node with these parameters."""
    def make(**parameters: Any) -> Rig:
        return Rig(make_robot(**{
            'alignment.source': 'depth', 'alignment.time_constant': 0.0,
            'qos_overrides./reference/depth.subscription.reliability': 'reliable', **parameters}))
    return make


def test_what_is_measured_stays_and_holes_and_glass_are_filled(
        make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    filled, infos, masks = rig.listen()
    rig.measure(10.0, sensor_m())
    rig.show(10.0)
    assert rig.robot.until(lambda: filled and infos and masks)
    depth_m, mask = pixels(filled[0]), pixels(masks[0])
    assert filled[0].encoding == '32FC1' and masks[0].encoding == 'mono8'
    measured = mask == MEASURED
    assert_array_equal(depth_m[measured], sensor_m()[measured])
    assert (mask[HOLE] == FITTED).all() and (mask[GLASS] == FITTED).all()
    assert measured.mean() > 0.8
    assert_allclose(depth_m[8:], true_depth_m()[8:], rtol=0.06)
    assert filled[0].header == infos[0].header == masks[0].header
    assert (filled[0].header.stamp.sec, filled[0].header.frame_id) == (10, 'camera_optical')
    assert (infos[0].width, infos[0].height) == HW[::-1]


def test_without_a_subscriber_no_whole_image_is_kept(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.measure(10.0, sensor_m())
    rig.show(10.0)
    kept = rig.robot.stream().aligner._source._messages
    assert [one.image for one in kept] == [None]
    filled, _, _ = rig.listen()
    rig.measure(11.0, sensor_m())
    rig.show(11.0)
    assert rig.robot.until(lambda: filled)
    assert kept[-1].image is not None


def test_nothing_is_published_before_there_is_a_fit_and_the_log_says_why(
        make_rig: Callable[..., Rig], capfd: pytest.CaptureFixture[str]) -> None:
    rig = make_rig()
    filled, infos, masks = rig.listen()
    rig.show(10.0)
    rig.measure(11.0, sensor_m())
    rig.show(11.0)
    assert rig.robot.until(lambda: filled and infos and masks)
    assert [len(one) for one in (filled, infos, masks)] == [1, 1, 1]
    assert filled[0].header.stamp.sec == 11
    assert 'no filled depth: no message on /reference/depth' in capfd.readouterr().err


@pytest.mark.parametrize('source', ['none', 'range'])
def test_another_source_has_no_filled_depth_and_the_log_says_what_it_needs(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str], source: str) -> None:
    rig = Rig(make_robot(**{
        'relative_scale': SCALE, 'alignment.source': source, 'alignment.reference_frame': 'fixed',
        'alignment.time_constant': 0.0,
        'qos_overrides./reference/range.subscription.reliability': 'reliable'}))
    filled, _, _ = rig.listen()
    if source == 'range':
        ahead = Range(min_range=0.1, max_range=5.0, range=1.0, field_of_view=0.1)
        ahead.header.stamp.sec = 10
        rig.robot.set_parameters(**{
            'alignment.reference_pose': [0.0, 0.0, 0.0, np.pi / 2, -np.pi / 2, 0.0]})
        kept = rig.robot.stream().aligner._source._messages
        rig.robot.publish('reference/range', ahead)
        assert rig.robot.until(lambda: kept)
    rig.show(10.0)
    assert rig.robot.until(lambda: rig.maps)
    rig.show(10.05)
    assert rig.robot.until(lambda: len(rig.maps) == 2)
    assert 'no filled depth: it needs alignment.source depth' in capfd.readouterr().err
    assert not filled


def test_while_the_sensor_is_silent_all_depth_is_fitted(
        make_rig: Callable[..., Rig], capfd: pytest.CaptureFixture[str]) -> None:
    rig = make_rig()
    filled, _, masks = rig.listen()
    rig.measure(10.0, sensor_m())
    for second in (10.0, 12.0):
        rig.show(second)
    assert rig.robot.until(lambda: len(filled) == len(masks) == len(rig.maps) == 2)
    assert set(pixels(masks[1]).ravel()) <= {FITTED, NO_DEPTH}
    assert_array_equal(pixels(filled[1]), pixels(rig.maps[1]))
    assert 'filled depth without measured pixels: the nearest message' in capfd.readouterr().err


def test_a_sensor_that_contradicts_a_frozen_fit_ends_the_filled_depth(
        make_rig: Callable[..., Rig], capfd: pytest.CaptureFixture[str]) -> None:
    """Either of the two is wrong, and the node cannot know which."""
    rig = make_rig()
    filled, _, _ = rig.listen()
    rig.measure(10.0, sensor_m())
    rig.show(10.0)
    assert rig.robot.until(lambda: filled)
    client = rig.robot.node.create_client(SetBool, '/depth_anything/freeze_alignment')
    assert rig.robot.until(client.service_is_ready)
    frozen = client.call_async(SetBool.Request(data=True))
    assert rig.robot.until(frozen.done) and frozen.result().success
    rig.measure(11.0, 2 * sensor_m())
    rig.show(11.0)
    rig.measure(12.0, sensor_m())
    rig.show(12.0)
    assert rig.robot.until(lambda: len(filled) == 2)
    assert filled[-1].header.stamp.sec == 12
    assert 'no filled depth: ' in capfd.readouterr().err


@pytest.mark.usefixtures('capfd')
def test_a_sensor_of_another_shape_does_not_fill(make_rig: Callable[..., Rig]) -> None:
    """Also while the fit from before is still valid."""
    rig = make_rig()
    filled, _, _ = rig.listen()
    rig.measure(10.0, sensor_m())
    rig.show(10.0)
    rig.measure(10.5, np.ascontiguousarray(sensor_m()[15:105]))
    rig.show(10.5)
    assert rig.robot.until(
        lambda: on_stderr('no filled depth: the reference depth is 160x90'))
    rig.measure(11.0, sensor_m())
    rig.show(11.0)
    assert rig.robot.until(lambda: len(filled) == 2)
    assert [message.header.stamp.sec for message in filled] == [10, 11]


def test_a_blind_sensor_leaves_the_fitted_depth(make_rig: Callable[..., Rig]) -> None:
    """Too few pixels are left to compare them with anything."""
    rig = make_rig()
    filled, _, masks = rig.listen()
    rig.measure(10.0, sensor_m())
    rig.show(10.0)
    blind = np.full(HW, np.nan, np.float32)
    blind[:2, :5] = 3.0
    rig.measure(11.0, blind)
    rig.show(11.0)
    assert rig.robot.until(lambda: len(filled) == len(masks) == 2)
    assert set(pixels(masks[1]).ravel()) <= {FITTED, NO_DEPTH}


def test_the_parameters_widen_the_tolerance_turn_off_the_blend_and_limit_the_range(
        make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(**{'alignment.filled_seam': 0.0})
    filled, _, masks = rig.listen()

    def shown(second: float) -> tuple[np.ndarray, np.ndarray]:
        rig.measure(second, sensor_m())
        rig.show(second)
        assert rig.robot.until(lambda: len(filled) == len(masks) == len(rig.maps) and filled
                               and filled[-1].header.stamp.sec == int(second))
        return pixels(filled[-1]), pixels(masks[-1])

    depth_m, mask = shown(10.0)
    assert_array_equal(depth_m[HOLE], pixels(rig.maps[-1])[HOLE])
    assert rig.robot.set_parameters(**{'alignment.filled_seam': 0.2})[0].successful
    depth_m, mask = shown(11.0)
    assert (depth_m[HOLE] != pixels(rig.maps[-1])[HOLE]).any()
    assert (mask[GLASS] == FITTED).all()
    rig.robot.set_parameters(**{'alignment.filled_tolerance': 0.9})
    depth_m, mask = shown(12.0)
    assert (mask[GLASS] == MEASURED).all()
    rig.robot.set_parameters(depth_max=1.0)
    depth_m, mask = shown(13.0)
    assert np.nanmax(depth_m) <= 1.0
    assert_array_equal(np.isnan(depth_m), mask == NO_DEPTH)


def test_a_smaller_sensor_in_millimetres_fills_a_smaller_output(
        make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(output_size='divisor', output_divisor=2, depth_encoding='16UC1')
    filled, infos, masks = rig.listen()
    rig.measure(10.0, np.nan_to_num(sensor_m()[::2, ::2] * 1000).astype('<u2'), '16UC1')
    rig.show(10.0)
    assert rig.robot.until(lambda: filled and infos and masks)
    millimetres, mask = pixels(filled[0]), pixels(masks[0])
    assert millimetres.shape == mask.shape == (infos[0].height, infos[0].width) == (60, 80)
    measured = mask == MEASURED
    assert measured.mean() > 0.8
    sensor_mm = np.nan_to_num(sensor_m()[::2, ::2] * 1000).astype(int)
    assert np.abs(millimetres[measured].astype(int) - sensor_mm[measured]).max() <= 1


def test_an_edge_filter_leaves_holes_in_the_fitted_depth_only(
        make_rig: Callable[..., Rig]) -> None:
    """A strict one removes all of the slope, where nothing is measured."""
    rig = make_rig(edge_filter=1e-4)
    filled, _, masks = rig.listen()
    rig.measure(10.0, sensor_m())
    rig.show(10.0)
    assert rig.robot.until(lambda: filled and masks)
    depth_m, mask = pixels(filled[0]), pixels(masks[0])
    assert (mask == MEASURED).mean() > 0.8
    assert (mask[HOLE] == NO_DEPTH).any() and np.isnan(depth_m[mask == NO_DEPTH]).all()
