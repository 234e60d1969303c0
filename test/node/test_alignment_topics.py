"""Metres from a reference, over real topics: from the first message to a sensor that drops out."""

from collections.abc import Callable
import re
import threading
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import numpy as np
from numpy.testing import assert_allclose
import pytest
from robot import camera_info, image_message, Robot
from sensor_msgs.msg import Image, PointCloud2, PointField, Range
from tiny import weighted_sum

HW = (120, 160)
# 1/z = SCALE * d + SHIFT: 0.4 to 5 m over the picture.
SCALE, SHIFT = 0.4, 0.05
DEPTH, ALIGNMENT = '/depth_anything/depth/image', '/depth_anything/alignment'
NO_WAIT = {'alignment.time_constant': 0.0}


def slope() -> np.ndarray:
    """Return a picture whose inverse depth rises smoothly from 0 to 6."""
    rows, columns = np.mgrid[0:HW[0], 0:HW[1]].astype(np.float32)
    value = (rows / HW[0] + columns / HW[1]) / 2 * 250
    return np.repeat(value[..., None].astype(np.uint8), 3, axis=-1)


def true_depth_m(scale: float = SCALE, shift: float = SHIFT) -> np.ndarray:
    """Return the metres that belong to the slope."""
    return (1 / (scale * weighted_sum(slope()) + shift)).astype(np.float32)


def depth_reference(stamp_ns: int, encoding: str = '32FC1', **scale: float) -> Image:
    """Return a sparse reference depth image: every eighth pixel, a few of them wrong."""
    depth_m = true_depth_m(**scale)
    sparse = np.full(HW, np.nan, np.float32)
    sparse[::8, ::8] = depth_m[::8, ::8]
    sparse[::40, ::40] = 9.0
    if encoding == '16UC1':
        return image_message(np.nan_to_num(sparse * 1000).astype('<u2'), encoding,
                             stamp_ns=stamp_ns)
    return image_message(sparse, encoding, stamp_ns=stamp_ns)


def cloud_reference(stamp_ns: int) -> PointCloud2:
    """Return the true points in a frame 0.2 m right of the camera that is turned back."""
    depth_m = true_depth_m()[::8, ::8].astype(np.float64)
    rows, columns = np.mgrid[0:HW[0]:8, 0:HW[1]:8]
    points = np.stack([(columns - 79.5) / 100 * depth_m, (rows - 59.5) / 100 * depth_m, depth_m],
                      axis=-1).reshape(-1, 3)
    turned = (points - [0.2, 0.0, 0.0]) * [-1.0, 1.0, -1.0]  # half a turn about y
    message = PointCloud2(
        height=1, width=len(turned), point_step=12, row_step=12 * len(turned),
        fields=[PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
                for index, name in enumerate('xyz')],
        data=turned.astype(np.float32).tobytes())
    message.header.frame_id = 'lidar'
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10 ** 9)
    return message


def metres(message: Image) -> np.ndarray:
    """Return the depth of a 32FC1 image."""
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width)


def values(message: DiagnosticArray) -> dict[str, str]:
    """Return the values of the only status."""
    return {entry.key: entry.value for entry in message.status[0].values}


class Rig:
    """A robot with a reference sensor: shows the slope at a time, with a reference or without."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        robot.bring_up()
        self.depths = robot.listen(Image, DEPTH)
        self.states = robot.listen(DiagnosticArray, ALIGNMENT)
        self.maps = (robot.listen(Image, '/depth_anything/inverse_depth/image')
                     if robot.depth._engine.info.kind == 'relative' else [])
        robot.show_camera(camera_info(HW[1], HW[0], 100.0))

    def show(self, second: float, reference: Any = None, topic: str = '') -> dict[str, str]:
        """Publish the reference, then the picture; return what the alignment then is."""
        if reference is not None:
            kept = self.robot.stream().aligner._source._messages
            before = list(kept)
            self.robot.publish(topic, reference)
            assert self.robot.until(lambda: kept and list(kept) != before)
        before = len(self.states)
        self.robot.show(slope(), stamp_ns=round(second * 1e9))
        assert self.robot.until(lambda: len(self.states) > before)
        return values(self.states[-1])


@pytest.fixture
def make_rig(make_robot: Callable[..., Robot]) -> Callable[..., Rig]:
    """Return a function that makes an active node with these alignment parameters."""
    def make(source: str, **parameters: Any) -> Rig:
        reliable = f'qos_overrides./reference/{source}.subscription.reliability'
        overrides = {reliable: 'reliable'} if source != 'ground' else {}
        return Rig(make_robot(**{'alignment.source': source, **NO_WAIT, **overrides,
                                 **parameters}))
    return make


@pytest.mark.parametrize('encoding', ['32FC1', '16UC1'])
def test_a_sparse_depth_image_with_outliers_gives_metres(
        make_rig: Callable[..., Rig], encoding: str) -> None:
    rig = make_rig('depth')
    status = rig.show(10.0, depth_reference(10_000_000_000, encoding), 'reference/depth')
    assert status['state'] == 'fitted'
    assert float(status['scale [1/m]']) == pytest.approx(SCALE, rel=0.02)
    assert float(status['shift [1/m]']) == pytest.approx(SHIFT, abs=0.01)
    assert 4 * 3 / 300 <= float(status['outliers']) < 0.1, 'twelve of 300 points are wrong'
    assert rig.robot.until(lambda: rig.depths)
    assert_allclose(metres(rig.depths[-1])[8:-8, 8:-8], true_depth_m()[8:-8, 8:-8], rtol=0.05)
    assert rig.states[-1].header == rig.depths[-1].header


def test_a_metric_model_gets_the_scale_that_it_lacks(
        make_rig: Callable[..., Rig], make_ir: Callable[..., Any]) -> None:
    """Its metres are 1.25 times too short; the shift stays 0 unless it is requested."""
    rig = make_rig('depth', model=str(make_ir(kind='metric', max_depth_m=20.0)))
    z = weighted_sum(slope())
    reference = np.where(z > 0.3, 1.25 * z, np.nan).astype(np.float32)
    message = image_message(reference, '32FC1', stamp_ns=10_000_000_000)
    status = rig.show(10.0, message, 'reference/depth')
    assert status['state'] == 'fitted', status['reason']
    assert float(status['scale [1/m]']) == pytest.approx(0.8, rel=0.01)
    assert float(status['shift [1/m]']) == 0.0
    assert rig.robot.until(lambda: rig.depths)
    answer = rig.robot.freeze_alignment(True)
    assert answer.message == 'frozen, metric_scale: 1.25, metric_offset: 0'
    known = np.isfinite(reference)
    assert_allclose(metres(rig.depths[-1])[known], reference[known], atol=0.03)


def test_nothing_metric_is_published_until_there_is_a_fit(make_rig: Callable[..., Rig]) -> None:
    """Neither depth nor a cloud for looking: a wrong metre is worse than none."""
    rig = make_rig('depth', points_stride=4)
    clouds = rig.robot.listen(PointCloud2, '/depth_anything/points')
    status = rig.show(10.0)
    assert status['state'] == 'waiting'
    assert 'reference/depth' in status['reason']
    assert rig.states[-1].status[0].level == DiagnosticStatus.WARN
    assert rig.robot.until(lambda: rig.maps)
    assert not rig.depths and not clouds
    rig.show(10.1, depth_reference(10_100_000_000), 'reference/depth')
    assert rig.robot.until(lambda: rig.depths and clouds)


def test_the_metres_of_a_metric_model_are_not_published_without_a_valid_fit(
        make_rig: Callable[..., Rig], make_ir: Callable[..., Any]) -> None:
    """Before the first fit and after the last one they have another scale, here by 1.25."""
    rig = make_rig('depth', model=str(make_ir(kind='metric', max_depth_m=20.0)),
                   **{'alignment.timeout': 1.0})
    clouds = rig.robot.listen(PointCloud2, '/depth_anything/points')
    colors = rig.robot.listen(Image, '/depth_anything/color/image')
    status = rig.show(10.0)
    assert status['state'] == 'waiting'
    assert 'reference/depth' in status['reason']
    assert rig.states[-1].status[0].level == DiagnosticStatus.WARN
    assert rig.robot.until(lambda: colors), 'colours need no metres'
    z = weighted_sum(slope())
    true_m = np.where(z > 0.3, 1.25 * z, np.nan).astype(np.float32)
    message = image_message(true_m, '32FC1', stamp_ns=11_000_000_000)
    assert rig.show(11.0, message, 'reference/depth')['state'] == 'fitted'
    assert rig.show(13.0)['state'] == 'stale'
    assert rig.robot.until(lambda: len(colors) == 3 and rig.depths and clouds)
    assert [message.header.stamp.sec for message in rig.depths + clouds] == [11, 11]


def test_a_cloud_from_another_place_gives_metres(make_rig: Callable[..., Rig]) -> None:
    """The fixed pose takes its points into the optical frame."""
    rig = make_rig('points', **{
        'alignment.reference_frame': 'fixed',
        'alignment.reference_pose': [0.2, 0.0, 0.0, 0.0, np.pi, 0.0]})
    status = rig.show(10.0, cloud_reference(10_000_000_000), 'reference/points')
    assert status['state'] == 'fitted', status['reason']
    assert float(status['scale [1/m]']) == pytest.approx(SCALE, rel=0.03)
    assert float(status['shift [1/m]']) == pytest.approx(SHIFT, abs=0.02)


def test_a_range_sensor_gives_the_scale(make_rig: Callable[..., Rig]) -> None:
    """It looks along x of its own frame, here along the optical axis; shift stays 0."""
    rig = make_rig('range', **{
        'alignment.reference_frame': 'fixed',
        'alignment.reference_pose': [0.0, 0.0, 0.0, np.pi / 2, -np.pi / 2, 0.0]})
    centre = weighted_sum(slope())[60, 80]
    message = Range(field_of_view=0.02, min_range=0.1, max_range=5.0,
                    range=float(1 / (SCALE * centre)))
    message.header.frame_id = 'sonar'
    message.header.stamp.sec = 10
    status = rig.show(10.0, message, 'reference/range')
    assert status['state'] == 'fitted', status['reason']
    assert float(status['scale [1/m]']) == pytest.approx(SCALE, rel=0.03)
    assert float(status['shift [1/m]']) == 0.0
    far = Range(field_of_view=0.02, min_range=0.1, max_range=5.0, range=float('inf'))
    far.header.stamp.sec = 11
    assert 'inf' in rig.show(11.0, far, 'reference/range')['reason']


def test_the_floor_gives_metres_from_height_and_pitch_of_the_camera(
        make_robot: Callable[..., Robot]) -> None:
    """The picture is a floor below the horizon and something far above it."""
    height_m, pitch = 1.2, 0.3
    rig = Rig(make_robot(**{'alignment.source': 'ground', 'camera_height': height_m,
                            'camera_pitch': pitch, **NO_WAIT}))
    y = (np.arange(HW[0]) - 59.5) / 100
    inverse_z = np.clip((y * np.cos(pitch) + np.sin(pitch)) / height_m, 0, None)
    picture = np.zeros((*HW, 3), np.uint8)
    picture[..., 2] = np.round(inverse_z / 0.8 * 255)[:, None]  # d = R / 255
    before = len(rig.states)
    rig.robot.show(picture)
    assert rig.robot.until(lambda: len(rig.states) > before)
    status = values(rig.states[-1])
    assert status['state'] == 'fitted', status['reason']
    assert rig.robot.until(lambda: rig.depths)
    floor = inverse_z > 0.25
    assert_allclose(metres(rig.depths[-1])[floor, 80], 1 / inverse_z[floor], rtol=0.1)


def test_a_reference_that_drops_out_ends_the_metres_and_its_return_brings_them_back(
        make_rig: Callable[..., Rig]) -> None:
    rig = make_rig('depth', **{'alignment.timeout': 2.0})
    rig.show(10.0, depth_reference(10_000_000_000), 'reference/depth')
    assert rig.show(11.5)['state'] == 'fitted'
    status = rig.show(12.5)
    assert status['state'] == 'stale'
    assert 'max_time_difference' in status['reason']
    assert rig.robot.until(lambda: len(rig.maps) == 3 and len(rig.depths) == 2)
    rig.show(13.0, depth_reference(13_000_000_000), 'reference/depth')
    assert rig.robot.until(lambda: len(rig.depths) == 3)


def test_a_reference_of_another_time_is_not_used(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig('depth')
    status = rig.show(10.0, depth_reference(10_500_000_000), 'reference/depth')
    assert status['state'] == 'waiting'
    assert '+0.500 s' in status['reason']


def test_a_depth_image_of_another_shape_gives_no_metres_and_says_what_to_do(
        make_rig: Callable[..., Rig]) -> None:
    """A sensor of 16:9 sees another part of the scene than the camera of 4:3, and still fits."""
    rig = make_rig('depth')
    cut = image_message(np.ascontiguousarray(true_depth_m()[15:105]), '32FC1', stamp_ns=10 ** 10)
    status = rig.show(10.0, cut, 'reference/depth')
    assert status['state'] == 'waiting'
    assert 'depth is 160x90, but the image is 160x120' in status['reason']
    assert 'register' in status['reason']
    small = image_message(np.ascontiguousarray(true_depth_m()[1::2, 1::2]), '32FC1',
                          stamp_ns=11 * 10 ** 9)
    assert rig.show(11.0, small, 'reference/depth')['state'] == 'fitted'


def test_a_bag_that_starts_over_goes_on_with_its_alignment(make_rig: Callable[..., Rig]) -> None:
    """Stamps jump back by more than a second: references of the first round are forgotten."""
    rig = make_rig('depth')
    for start in (100.0, 10.0):
        for step in range(3):
            stamp = start + 0.1 * step
            status = rig.show(stamp, depth_reference(round(stamp * 1e9)), 'reference/depth')
            assert (status['state'], status['reason']) == ('fitted', '')


def test_a_frozen_alignment_stays_whatever_the_reference_says(
        make_rig: Callable[..., Rig]) -> None:
    """One constant scale for SLAM, also through deactivate and activate."""
    rig = make_rig('depth', **{'alignment.timeout': 1.0})
    early = rig.robot.freeze_alignment(True)
    assert not early.success
    rig.show(10.0, depth_reference(10_000_000_000), 'reference/depth')
    answer = rig.robot.freeze_alignment(True)
    assert answer.success
    frozen = re.fullmatch(r'frozen, relative_scale: (.*), relative_shift: (.*)', answer.message)
    assert [float(value) for value in frozen.groups()] == pytest.approx([SCALE, SHIFT], abs=0.01)
    frozen = rig.show(50.0, depth_reference(50_000_000_000, scale=2 * SCALE), 'reference/depth')
    assert frozen['state'] == 'frozen'
    assert float(frozen['scale [1/m]']) == pytest.approx(SCALE, rel=0.02)
    assert rig.robot.depth.trigger_deactivate().name == 'SUCCESS'
    assert rig.robot.depth.trigger_activate().name == 'SUCCESS'
    assert rig.show(60.0)['state'] == 'frozen'
    assert rig.robot.freeze_alignment(False).success
    thawed = rig.show(70.0, depth_reference(70_000_000_000, scale=2 * SCALE), 'reference/depth')
    assert float(thawed['scale [1/m]']) > 0


def test_releasing_before_the_first_fit_says_that_there_is_none(
        make_rig: Callable[..., Rig]) -> None:
    rig = make_rig('depth')
    answer = rig.robot.freeze_alignment(False)
    assert (answer.success, answer.message) == (True, 'waiting, no fit to a reference yet')


def test_frames_in_flight_at_deactivate_are_fitted_to_their_reference(
        make_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str]) -> None:
    """Not before they are published does the node unsubscribe from the reference."""
    rig = make_rig('depth')
    filled = rig.robot.listen(Image, '/depth_anything/depth_filled/image')
    rig.show(10.0, depth_reference(10_000_000_000), 'reference/depth')
    scheduler, released = rig.robot.depth._scheduler, threading.Event()
    deliver, drain = scheduler._on_result, scheduler.drain

    def wait(result: Any) -> None:
        assert released.wait(60)
        deliver(result)

    def release(timeout_s: float) -> bool:
        released.set()
        return drain(timeout_s)

    monkeypatch.setattr(scheduler, '_on_result', wait)
    monkeypatch.setattr(scheduler, 'drain', release)
    before = len(rig.states)
    rig.robot.show(slope(), stamp_ns=10_010_000_000)
    assert rig.robot.until(lambda: scheduler.stats().offered == 2)
    assert rig.robot.depth.trigger_deactivate().name == 'SUCCESS'
    assert rig.robot.until(lambda: len(rig.states) > before and len(filled) == 2)
    found = values(rig.states[-1])
    assert (found['state'], found['reason']) == ('fitted', '')
    assert 'no filled depth' not in capfd.readouterr().err


def test_freezing_without_a_source_or_a_model_says_why(make_robot: Callable[..., Robot]) -> None:
    robot = make_robot()
    answer = robot.freeze_alignment(True)
    assert (answer.success, answer.message) == (False, 'the node is not configured')
    robot.bring_up()
    answer = robot.freeze_alignment(True)
    assert not answer.success
    assert 'alignment.source' in answer.message


def test_an_unreadable_reference_is_reported_and_the_depth_still_comes(
        make_rig: Callable[..., Rig]) -> None:
    rig = make_rig('depth')
    wrong = image_message(np.zeros((*HW, 3), np.uint8), stamp_ns=10_000_000_000)
    assert 'bgr8' in rig.show(10.0, wrong, 'reference/depth')['reason']
    rig.show(10.1, depth_reference(10_100_000_000), 'reference/depth')
    assert rig.robot.until(lambda: rig.depths)


def test_the_diagnostics_carry_state_residual_and_support(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig('depth')
    messages = rig.robot.listen(DiagnosticArray, '/diagnostics')
    rig.show(10.0)
    assert rig.robot.until(lambda: messages and 'no metric depth' in
                           messages[-1].status[0].message)
    rig.show(10.1, depth_reference(10_100_000_000), 'reference/depth')
    messages.clear()
    assert rig.robot.until(lambda: messages)
    found = values(messages[-1])
    assert messages[-1].status[0].level == DiagnosticStatus.OK
    assert found['alignment state'] == 'fitted'
    assert int(found['alignment support']) > 200
    assert float(found['alignment residual']) < 0.05


def test_points_without_tf2_fail_activate_with_the_way_out(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    try:
        import tf2_ros  # noqa: F401
    except ImportError:
        robot = make_robot(**{'alignment.source': 'points'})
        assert robot.depth.trigger_configure().name == 'SUCCESS'
        assert robot.depth.trigger_activate().name == 'FAILURE'
        assert 'alignment.reference_pose' in capfd.readouterr().err
        assert robot.set_parameters(**{'alignment.reference_frame': 'fixed'})[0].successful
        assert robot.depth.trigger_activate().name == 'SUCCESS'
    else:
        pytest.skip('tf2_ros is installed')
