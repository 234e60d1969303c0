"""The service ~/save_snapshot: one frame as files."""

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest
from robot import camera_info, Robot
from std_srvs.srv import Trigger

HW = (120, 160)
PICTURE = np.full((*HW, 3), (10, 20, 128), np.uint8)


def request_snapshot(robot: Robot) -> Any:
    """Call the service and return the future of its answer."""
    client = robot.node.create_client(Trigger, '/depth_anything/save_snapshot')
    assert robot.until(client.service_is_ready)
    return client.call_async(Trigger.Request())


def save(robot: Robot, *cameras: str) -> Any:
    """Request a snapshot, show a picture to every camera and return the answer."""
    future = request_snapshot(robot)
    for camera in cameras:
        assert robot.until(lambda camera=camera: robot.stream(camera).has_consumers)
        robot.show(PICTURE, camera=camera)
    assert robot.until(future.done)
    return future.result()


def test_a_snapshot_holds_image_depth_cloud_and_camera_though_nobody_subscribes(
        make_robot: Callable[..., Robot], tmp_path: Path) -> None:
    robot = make_robot(snapshot_dir=str(tmp_path / 'new'), relative_scale=1.0)
    robot.bring_up()
    robot.show_camera(camera_info(HW[1], HW[0]))
    answer = save(robot, '')
    assert answer.success, answer.message
    folder = Path(answer.message)
    assert folder.parent == tmp_path / 'new'
    assert sorted(path.name for path in folder.iterdir()) == [
        'cloud.ply', 'color.png', 'depth_m.pfm', 'depth_mm.png', 'image.png', 'info.json',
        'model_depth.pfm']
    assert_array_equal(cv2.imread(str(folder / 'image.png')), PICTURE)
    depth_mm = cv2.imread(str(folder / 'depth_mm.png'), cv2.IMREAD_UNCHANGED)
    assert depth_mm.dtype == np.uint16
    d = (128 + 2 * 20 + 4 * 10) / 255
    assert_allclose(depth_mm, 1000 / d, rtol=0.01)
    info = json.loads((folder / 'info.json').read_text())
    assert info['frame_id'] == 'camera_optical'
    assert info['camera'] == {'fx': 100.0, 'fy': 100.0, 'cx': 79.5, 'cy': 59.5, 'height': 120,
                              'width': 160}


def test_without_metres_and_camera_there_is_what_there_is(
        make_robot: Callable[..., Robot], tmp_path: Path) -> None:
    robot = make_robot(snapshot_dir=str(tmp_path))
    robot.bring_up()
    folder = Path(save(robot, '').message)
    assert sorted(path.name for path in folder.iterdir()) == [
        'color.png', 'image.png', 'info.json', 'model_depth.pfm']


@pytest.mark.parametrize(('stabilization', 'factor', 'unit'), [
    ('off', 1.0, 'm, before correction and alignment'), ('all', 2.0, 'm, before alignment')])
def test_a_snapshot_says_whether_its_metres_are_corrected(
        make_robot: Callable[..., Robot], make_ir: Callable[..., Path], tmp_path: Path,
        stabilization: str, factor: float, unit: str) -> None:
    robot = make_robot(model=str(make_ir(kind='metric', max_depth_m=20.0)), metric_scale=2.0,
                       stabilization=stabilization, snapshot_dir=str(tmp_path))
    robot.bring_up()
    folder = Path(save(robot, '').message)
    found = cv2.imread(str(folder / 'model_depth.pfm'), cv2.IMREAD_UNCHANGED)
    assert_allclose(found, factor * (128 + 2 * 20 + 4 * 10) / 255, rtol=1e-3)
    assert json.loads((folder / 'info.json').read_text())['model_depth.pfm'] == unit


def test_every_camera_gets_a_folder_of_its_own(
        make_robot: Callable[..., Robot], tmp_path: Path) -> None:
    reliable = {f'qos_overrides./{name}/image.subscription.reliability': 'reliable'
                for name in ('front', 'rear')}
    robot = make_robot(cameras=['front', 'rear'], snapshot_dir=str(tmp_path), **reliable)
    robot.bring_up()
    folder = Path(save(robot, 'front', 'rear').message)
    assert sorted(path.name for path in folder.iterdir()) == ['front', 'rear']
    assert (folder / 'rear' / 'image.png').is_file()


def test_a_folder_that_cannot_be_written_is_reported_and_the_node_runs(
        make_robot: Callable[..., Robot], tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    robot = make_robot(snapshot_dir=str(tmp_path / 'file' / 'below'))
    robot.bring_up()
    answer = save(robot, '')
    assert not answer.success
    assert answer.message == (f'{tmp_path}/file/below cannot be written (Not a directory); free '
                              'some space or choose another folder')
    assert robot.set_parameters(snapshot_dir=str(tmp_path))[0].successful
    assert save(robot, '').success


def test_a_home_folder_that_does_not_exist_is_named_in_the_answer(
        make_robot: Callable[..., Robot]) -> None:
    robot = make_robot(snapshot_dir='~nosuchuser/snapshots')
    robot.bring_up()
    answer = save(robot)
    assert not answer.success
    assert answer.message == ('~nosuchuser/snapshots: the home folder of ~nosuchuser is unknown; '
                              'write the whole path')


def test_without_images_the_answer_says_so_and_the_node_is_not_blocked(
        make_robot: Callable[..., Robot], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('depth_anything_ros.node.services._SNAPSHOT_S', 0.5)
    robot = make_robot(snapshot_dir=str(tmp_path))
    assert robot.depth.trigger_configure().name == 'SUCCESS'
    future = request_snapshot(robot)
    assert robot.until(lambda: robot.stream().has_consumers)
    assert robot.depth.trigger_activate().name == 'SUCCESS'
    assert not future.done()
    assert robot.until(future.done)
    assert not future.result().success
    assert '/image' in future.result().message
    assert not robot.stream().has_consumers
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_without_images_leaves_no_request_at_any_camera(
        make_robot: Callable[..., Robot], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('depth_anything_ros.node.services._SNAPSHOT_S', 0.2)
    robot = make_robot(cameras=['front', 'rear'], snapshot_dir=str(tmp_path))
    robot.bring_up()
    answer = save(robot)
    assert not answer.success
    assert answer.message.startswith('front: no image on /front/image within')
    assert not any(robot.stream(camera).has_consumers for camera in ('front', 'rear'))


def test_an_unconfigured_node_says_what_to_do(make_robot: Callable[..., Robot]) -> None:
    answer = save(make_robot())
    assert (answer.success, answer.message) == (
        False, 'the node is not configured; bring it to active')
