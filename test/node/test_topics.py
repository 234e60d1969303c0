"""What the node publishes for what it is shown, over real DDS."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from aligned import resize_aligned
import cv2
from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest
from robot import camera_info, Robot
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from tiny import weighted_sum

HW = (120, 160)


def gradient() -> np.ndarray:
    """Return a smooth BGR picture [120, 160, 3]: red grows to the right, green downwards."""
    y, x = np.mgrid[0:HW[0], 0:HW[1]]
    return np.stack([np.full(HW, 90), 40 + y, 50 + x], axis=-1).astype(np.uint8)


def depth_of(message: Image) -> np.ndarray:
    """Return the map of a 32FC1 message, checking the fields that consumers rely on."""
    assert message.encoding == '32FC1'
    assert message.step == 4 * message.width
    assert len(message.data) == message.step * message.height
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width)


def points_of(message: PointCloud2) -> np.ndarray:
    """Return [H, W, 4] of a cloud as a consumer would read it by its fields."""
    offsets = {field.name: (field.offset, field.datatype) for field in message.fields}
    assert offsets == {'x': (0, 7), 'y': (4, 7), 'z': (8, 7), 'rgb': (12, 7)}
    assert message.row_step == message.point_step * message.width
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width, 4)


def test_relative_model_publishes_its_output_unscaled_under_the_images_header(
        make_robot: Callable[..., Robot]) -> None:
    """The map has the image's size, corners aligned, and the network's own values, not 0..1."""
    robot = make_robot()
    robot.bring_up()
    depths = robot.listen(Image, '/depth_anything/inverse_depth/image')
    shown = robot.show(gradient())
    assert robot.until(lambda: depths)
    assert depths[0].header == shown.header
    network = weighted_sum(cv2.resize(gradient(), (154, 112), interpolation=cv2.INTER_CUBIC))
    assert_allclose(depth_of(depths[0]), resize_aligned(network, HW), atol=1e-4)


def test_camera_info_comes_beside_the_depth_with_the_same_stamp(
        make_robot: Callable[..., Robot]) -> None:
    """K, P and D are the camera's, the header is the image's."""
    robot = make_robot()
    robot.bring_up()
    infos = robot.listen(CameraInfo, '/depth_anything/inverse_depth/camera_info')
    info = camera_info(160, 120)
    info.header.frame_id = 'elsewhere'
    robot.publish('camera_info', info)
    assert robot.until(lambda: robot.stream()._camera_info is not None)
    shown = robot.show(gradient())
    assert robot.until(lambda: infos)
    assert infos[0].header == shown.header
    assert_array_equal(infos[0].k, info.k)
    assert_array_equal(infos[0].p, info.p)


def test_relative_model_has_metric_depth_only_once_a_scale_is_given(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str]) -> None:
    """1/z = scale * d + shift, and NaN beyond depth_max. Who waits for metres is told why."""
    robot = make_robot()
    robot.bring_up()
    inverse = robot.listen(Image, '/depth_anything/inverse_depth/image')
    health = robot.listen(DiagnosticArray, '/diagnostics')
    robot.show(gradient())
    assert robot.until(lambda: robot.depth._scheduler.stats().delivered == 1)
    assert 'no metric depth' not in capfd.readouterr().err
    metric = robot.listen(Image, '/depth_anything/depth/image')
    robot.show(gradient())
    assert robot.until(lambda: len(inverse) == 2)
    assert metric == []
    why = ('no metric depth: the model is relative; set alignment.source, or relative_scale if '
           'it is known')
    assert robot.until(lambda: health and health[-1].status[0].message == why)
    assert why in capfd.readouterr().err
    robot.set_parameters(relative_scale=0.5, relative_shift=0.1, depth_max=0.8)
    robot.show(gradient())
    assert robot.until(lambda: metric)
    expected = 1 / (0.5 * weighted_sum(gradient()) + 0.1)
    depth = depth_of(metric[0])
    clear = np.abs(expected - 0.8) > 0.02
    assert_array_equal(np.isnan(depth)[clear], (expected > 0.8)[clear])
    assert_allclose(depth[~np.isnan(depth)], expected[~np.isnan(depth)], rtol=0.03)


def test_metric_model_publishes_metres_and_no_inverse_depth(
        make_robot: Callable[..., Robot], make_ir: Callable[..., Path]) -> None:
    """The output of a metric model goes to ~/depth alone."""
    robot = make_robot(model=str(make_ir(kind='metric', max_depth_m=20.0)))
    robot.bring_up()
    metric = robot.listen(Image, '/depth_anything/depth/image')
    robot.show(gradient())
    assert robot.until(lambda: metric)
    assert_allclose(depth_of(metric[0]), weighted_sum(gradient()), atol=0.05)
    assert robot.node.count_publishers('/depth_anything/inverse_depth/image') == 0


def test_cloud_of_a_metric_model_reprojects_onto_its_pixels(
        make_robot: Callable[..., Robot], make_ir: Callable[..., Path]) -> None:
    """Every point is on its pixel's ray at the published depth, with the pixel's colour."""
    robot = make_robot(model=str(make_ir(kind='metric', max_depth_m=20.0)), points_stride=4)
    robot.bring_up()
    clouds = robot.listen(PointCloud2, '/depth_anything/points')
    depths = robot.listen(Image, '/depth_anything/depth/image')
    robot.publish('camera_info', camera_info(160, 120, focal=100.0))
    assert robot.until(lambda: robot.stream()._camera_info is not None)
    shown = robot.show(gradient())
    assert robot.until(lambda: clouds and depths)
    points, depth = points_of(clouds[0]), depth_of(depths[0])
    assert clouds[0].header == shown.header
    assert points.shape == (30, 40, 4)
    assert_array_equal(points[..., 2], depth[::4, ::4])
    columns = points[..., 0] / points[..., 2] * 100 + 79.5
    rows = points[..., 1] / points[..., 2] * 100 + 59.5
    assert_allclose(columns, np.broadcast_to(np.arange(0, 160, 4), (30, 40)), atol=1e-3)
    assert_allclose(rows, np.broadcast_to(np.arange(0, 120, 4)[:, None], (30, 40)), atol=1e-3)
    packed = np.ascontiguousarray(points[..., 3]).view(np.uint32)
    assert_array_equal(packed >> 16 & 255, gradient()[::4, ::4, 2])
    assert_array_equal(packed & 255, gradient()[::4, ::4, 0])


def test_cloud_of_an_unscaled_model_lies_between_near_and_far(
        make_robot: Callable[..., Robot]) -> None:
    """The tracked 2nd and 98th percentile are drawn at points_far and points_near."""
    robot = make_robot(points_near=1.0, points_far=5.0, points_stride=1)
    robot.bring_up()
    clouds = robot.listen(PointCloud2, '/depth_anything/points')
    robot.publish('camera_info', camera_info(160, 120))
    assert robot.until(lambda: robot.stream()._camera_info is not None)
    robot.show(gradient())
    assert robot.until(lambda: clouds)
    z = points_of(clouds[0])[..., 2]
    near, far = np.nanpercentile(z, (2, 98))
    assert near == pytest.approx(1.0, rel=0.05)
    assert far == pytest.approx(5.0, rel=0.1)


def test_color_image_shows_far_and_near_in_the_ends_of_the_map(
        make_robot: Callable[..., Robot]) -> None:
    """Gray is the easiest map to read: dark far, bright near."""
    robot = make_robot(color_map='gray')
    robot.bring_up()
    colors = robot.listen(Image, '/depth_anything/color/image')
    robot.show(gradient())
    assert robot.until(lambda: colors)
    assert colors[0].encoding == 'bgr8'
    picture = np.frombuffer(colors[0].data, np.uint8).reshape(*HW, 3)
    expected = weighted_sum(gradient())
    assert picture[expected < np.percentile(expected, 1)].max() < 10
    assert picture[expected > np.percentile(expected, 99)].min() > 245


def test_colours_and_cloud_fit_the_first_frame_after_a_cut(
        make_robot: Callable[..., Robot]) -> None:
    """Their range would else follow over many frames."""
    robot = make_robot(color_map='gray', points_near=1.0, points_far=5.0, points_stride=1)
    robot.bring_up()
    colors = robot.listen(Image, '/depth_anything/color/image')
    clouds = robot.listen(PointCloud2, '/depth_anything/points')
    robot.show_camera(camera_info(HW[1], HW[0]))
    turned = np.ascontiguousarray(gradient()[::-1, ::-1] // 4)
    for picture in (gradient(), gradient(), turned):
        colors.clear()
        clouds.clear()
        robot.show(picture)
        assert robot.until(lambda: colors and clouds)
    picture = np.frombuffer(colors[-1].data, np.uint8).reshape(*HW, 3)
    expected = weighted_sum(turned)
    assert picture[expected < np.percentile(expected, 1)].max() < 10
    assert picture[expected > np.percentile(expected, 99)].min() > 245
    near, far = np.nanpercentile(points_of(clouds[-1])[..., 2], (2, 98))
    assert (near, far) == pytest.approx((1.0, 5.0), rel=0.1)


def test_clouds_and_colours_can_have_a_lower_rate_than_the_images(
        make_robot: Callable[..., Robot]) -> None:
    robot = make_robot(points_rate=10.0, color_rate=5.0)
    robot.bring_up()
    received = {topic: robot.listen(kind, f'/depth_anything/{topic}') for topic, kind in (
        ('inverse_depth/image', Image), ('points', PointCloud2), ('color/image', Image))}
    robot.show_camera(camera_info(HW[1], HW[0]))
    for stamp_ms in range(0, 350, 50):
        received['inverse_depth/image'].clear()
        robot.show(gradient(), stamp_ns=1_000_000 * stamp_ms)
        assert robot.until(lambda: received['inverse_depth/image'])
    assert robot.until(lambda: len(received['points']) == 4 and len(received['color/image']) == 2)
    stamps = {topic: [message.header.stamp.nanosec // 1_000_000 for message in messages]
              for topic, messages in received.items()}
    assert stamps['points'] == [0, 100, 200, 300] and stamps['color/image'] == [0, 200]
    assert robot.set_parameters(points_rate=0.0)[0].successful
    robot.show(gradient(), stamp_ns=350_000_000)
    assert robot.until(lambda: len(received['points']) == 5)


@pytest.mark.parametrize('encoding', ['rgb8', 'bgra8', 'rgba8', 'mono8'])
def test_every_raw_encoding_gives_the_depth_of_the_same_picture(
        make_robot: Callable[..., Robot], encoding: str) -> None:
    """Padded rows are honoured as well."""
    bgr = gradient()
    if encoding == 'mono8':
        bgr = np.repeat(bgr[..., 2:], 3, axis=-1)
    alpha = np.full((*HW, 1), 7, np.uint8)
    pixels = {'rgb8': bgr[..., ::-1], 'bgra8': np.concatenate([bgr, alpha], axis=-1),
              'rgba8': np.concatenate([bgr[..., ::-1], alpha], axis=-1),
              'mono8': bgr[..., 0]}[encoding]
    robot = make_robot()
    robot.bring_up()
    depths = robot.listen(Image, '/depth_anything/inverse_depth/image')
    robot.show(pixels, encoding=encoding, padding=24)
    assert robot.until(lambda: depths)
    assert_allclose(depth_of(depths[0]), weighted_sum(bgr), atol=0.05)


def test_compressed_transport_subscribes_beside_the_remapped_image(
        make_robot: Callable[..., Robot]) -> None:
    """As image_transport does, /compressed is appended to the base topic."""
    robot = make_robot(image_transport='compressed')
    robot.bring_up()
    depths = robot.listen(Image, '/depth_anything/inverse_depth/image')
    message = CompressedImage(format='png', data=cv2.imencode('.png', gradient())[1].tobytes())
    message.header.frame_id = 'camera_optical'
    robot.publish('image/compressed', message)
    assert robot.until(lambda: depths)
    assert depths[0].header == message.header
    assert_allclose(depth_of(depths[0]), weighted_sum(gradient()), atol=0.05)


def test_nothing_is_computed_while_nobody_subscribes(make_robot: Callable[..., Robot]) -> None:
    """Images are only counted; the first subscriber starts the computation."""
    robot = make_robot()
    robot.bring_up()
    robot.show(gradient())
    assert robot.until(lambda: robot.stream().without_subscriber == 1)
    assert robot.depth._scheduler.stats().offered == 0
    depths = robot.listen(Image, '/depth_anything/inverse_depth/image')
    assert robot.until(lambda: robot.stream().has_consumers)
    robot.show(gradient())
    assert robot.until(lambda: depths)


def test_outputs_are_reliable_by_default_and_overridable(
        make_robot: Callable[..., Robot]) -> None:
    """A reliable subscriber hears the default; best effort is one parameter away."""
    name = 'qos_overrides./depth_anything/points.publisher.reliability'
    robot = make_robot(**{name: 'best_effort'})
    robot.bring_up()

    def reliability(topic: str) -> str:
        infos: list[Any] = robot.node.get_publishers_info_by_topic(topic)
        return str(infos[0].qos_profile.reliability.name)

    topics = ('/depth_anything/inverse_depth/image', '/depth_anything/points')
    assert robot.until(lambda: all(robot.node.count_publishers(topic) for topic in topics))
    assert [reliability(topic) for topic in topics] == ['RELIABLE', 'BEST_EFFORT']


@pytest.mark.parametrize(('source', 'parameters'), [
    ('depth', {}), ('points', {'image_transport': 'compressed'}), ('range', {}),
    ('motion', {'motion.odometry_topic': 'odom'})])
def test_inputs_are_best_effort_so_that_drivers_with_sensor_data_qos_are_heard(
        make_robot: Callable[..., Robot], source: str, parameters: dict[str, str]) -> None:
    if source == 'motion':
        pytest.importorskip('nav_msgs.msg', reason='nav_msgs is missing')
    # The overrides of make_robot are for topics without a namespace.
    robot = make_robot(cli_args=['--ros-args', '-r', '__ns:=/front'],
                       **{'alignment.source': source, 'alignment.reference_frame': 'fixed',
                          **parameters})
    robot.bring_up()
    image = 'image/compressed' if parameters.get('image_transport') else 'image'
    metres = 'odom' if source == 'motion' else f'reference/{source}'
    found = {topic: [info.qos_profile.reliability.name for info in
                     robot.depth.get_subscriptions_info_by_topic(f'/front/{topic}')]
             for topic in (image, 'camera_info', metres)}
    assert found == dict.fromkeys((image, 'camera_info', metres), ['BEST_EFFORT'])


def test_topics_follow_namespace_and_remapping(make_robot: Callable[..., Robot]) -> None:
    """Inputs are relative to the namespace, outputs private to the node."""
    robot = make_robot(cli_args=['--ros-args', '-r', '__ns:=/front', '-r', '__node:=depth',
                                 '-r', 'image:=/usb_cam/image_raw'],
                       **{'qos_overrides./usb_cam/image_raw.subscription.reliability':
                          'reliable'})
    robot.bring_up()
    depths = robot.listen(Image, '/front/depth/inverse_depth/image')
    from robot import image_message
    robot.publish('/usb_cam/image_raw', image_message(gradient()))
    assert robot.until(lambda: depths)
