"""A real depth node on the page, over DDS and over the socket of the page."""

from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
import socket
import threading
import time
from typing import Any

import cv2
from depth_anything_ros.ros.rclpy_adapter import lifecycle_state
from depth_anything_ros.view.controls import hint, RUNTIME
from lifecycle_msgs.srv import ChangeState
import numpy as np
from page_client import PageClient
import pytest
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from robot import camera_info, Robot
from waiting import until

HW = (120, 160)
# Counts compiled shaders, and clouds that the graphics get.
COUNTERS = """
window.linked = window.clouds = 0;
const graphics = WebGL2RenderingContext.prototype;
const {linkProgram, bufferData} = graphics;
graphics.linkProgram = function (...values) {
  window.linked += 1;
  return linkProgram.apply(this, values);
};
graphics.bufferData = function (...values) {
  window.clouds += values.some((value) => value && value.byteLength > 20000);
  return bufferData.apply(this, values);
};
"""
TOPICS = ('/image', '/depth_anything/color/image', '/depth_anything/points', '/diagnostics',
          '/depth_anything/inverse_depth/camera_info', '/depth_anything/depth/camera_info')


def ramp(level: int = 0) -> np.ndarray:
    """Return an image whose depth falls from left to right."""
    x = np.linspace(0, 200, HW[1]).astype(np.uint8)
    return np.stack([np.tile(x, (HW[0], 1))] * 2 + [np.full(HW, level, np.uint8)], axis=-1)


@contextmanager
def playing(robot: Robot, *cameras: str, rate_hz: float = 20.0) -> Any:
    """Publish images on a thread, like a camera; without a subscriber they are not sent."""
    closing = threading.Event()

    def play() -> None:
        level = 0
        while not closing.wait(1 / rate_hz):
            for camera in cameras or ('',):
                topic = f'{camera}/image' if camera else 'image'
                if robot.node.count_subscribers(topic):
                    robot.show(ramp(level), camera)
            level = (level + 5) % 250

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    try:
        yield
    finally:
        closing.set()
        thread.join(10)


def decoded(shown: dict[str, Any]) -> np.ndarray:
    """Return the picture of an image element as BGR."""
    return cv2.imdecode(np.frombuffer(shown['_data'], np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture
def robot(make_robot: Callable[..., Robot]) -> Robot:
    """Return a robot with an active depth node and a calibrated camera."""
    robot = make_robot()
    robot.bring_up()
    robot.show_camera(camera_info(HW[1], HW[0], focal=80.0))
    return robot


def test_pictures_cloud_frustum_and_statuses_move_on_the_page(
        robot: Robot, make_viewer: Callable[..., Any]) -> None:
    viewer = make_viewer()
    with PageClient(viewer.page.port) as browser, playing(robot):
        pictures = [None, None]

        def found() -> bool:
            for index, title in enumerate(('Colour depth', 'Image')):
                pictures[index] = browser.find(label=title, _format='jpeg', visible=True)
            return all(pictures) and {'/camera/points', '/camera/frustum'} <= set(browser.shown)

        assert until(found)
        assert until(lambda: all(browser.count(name, '_data') > 5 for name in pictures)
                     and browser.count('/camera/points', 'points') > 5)
        depth, image = (decoded(browser.shown[name]) for name in pictures)
        assert depth.shape == image.shape == (*HW, 3)
        assert np.abs(image[..., 0].astype(int) - ramp()[..., 0]).mean() < 4
        # Large values are near, and near is red.
        assert depth[60, -5, 2] > 120 > depth[60, -5, 0] and depth[60, 5, 0] > depth[60, 5, 2]
        cloud = browser.shown['/camera/points']
        points = cloud['points'].reshape(-1, 3).astype(np.float32)
        assert len(points) == len(cloud['colors']) // 3 == HW[0] * HW[1] // 4
        assert np.abs(points[:, 0] / points[:, 2]).max() == pytest.approx(80 / 80, abs=0.03)
        frustum = browser.shown['/camera/frustum']
        assert frustum['fov'] == pytest.approx(2 * np.arctan(60 / 80))
        assert frustum['aspect'] == pytest.approx(4 / 3)
        assert until(lambda: 'OK: running' in browser.text())
        for value in ('CPU', 'latency p50 [ms]', 'depth out [Hz]', 'images in [Hz]'):
            assert value in browser.text()


def test_chromium_draws_a_moving_cloud_and_its_buttons_work(
        robot: Robot, make_viewer: Callable[..., Any], open_page: Callable[[str], Any]) -> None:
    page = open_page(f'http://127.0.0.1:{make_viewer().page.port}')
    scene = {'x': 0, 'y': 200, 'width': 800, 'height': 700}

    def seen() -> np.ndarray:
        return cv2.imdecode(np.frombuffer(page.screenshot(clip=scene), np.uint8), 1).astype(int)

    def changed(before: np.ndarray) -> bool:
        # A moving grid or label would change fewer pixels.
        return (np.abs(seen() - before).max(axis=-1) > 20).mean() > 0.05

    page.get_by_role('tab', name='Control').wait_for()
    empty = seen()
    with playing(robot):
        # Only with images: on a busy machine the node may have waited for one too long before.
        page.get_by_text('OK: running').wait_for()
        for _ in range(2):
            assert until(partial(changed, empty))
            empty = seen()
        page.get_by_role('tab', name='Control').click()
        page.get_by_role('button', name='deactivate', exact=True).click()
        page.get_by_text('deactivate: done').wait_for()
    assert lifecycle_state(robot.depth) == 'inactive'


def test_a_new_cloud_compiles_no_shader(robot: Robot, make_viewer: Callable[..., Any],
                                        open_page: Callable[[str], Any]) -> None:
    page = open_page(f'http://127.0.0.1:{make_viewer(rate_hz=10.0).page.port}')
    page.add_init_script(COUNTERS)
    page.reload()

    def clouds() -> int:
        return int(page.evaluate('window.clouds'))

    with playing(robot):
        assert until(lambda: clouds() > 2)
        linked, enough = page.evaluate('window.linked'), clouds() + 8
        assert linked and until(lambda: clouds() > enough)
        # Those of what came into the scene meanwhile.
        assert page.evaluate('window.linked') - linked < 4


def test_the_page_shows_at_most_the_given_number_of_points(
        robot: Robot, make_viewer: Callable[..., Any]) -> None:
    viewer = make_viewer(most_points=100)
    with PageClient(viewer.page.port) as browser, playing(robot):
        assert until(lambda: '/camera/points' in browser.shown)
        assert len(browser.shown['/camera/points']['points'].reshape(-1, 3)) == 100


def test_without_a_browser_nothing_is_subscribed_and_nothing_computed(
        robot: Robot, make_viewer: Callable[..., Any]) -> None:
    viewer = make_viewer()

    def subscribed() -> dict[str, int]:
        counts = {topic: robot.node.count_subscribers(topic) for topic in TOPICS}
        # The node itself reads the images.
        return {**counts, '/image': counts['/image'] - 1}

    time.sleep(0.6)
    assert set(subscribed().values()) == {0}
    with playing(robot):
        for _ in range(2):
            with PageClient(viewer.page.port) as browser:
                assert until(lambda: '/camera/points' in browser.shown)
                assert until(lambda: all(subscribed()[topic] == 1 for topic in TOPICS[:4]))
                # The camera_info of the frustum is needed once.
                assert until(lambda: not any(subscribed()[topic] for topic in TOPICS[4:]))
            assert until(lambda: set(subscribed().values()) == {0})
        idle = robot.stream().without_subscriber
        assert until(lambda: robot.stream().without_subscriber > idle + 3)


def test_a_panel_that_is_switched_off_is_not_subscribed(
        robot: Robot, make_viewer: Callable[..., Any]) -> None:
    viewer = make_viewer()
    with PageClient(viewer.page.port) as browser, playing(robot):
        assert until(lambda: '/camera/points' in browser.shown)
        browser.change('Point cloud', False)
        assert until(lambda: robot.node.count_subscribers('/depth_anything/points') == 0)
        assert robot.node.count_subscribers('/depth_anything/color/image') == 1
        assert until(lambda: browser.shown['/camera/points'].get('visible') is False)
        browser.change('Point cloud', True)
        assert until(lambda: browser.shown['/camera/points'].get('visible') is True)


def test_a_browser_that_reads_nothing_slows_neither_the_node_nor_the_other_browser(
        robot: Robot, make_viewer: Callable[..., Any]) -> None:
    viewer = make_viewer()
    with PageClient(viewer.page.port, reads=False), PageClient(viewer.page.port) as browser, \
            playing(robot):
        assert until(lambda: viewer.page.watchers == 2)

        def arrived() -> int:
            return browser.count('/camera/points', 'points')

        assert until(lambda: arrived() > 5)
        # Messages that wait for a browser; a newer one replaces an older one of its element.
        waiting = viewer.page._server._websock_server.get_message_buffer().message_from_id
        first = len(waiting)
        delivered = robot.depth._scheduler.stats('').delivered
        then = arrived()
        # The stuck connection would need 0.1 MB for each of these.
        assert until(lambda: arrived() > then + 40)
        assert robot.depth._scheduler.stats('').delivered >= delivered + 40
        assert len(waiting) <= first + 5


def test_several_cameras_have_panels_of_their_own(
        make_robot: Callable[..., Robot], make_viewer: Callable[..., Any]) -> None:
    robot = make_robot(cameras=['front', 'rear'])
    robot.bring_up()
    for camera in ('front', 'rear'):
        robot.show_camera(camera_info(HW[1], HW[0]), camera)
    viewer = make_viewer()
    with PageClient(viewer.page.port) as browser, playing(robot, 'front', 'rear'):
        for camera in ('front', 'rear'):
            assert until(partial(browser.has, f'{camera} OK: running'))
            assert browser.label(camera)
        assert until(lambda: all(browser.count(f'/{camera}/points', 'points') > 1
                                 for camera in ('front', 'rear')))
        # Clouds do not overlap.
        assert browser.shown['/front'].get('position', (0, 0, 0))[0] == 0
        assert browser.shown['/rear']['position'][0] == 6


def test_buttons_bring_the_node_up_and_down(make_robot: Callable[..., Robot],
                                            make_viewer: Callable[..., Any]) -> None:
    make_robot()
    viewer = make_viewer()
    with PageClient(viewer.page.port) as browser:
        assert until(lambda: 'OK: unconfigured' in browser.text())
        browser.click('activate')
        assert until(lambda: 'activate failed' in browser.text())
        for transition, state in (('configure', 'inactive'), ('activate', 'active'),
                                  ('deactivate', 'inactive'), ('cleanup', 'unconfigured')):
            browser.click(transition)
            assert until(partial(browser.has, f'{transition}: done'))
            assert until(partial(browser.has, f'<td>{state}</td>'))


def test_services_answer_on_the_page(robot: Robot, make_viewer: Callable[..., Any],
                                     tmp_path: Path) -> None:
    robot.set_parameters(snapshot_dir=str(tmp_path))
    viewer = make_viewer()
    with PageClient(viewer.page.port) as browser, playing(robot):
        browser.click('freeze alignment')
        assert until(lambda: 'freeze: ' in browser.text())
        browser.click('release alignment')
        assert until(lambda: 'release: ' in browser.text())
        browser.click('save snapshot')
        assert until(lambda: f'snapshot: {tmp_path}' in browser.text())
        assert list(tmp_path.glob('*/*'))


def test_parameters_are_read_changed_and_refused_with_the_reason(
        robot: Robot, make_viewer: Callable[..., Any]) -> None:
    robot.set_parameters(points_stride=4, points_max=7.5)
    viewer = make_viewer()

    def value(name: str) -> Any:
        return robot.depth.get_parameter(name).value

    with PageClient(viewer.page.port) as browser:
        assert until(lambda: browser.label('points_stride')['value'] == 4
                     and browser.label('points_max')['value'] == 7.5)
        browser.click('apply changes')
        assert until(lambda: 'no parameter was changed' in browser.text())
        browser.change('points_stride', 3)
        browser.change('color_map', 'magma')
        browser.change('points_color', False)
        browser.change('alignment.reference_pose', '1, 0, 0.5, 0, 0, 0')
        time.sleep(0.3)
        assert value('points_stride') == 4, 'nothing changes before it is applied'
        browser.click('apply changes')
        assert until(lambda: value('points_stride') == 3 and value('color_map') == 'magma'
                     and value('points_color') is False)
        assert list(value('alignment.reference_pose')) == [1.0, 0.0, 0.5, 0.0, 0.0, 0.0]
        browser.change('points_min', 9.0)
        browser.change('edge_filter', 0.5)
        time.sleep(0.3)
        browser.click('apply changes')
        assert until(lambda: 'nothing was set: parameter points_min is 9.0; it must be below '
                     'points_max, which is 7.5' in browser.text())
        assert (value('points_min'), value('edge_filter')) == (0.1, 0.0)
        assert browser.label('points_min')['value'] == 9.0, 'it can be corrected'
        browser.click('read the values of the node')
        assert until(lambda: browser.label('points_min')['value'] == 0.1)
        browser.change('motion.camera_pose', 'left')
        time.sleep(0.3)
        browser.click('apply changes')
        assert until(lambda: 'motion.camera_pose is &#x27;left&#x27;; it must be a list of 6'
                     in browser.text())


def test_every_parameter_of_the_run_time_is_on_the_page_with_its_declaration(
        make_viewer: Callable[..., Any]) -> None:
    viewer = make_viewer()
    with PageClient(viewer.page.port) as browser:
        for spec in RUNTIME:
            shown = browser.label(spec.name)
            assert shown['hint'] == hint(spec)
            assert spec.description in hint(spec) and spec.expected in hint(spec)
            if spec.choices:
                assert tuple(shown['options']) == spec.choices
            elif type(spec.default) in (int, float):
                assert (shown['min'], shown['max']) == (spec.minimum, spec.maximum)
        assert not browser.find(label='model') and not browser.find(label='cameras')


def test_a_node_that_is_not_there_is_said(make_viewer: Callable[..., Any]) -> None:
    viewer = make_viewer()
    with PageClient(viewer.page.port) as browser:
        assert until(lambda: 'no status on /diagnostics' in browser.text())
        # The page asks once when it opens.
        assert until(lambda: 'parameters: /depth_anything does not answer' in browser.text())
        browser.click('activate')
        assert until(lambda: 'activate: /depth_anything does not answer; is it running?'
                     in browser.text())


def test_a_node_that_hangs_is_said(context: Context, make_viewer: Callable[..., Any]) -> None:
    hanging = Node('depth_anything', context=context)
    hanging.create_service(ChangeState, '~/change_state', lambda request, response: response)
    viewer = make_viewer()
    with PageClient(viewer.page.port) as browser:
        assert until(viewer._requests._change_state.service_is_ready)
        browser.click('activate')
        assert until(lambda: 'activate: /depth_anything has not answered yet' in browser.text())
    hanging.destroy_node()


def test_a_node_that_seldom_sends_its_status_is_not_taken_for_gone(
        make_robot: Callable[..., Robot], make_viewer: Callable[..., Any],
        monkeypatch: pytest.MonkeyPatch) -> None:
    from depth_anything_ros.view import viewer
    monkeypatch.setattr(viewer, '_SILENCE_S', 0.5)
    make_robot(diagnostics_period=1.5)
    with PageClient(make_viewer().page.port) as browser:
        assert until(lambda: 'OK: unconfigured' in browser.text())
        assert not until(lambda: 'no status' in browser.text(), 2.5)


def test_the_page_works_while_simulated_time_stands_still(
        robot: Robot, make_viewer: Callable[..., Any]) -> None:
    viewer = make_viewer()
    viewer.set_parameters([Parameter('use_sim_time', value=True)])
    with PageClient(viewer.page.port) as browser, playing(robot):
        assert until(lambda: '/camera/points' in browser.shown, 20.0)


def test_the_parameters_of_a_node_that_starts_later_are_shown(
        make_robot: Callable[..., Robot], make_viewer: Callable[..., Any]) -> None:
    viewer = make_viewer()
    with PageClient(viewer.page.port) as browser:
        browser.change('points_stride', 3)
        browser.click('apply changes')
        assert until(lambda: 'parameters: /depth_anything does not answer' in browser.text())
        make_robot(points_stride=4)
        assert until(lambda: browser.label('points_stride')['value'] == 4)


def test_the_parameters_and_the_camera_of_a_node_that_starts_again_at_once_are_shown(
        make_robot: Callable[..., Robot], make_viewer: Callable[..., Any]) -> None:
    """Its statuses are the same, and it is not silent for long."""
    viewer = make_viewer()

    def start(stride: int, focal: float) -> Robot:
        robot = make_robot(points_stride=stride)
        assert until(lambda: browser.label('points_stride')['value'] == stride)
        robot.bring_up()
        robot.show_camera(camera_info(HW[1], HW[0], focal=focal))
        with playing(robot):
            assert until(lambda: browser.shown.get('/camera/frustum', {}).get('fov')
                         == pytest.approx(2 * np.arctan(60 / focal)), 20.0)
        return robot

    with PageClient(viewer.page.port) as browser:
        first = start(4, 80.0)
        first.depth.trigger_deactivate()
        first.depth.trigger_cleanup()
        assert until(lambda: 'OK: unconfigured' in browser.text())
        first.close()
        start(7, 60.0)


def test_a_node_without_the_parameters_of_the_page_is_named(
        context: Context, make_viewer: Callable[..., Any]) -> None:
    other = Node('depth_anything', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(other)
    sentence = 'parameters: /depth_anything lacks some that this page shows; is it a depth node'
    with PageClient(make_viewer().page.port) as browser:
        assert until(lambda: executor.spin_once(0.05) or sentence in browser.text(), 10.0)
        assert not until(lambda: executor.spin_once(0.05) or 'report this' in browser.text(), 1.0)
    executor.shutdown()
    other.destroy_node()


def test_a_viewer_whose_page_cannot_start_can_be_destroyed(context: Context) -> None:
    """As rclpy does at shutdown, from Kilted on."""
    from depth_anything_ros.view.viewer import Viewer
    viewer = Viewer.__new__(Viewer)
    with socket.create_server(('127.0.0.1', 0)) as taken, pytest.raises(OSError):
        viewer.__init__('depth', '127.0.0.1', taken.getsockname()[1], 10.0, 1000, context)
    viewer.destroy_node()
