"""From camera_info to the camera of an image, and back for the outputs."""

from depth_anything_ros.errors import CameraInfoError
from depth_anything_ros.node.camera_info import camera_info_on_grid, camera_view, SerializedInfos
from depth_anything_ros.vision.camera_info import intrinsics, is_raw
from depth_anything_ros.vision.geometry import Distortion, pixel_rays
from depth_anything_ros.vision.transforms import output_grid, OutputGrid
import numpy as np
from numpy.testing import assert_allclose
import pytest
from rclpy.serialization import serialize_message
from robot import camera_info
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header


def test_the_projection_matrix_is_used_where_it_is_filled_in() -> None:
    """As depth_image_proc and RViz do."""
    info = camera_info(160, 120)
    info.p[0], info.p[2] = 200.0, 70.0
    camera = intrinsics(info, (120, 160), raw=False)
    assert (camera.fx, camera.cx, camera.fy, camera.cy) == (200.0, 70.0, 100.0, 59.5)


def test_the_camera_matrix_is_used_without_a_projection_matrix() -> None:
    """Drivers of uncalibrated stereo leave P empty."""
    info = camera_info(160, 120)
    info.p = [0.0] * 12
    assert intrinsics(info, (120, 160), raw=False).fx == 100.0


BINNINGS = pytest.mark.parametrize('binning_xy', [(2, 2), (2, 1), (2, 4)])


def binned_window(binning_xy: tuple[int, int]) -> CameraInfo:
    """Return the camera_info of a 100x80 window at (20, 10) of a sensor, binned."""
    info = camera_info(160, 120)
    info.k[4] = info.p[5] = 80.0
    info.binning_x, info.binning_y = binning_xy
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 20, 10, 100, 80
    return info


@BINNINGS
@pytest.mark.parametrize('raw', [True, False])
def test_binning_and_region_of_interest_are_applied(
        binning_xy: tuple[int, int], raw: bool) -> None:
    x, y = binning_xy
    camera = intrinsics(binned_window(binning_xy), (80 // y, 100 // x), raw)
    assert (camera.fx, camera.fy) == (100.0 / x, 80.0 / y)
    assert (camera.cx, camera.cy) == ((79.5 - 20) / x, (59.5 - 10) / y)


@pytest.mark.parametrize('info, fact', [
    (CameraInfo(), '0x0'), (CameraInfo(width=160, height=120), 'not calibrated'),
    (camera_info(160, 120, focal=float('nan')), 'not calibrated'),
    (camera_info(640, 480), '640x480')])
def test_an_unusable_camera_info_raises_with_the_reason(info: CameraInfo, fact: str) -> None:
    """Empty, uncalibrated, not a number, of another size."""
    with pytest.raises(CameraInfoError, match=fact):
        intrinsics(info, (120, 160), raw=False)


def test_the_original_message_keeps_its_header() -> None:
    """The cached camera_info is shared by all frames."""
    info, header = camera_info(160, 120), Header(frame_id='image_frame')
    assert camera_info_on_grid(header, info, (120, 160), OutputGrid((120, 160))).header == header
    assert info.header.frame_id == 'camera_optical'


def test_serialized_camera_info_follows_every_change() -> None:
    """Although it is kept from image to image."""
    infos, first, second = SerializedInfos(), camera_info(160, 120), camera_info(160, 120, 90.0)
    whole = OutputGrid((120, 160))
    half = output_grid('divisor', 2, (120, 160), (112, 154))
    for number, (info, frame_id, grid) in enumerate([
            (first, 'left', whole), (first, 'left', whole), (second, 'left', whole),
            (second, 'left', half), (second, 'right', half), (first, 'left', whole)]):
        header = Header(frame_id=frame_id)
        header.stamp.sec, header.stamp.nanosec = -number, number
        expected = serialize_message(camera_info_on_grid(header, info, (120, 160), grid))
        assert infos.get(header, info, (120, 160), grid) == expected


@pytest.mark.parametrize('size, network_hw', [('divisor', (112, 154)), ('native', (112, 154))])
def test_a_scaled_camera_sees_a_point_where_the_scaled_map_has_it(
        size: str, network_hw: tuple[int, int]) -> None:
    """K and P project a point to the pixel that the mapping of the grid gives."""
    info = camera_info(160, 120)
    info.p[2], info.p[3] = 70.0, -12.0
    grid = output_grid(size, 2, (120, 160), network_hw)
    scaled = camera_info_on_grid(Header(), info, (120, 160), grid)
    assert (scaled.height, scaled.width) == grid.size_hw
    point = np.array([0.3, -0.2, 2.0, 1.0])
    for matrix, of in ((scaled.p, info.p), (np.insert(scaled.k, [3, 6, 9], 0.0),
                                            np.insert(info.k, [3, 6, 9], 0.0))):
        u, v, w = np.reshape(of, (3, 4)) @ point
        su, sv, sw = np.reshape(matrix, (3, 4)) @ point
        expected = np.array([u / w, v / w]) * grid.scale_xy + grid.offset_xy
        assert_allclose([su / sw, sv / sw], expected, atol=1e-9)


@BINNINGS
def test_a_scaled_camera_folds_binning_and_region_of_interest_in(
        binning_xy: tuple[int, int]) -> None:
    """The scaled camera_info alone describes the scaled map."""
    info = binned_window(binning_xy)
    image_hw = 80 // binning_xy[1], 100 // binning_xy[0]
    grid = output_grid('divisor', 2, image_hw, (112, 154))
    scaled = camera_info_on_grid(Header(), info, image_hw, grid)
    direct = intrinsics(info, image_hw, raw=False).on_grid(grid)
    assert intrinsics(scaled, grid.size_hw, raw=False) == direct


@pytest.mark.parametrize('size', ['input', 'divisor'])
def test_an_empty_projection_matrix_is_published_as_the_node_uses_it(size: str) -> None:
    """depth_image_proc and the laser scan find no point with P of zeros."""
    info = camera_info(160, 120)
    info.p, info.r = [0.0] * 12, [0.0] * 9
    grid = output_grid(size, 2, (120, 160), (112, 154))
    published = camera_info_on_grid(Header(), info, (120, 160), grid)
    camera = intrinsics(info, (120, 160), raw=False).on_grid(grid)
    assert_allclose(published.p, [camera.fx, 0, camera.cx, 0, 0, camera.fy, camera.cy, 0,
                                  0, 0, 1, 0])
    assert_allclose(published.r, np.eye(3).ravel())
    assert not info.p.any()


@pytest.mark.parametrize('size', ['input', 'divisor', 'native'])
def test_a_camera_that_is_not_calibrated_stays_so(size: str) -> None:
    """sensor_msgs/CameraInfo: D, K, R and P are zeros."""
    info = CameraInfo(width=160, height=120)
    grid = output_grid(size, 2, (120, 160), (112, 154))
    published = camera_info_on_grid(Header(), info, (120, 160), grid)
    assert (published.height, published.width) == grid.size_hw
    assert not any(np.any(values) for values in (
        published.d, published.k, published.r, published.p))


@pytest.mark.parametrize('model, d, expected_model, expected_d', [
    ('', [], 'plumb_bob', [0.0] * 5), ('plumb_bob', [], 'plumb_bob', [0.0] * 5),
    ('', [-0.3, 0.1, 0.0, 0.0, 0.0], 'plumb_bob', [-0.3, 0.1, 0.0, 0.0, 0.0]),
    ('plumb_bob', [-0.3, 0.1, 0.0, 0.0, 0.0, 0.0], 'plumb_bob', [-0.3, 0.1, 0.0, 0.0, 0.0]),
    ('plumb_bob', [0.1] * 8, 'plumb_bob', [0.1] * 8),
    ('fisheye', [0.1, 0.0, 0.0, 0.0, 0.0], 'equidistant', [0.1, 0.0, 0.0, 0.0]),
    ('fov', [0.9], 'fov', [0.9])])
def test_the_distortion_is_published_as_other_nodes_read_it(
        model: str, d: list[float], expected_model: str, expected_d: list[float]) -> None:
    """image_geometry refuses an empty model, and OpenCV other numbers of coefficients."""
    info = camera_info(160, 120)
    info.distortion_model, info.d = model, d
    published = camera_info_on_grid(Header(), info, (120, 160), OutputGrid((120, 160)))
    assert (published.distortion_model, list(published.d)) == (expected_model, expected_d)


def test_a_raw_image_is_seen_through_k_and_the_distortion() -> None:
    """A rectified one through P, although camera_info holds D in both cases."""
    info = camera_info(160, 120)
    info.d, info.p[0] = [-0.3, 0.1, 0.0, 0.0, 0.0], 90.0
    raw, rectified = (intrinsics(info, (120, 160), raw=raw) for raw in (True, False))
    assert (raw.fx, rectified.fx) == (100.0, 90.0)
    assert raw.distortion == Distortion('plumb_bob', (-0.3, 0.1, 0.0, 0.0, 0.0))
    assert rectified.distortion is None


@pytest.mark.parametrize('geometry, topic, bent, expected', [
    ('auto', '/camera/image_raw', True, True), ('auto', '/camera/image_raw', False, False),
    ('auto', '/camera/image_rect_color', True, False), ('auto', '/image', True, True),
    ('raw', '/camera/image_rect', True, True), ('rectified', '/camera/image_raw', True, False)])
def test_raw_is_what_the_parameter_says_or_what_d_and_the_topic_tell(
        geometry: str, topic: str, bent: bool, expected: bool) -> None:
    """image_proc keeps D in the camera_info of rectified images."""
    info = camera_info(160, 120)
    info.d = [-0.3 * bent, 0.0, 0.0, 0.0, 0.0]
    assert is_raw(info, geometry, topic) is expected


@pytest.mark.parametrize('topic', [
    '/camera/image_rect', '/camera/image_rect/compressed', '/camera/image_rect_color/compressed',
    '/zed/left/color/rect/image', '/zed/left/color/rect/image/compressed', '/rect/image',
    '/camera/infra1/image_rect_raw', '/camera/rectified_image', '/raw/image_rectified',
    '/camera/imageRect', '/camera/image_undistorted', '/camera/rect0/image'])
def test_a_topic_with_a_word_for_rectified_is_rectified(topic: str) -> None:
    """Whatever the transport, wherever the word stands."""
    info = camera_info(160, 120)
    info.d = [-0.3, 0.0, 0.0, 0.0, 0.0]
    assert not is_raw(info, 'auto', topic)


@pytest.mark.parametrize('topic', [
    '/camera/image_raw/compressed', '/camera/image_corrected', '/camera/image_unrectified',
    '/camera/image_corrected/compressed', '/zed/left/color/raw/image', '/rect/image_raw',
    '/camera/rectangle/image', '/camera/direct/image', '/camera/image_not_rectified',
    '/camera/image_unrect', '/camera/correct_image', '/camera/image_distorted'])
def test_a_topic_without_such_a_word_or_with_its_opposite_is_raw(topic: str) -> None:
    """The letters r, e, c, t in another word say nothing."""
    info = camera_info(160, 120)
    info.d = [-0.3, 0.0, 0.0, 0.0, 0.0]
    assert is_raw(info, 'auto', topic)


@pytest.mark.parametrize('model, d', [
    ('plumb_bob', [0.08, -0.11, 1e-4, -3e-4, 0.045, 0.01, -0.02, 0.03]),
    ('rational_polynomial', [-0.2, 0.05, 1e-3, -5e-4, 0.01]),
    ('rational_polynomial', [0.1] * 12), ('rational_polynomial', [0.1] * 14),
    ('plumb_bob', [-0.2, 0.05, 0.0, 0.0, 0.0, 0.0]), ('', [-0.2, 0.05, 0.0, 0.0, 0.0]),
    ('equidistant', [-0.01, 0.03, -0.02, 0.004, 0.0]), ('fisheye', [-0.01, 0.03, -0.02, 0.004])])
def test_a_camera_info_that_drivers_publish_has_a_camera(model: str, d: list[float]) -> None:
    """Whatever image_geometry takes, and other names and lengths for the same lens."""
    info = camera_info(160, 120)
    info.distortion_model, info.d = model, d
    view = camera_view(info, (120, 160), 'auto', '/camera/image_raw')
    assert view.problem == ''
    assert view.camera is not None and view.camera.distortion is not None


@pytest.mark.parametrize('d', [[0.0] * 4, [0.0] * 5, []])
@pytest.mark.parametrize('model', ['equidistant', 'fisheye'])
def test_a_fisheye_without_coefficients_is_no_pinhole(model: str, d: list[float]) -> None:
    """Its rays have equal angles at equal distances."""
    info = camera_info(160, 120)
    info.distortion_model, info.d = model, d
    camera = camera_view(info, (120, 160), 'auto', '/camera/image_raw').camera
    assert camera is not None
    assert_allclose(pixel_rays(camera, 1).x_over_z[60, -1], np.tan(0.795), rtol=1e-4)
    rectified = camera_view(info, (120, 160), 'auto', '/camera/image_rect').camera
    assert rectified is not None and rectified.distortion is None


def test_an_unknown_distortion_model_of_a_raw_image_raises() -> None:
    """Its rays cannot be computed."""
    info = camera_info(160, 120)
    info.d, info.distortion_model = [0.1], 'omnidirectional'
    with pytest.raises(CameraInfoError, match='omnidirectional'):
        intrinsics(info, (120, 160), raw=True)


@pytest.mark.parametrize(('model', 'd'), [
    ('plumb_bob', [-1e6, 0.0, 0.0, 0.0, 0.0]), ('plumb_bob', [0.0, 0.0, 1e6, 1e6, 0.0]),
    ('equidistant', [-1e9, 0.0, 0.0, 0.0])])
def test_a_distortion_that_cannot_be_inverted_is_a_problem_of_the_camera(
        model: str, d: list[float]) -> None:
    """Its cloud would have no point, and nothing would say why."""
    info = camera_info(160, 120)
    info.distortion_model, info.d = model, d
    view = camera_view(info, (120, 160), 'raw', 'image')
    assert view.camera is None and view.info is info
    assert model in view.problem and f'{max(d, key=abs):g}' in view.problem
    assert 'calibrate it again' in view.problem
    assert camera_view(info, (120, 160), 'rectified', 'image').camera is not None
