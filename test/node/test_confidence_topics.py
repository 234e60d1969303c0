"""Confidence over topics: lazily computed, from every n-th mirrored image, and as a filter."""

from collections.abc import Callable
from functools import partial
from typing import Any

from depth_anything_ros.errors import InferenceError
from depth_anything_ros.inference.scheduler import Frame, FrameStats, Result
from depth_anything_ros.node import second_look
from depth_anything_ros.node.second_look import FirstLook, SECOND_LOOK, SecondLooks
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.confidence import confidence, disagreement
from depth_anything_ros.vision.depth import inverse_from_metric
from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest
from robot import camera_info, image_message, Robot
from sensor_msgs.msg import Image, PointCloud2
from tiny import weighted_sum

HW = (120, 160)
DEPTH, CONFIDENCE, POINTS, INVERSE, ALIGNMENT = (f'/depth_anything/{topic}' for topic in (
    'depth/image', 'confidence/image', 'points', 'inverse_depth/image', 'alignment'))


def picture() -> np.ndarray:
    """Return a near left half and a far right half; sky has inverse depth 0."""
    image = np.full((*HW, 3), (0, 0, 250), np.uint8)
    image[:, 80:] = (0, 0, 25)
    return image


def pixels(message: Image) -> np.ndarray:
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width)


def second_looks(robot: Robot, camera: str = '') -> FrameStats:
    """Return the counts of the mirrored images of a camera."""
    scheduler = robot.depth._scheduler
    assert scheduler is not None
    return scheduler.stats(f'{camera}{SECOND_LOOK}')


@pytest.fixture
def make(make_robot: Callable[..., Robot]) -> Callable[..., Robot]:
    """Return a function that makes an active node with metres, and these parameters."""
    def active(**parameters: Any) -> Robot:
        robot = make_robot(**{'relative_scale': 1.0, 'points_stride': 1, **parameters})
        robot.bring_up()
        return robot
    return active


def show(robot: Robot, received: list[Any], count: int = 1) -> None:
    """Show the picture ``count`` times and wait for an output of each."""
    for number in range(len(received) + 1, len(received) + count + 1):
        robot.show(picture())
        assert robot.until(partial(arrived, received, number))


def arrived(received: list[Any], count: int) -> bool:
    return len(received) >= count


def test_the_confidence_has_the_header_and_size_of_the_depth_and_is_low_at_edges_and_far_away(
        make: Callable[..., Robot]) -> None:
    robot = make()
    depths, found = robot.listen(Image, DEPTH), robot.listen(Image, CONFIDENCE)
    show(robot, found)
    assert robot.until(lambda: depths)
    assert found[0].header == depths[0].header and found[0].encoding == '32FC1'
    assert (found[0].height, found[0].width) == HW
    values = pixels(found[0])
    assert ((values > 0) & (values < 1)).all()
    near, edge, far = values[:, 20:50], values[:, 79:81], values[:, 110:140]
    assert near.min() > far.max() > edge.max()


def test_the_confidence_of_a_metric_model_is_that_of_its_metres(
        make: Callable[..., Robot], make_ir: Callable[..., Any]) -> None:
    robot = make(model=str(make_ir(kind='metric', max_depth_m=20.0)), confidence_every=0)
    depths, found = robot.listen(Image, DEPTH), robot.listen(Image, CONFIDENCE)
    show(robot, found)
    assert robot.until(lambda: depths)
    expected = confidence(inverse_from_metric(pixels(depths[0])), np.nan, None)
    for columns in (np.s_[20:50], np.s_[110:140]):
        assert_allclose(pixels(found[0])[:, columns], expected[:, columns], rtol=1e-4)


def test_the_confidence_uses_the_residual_and_the_scale_of_the_alignment(
        make: Callable[..., Robot], monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference is noisy, so its residual is far above the typical one."""
    scales: list[tuple[float, float]] = []
    monkeypatch.setattr(second_look, 'disagreement', lambda first, second, scale_shift: (
        scales.append(scale_shift) or disagreement(first, second, scale_shift)))
    robot = make(relative_scale=0.0, confidence_every=1, **{
        'alignment.source': 'depth', 'alignment.time_constant': 0.0,
        'qos_overrides./reference/depth.subscription.reliability': 'reliable'})
    depths, found, states = (robot.listen(kind, topic) for kind, topic in (
        (Image, DEPTH), (Image, CONFIDENCE), (DiagnosticArray, ALIGNMENT)))
    noise = np.random.default_rng(0).lognormal(0, 0.15, HW)
    reference = noise / (0.4 * weighted_sum(picture()) + 0.05)
    robot.publish('reference/depth', image_message(reference.astype(np.float32), '32FC1',
                                                   stamp_ns=5 * 10 ** 9))
    assert robot.until(lambda: robot.stream().aligner._source._messages)
    robot.show(picture(), stamp_ns=5 * 10 ** 9)
    assert robot.until(lambda: depths and found and states and scales)
    fitted = {entry.key: entry.value for entry in states[0].status[0].values}
    residual, *scale_shift = (float(fitted[name]) for name in (
        'residual', 'scale [1/m]', 'shift [1/m]'))
    assert residual > 0.08
    expected = confidence(1 / pixels(depths[0]), residual, None)
    for columns in (np.s_[20:50], np.s_[110:140]):
        assert_allclose(pixels(found[0])[:, columns], expected[:, columns], rtol=1e-4)
    assert_allclose(scales[0], scale_shift, rtol=1e-5)


def test_after_a_pause_the_confidence_has_one_look_only(make: Callable[..., Robot]) -> None:
    robot = make(confidence_every=1)
    found = robot.listen(Image, CONFIDENCE)
    show(robot, found)
    assert robot.until(lambda: second_looks(robot).delivered == 1)
    assert robot.depth.trigger_deactivate().name == 'SUCCESS'
    assert robot.depth.trigger_activate().name == 'SUCCESS'
    show(robot, found)
    assert_array_equal(pixels(found[0]), pixels(found[1]))


def test_every_nth_image_is_computed_mirrored_while_somebody_listens(
        make: Callable[..., Robot]) -> None:
    robot = make(confidence_every=3)
    depths = robot.listen(Image, DEPTH)
    show(robot, depths, 2)
    assert second_looks(robot).offered == 0
    found = robot.listen(Image, CONFIDENCE)
    show(robot, found, 7)
    assert robot.until(lambda: second_looks(robot).delivered == 3)
    assert second_looks(robot).offered == 3
    change = robot.stream()._second_looks.disagreement
    assert change is not None and change.max() < 0.05
    counted = robot.depth._scheduler
    assert counted is not None and counted.stats('').offered == 9


def test_without_second_looks_the_confidence_has_one_look_only(
        make: Callable[..., Robot]) -> None:
    robot = make(confidence_every=1)
    found = robot.listen(Image, CONFIDENCE)
    show(robot, found)
    assert robot.until(lambda: second_looks(robot).delivered == 1)
    show(robot, found)
    assert not np.array_equal(pixels(found[0]), pixels(found[1]))
    assert robot.until(lambda: second_looks(robot).delivered == 2)
    assert robot.set_parameters(confidence_every=0)[0].successful
    show(robot, found, 2)
    assert_array_equal(pixels(found[0]), pixels(found[-1]))
    assert second_looks(robot).offered == 2


def test_a_smallest_confidence_removes_depth_and_points_below_it_and_changes_no_other(
        make: Callable[..., Robot]) -> None:
    robot = make(confidence_every=0)
    robot.show_camera(camera_info(HW[1], HW[0]))
    depths, clouds, found = (robot.listen(Image, DEPTH), robot.listen(PointCloud2, POINTS),
                             robot.listen(Image, CONFIDENCE))
    show(robot, depths)
    assert robot.until(lambda: clouds and found)
    values, before = pixels(found[0]), pixels(depths[0])
    limit = float((values[:, 20:50].min() + values[:, 110:140].max()) / 2)
    assert robot.set_parameters(confidence_min=limit)[0].successful
    show(robot, depths)
    assert robot.until(lambda: len(clouds) == 2)
    expected = np.where(values < np.float32(limit), np.float32(np.nan), before)
    assert 0 < np.isnan(expected).sum() < expected.size
    assert_array_equal(pixels(depths[1]), expected)
    z = np.frombuffer(clouds[1].data, np.float32).reshape(*HW, -1)[..., 2]
    assert_array_equal(np.isnan(z), np.isnan(expected))


def test_a_smallest_confidence_alone_starts_second_looks(make: Callable[..., Robot]) -> None:
    robot = make(confidence_min=0.01, confidence_every=1)
    depths = robot.listen(Image, DEPTH)
    show(robot, depths, 2)
    assert robot.until(lambda: second_looks(robot).delivered == 2)


def test_free_space_behind_the_sky_stays(make: Callable[..., Robot]) -> None:
    robot = make(confidence_min=1.0, sky_filter='far', points_clearing=25.0)
    robot.show_camera(camera_info(HW[1], HW[0]))
    clouds = robot.listen(PointCloud2, POINTS)
    image = picture()
    image[:60] = 0
    robot.show(image)
    assert robot.until(lambda: clouds)
    z = np.frombuffer(clouds[0].data, np.float32).reshape(*HW, -1)[..., 2]
    assert (z[:55] == 25).all() and np.isnan(z[65:]).all()


def test_without_metres_there_is_no_confidence(make: Callable[..., Robot]) -> None:
    robot = make(relative_scale=0.0, confidence_min=0.5)
    found, inverses = robot.listen(Image, CONFIDENCE), robot.listen(Image, INVERSE)
    show(robot, inverses, 2)
    assert not found and second_looks(robot).offered == 0


def test_each_camera_has_its_own_second_looks(make: Callable[..., Robot]) -> None:
    robot = make(cameras=['front', 'rear'], **{
        f'qos_overrides./{name}/image.subscription.reliability': 'reliable'
        for name in ('front', 'rear')})
    found = robot.listen(Image, '/depth_anything/front/confidence/image')
    depths = robot.listen(Image, '/depth_anything/rear/depth/image')
    robot.show(picture(), 'front')
    robot.show(picture(), 'rear')
    assert robot.until(lambda: found and depths)
    assert robot.until(lambda: second_looks(robot, 'front').delivered == 1)
    assert second_looks(robot, 'rear').offered == 0
    assert robot.stream('front')._second_looks.disagreement is not None
    assert robot.stream('rear')._second_looks.disagreement is None


def test_a_second_look_that_fails_is_reported_and_the_earlier_one_is_not_used() -> None:
    offered: list[Frame] = []
    looks = SecondLooks('front', 'relative', offered.append)
    inverse_depth = np.random.default_rng(0).random((30, 40)).astype(np.float32)
    image = ColorImage(np.arange(12, dtype=np.uint8).reshape(3, 4), 'mono')
    looks.add(7, image, lambda: FirstLook(inverse_depth, (1.0, 0.5)), 1)
    frame, = offered
    assert (frame.stamp_ns, frame.source) == (7, f'front{SECOND_LOOK}')
    assert_array_equal(frame.read().pixels, image.pixels[:, ::-1])
    changed = inverse_depth.copy()
    changed[10:20, 10:20] += 1
    assert looks.finish(Result(frame, image, changed[:, ::-1])) == ''
    assert looks.disagreement is not None
    assert looks.disagreement[15, 15] > 2 * looks.disagreement[15, 35]
    assert looks.finish(Result(frame, image, InferenceError('time is up'))) == (
        'confidence without a second look: time is up')
    assert looks.disagreement is None
