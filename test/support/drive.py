"""A robot that drives through the moving scene, for tests of metres from motion over topics."""

from collections.abc import Callable
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from moving_scene import FOCAL, HW, inverse_z, picture
import numpy as np
import pytest
from rclpy.time import Time
from robot import camera_info, Robot
from sensor_msgs.msg import Image
from tf2_stand_in import provide, quaternion, STATIC, transform_message

STEP_S, STEP_M = 0.1, 0.03
# The optical frame in the frame of the robot, which has x ahead and z up.
MOUNT = np.array([[0.0, 0.0, 1.0, 0.2], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.4],
                  [0.0, 0.0, 0.0, 1.0]])
MOUNT_POSE = [0.2, 0.0, 0.4, -np.pi / 2, 0.0, -np.pi / 2]
# The world of the scene is the optical frame at the start.
START = MOUNT.copy()
SMALL = {'input_size': 224, 'expected_width': HW[1], 'expected_height': HW[0],
         'alignment.time_constant': 0.5}


def moved(x: float, degrees: float = 0.0) -> np.ndarray:
    """Return the pose of the camera in the scene: to the right, then turned about its y."""
    angle = np.radians(degrees)
    pose = np.eye(4)
    pose[0, 3] = x
    pose[0, 0] = pose[2, 2] = np.cos(angle)
    pose[0, 2], pose[2, 0] = np.sin(angle), -np.sin(angle)
    return pose


class Drive:
    """
    A robot that drives: its odometry and the pictures of one camera, of name '' or another.

    The floor of the scene is ``floor_m`` below the camera; 0 is none.
    """

    def __init__(self, robot: Robot, by: str, camera: str = '', floor_m: float = 0.0) -> None:
        self.robot, self.by, self.camera, self.floor_m = robot, by, camera, floor_m
        self.second, self.pose = 100.0, moved(-0.3)
        below = f'/depth_anything/{camera}/' if camera else '/depth_anything/'
        self.depths = robot.listen(Image, f'{below}depth/image')
        self.states = robot.listen(DiagnosticArray, f'{below}alignment')
        robot.show_camera(camera_info(HW[1], HW[0], FOCAL), camera)
        if by == 'tf':
            self.static(transform_message('base', 'camera_optical', MOUNT, 0.0))

    def static(self, message: Any) -> None:
        """Publish a fixed transform until the node has it."""
        self.robot.publish('/tf_static', message, STATIC)

    def odometry(self, second: float, pose: np.ndarray, **changes: Any) -> None:
        """Publish where the robot is, by the pose of its camera in the scene."""
        base = START @ pose @ np.linalg.inv(MOUNT)
        if self.by == 'tf':
            self.robot.publish('/tf', transform_message('odom', 'base', base, second))
            return
        from nav_msgs.msg import Odometry
        message = Odometry(child_frame_id='base')
        message.header.frame_id = changes.get('frame', 'odom')
        message.header.stamp = Time(nanoseconds=round(second * 1e9)).to_msg()
        at, turn = message.pose.pose.position, message.pose.pose.orientation
        at.x, at.y, at.z = map(float, base[:3, 3])
        turn.x, turn.y, turn.z, turn.w = quaternion(base)
        message.pose.covariance[0] = changes.get('variance', 0.0)
        self.robot.publish('odom', message)

    def show(self) -> dict[str, str]:
        """Show the camera's picture at the present time; return the alignment."""
        before = len(self.states)
        self.robot.show(picture(self.pose, self.floor_m), self.camera,
                        stamp_ns=round(self.second * 1e9))
        assert self.robot.until(lambda: len(self.states) > before)
        return self.now

    @property
    def now(self) -> dict[str, str]:
        """Return the latest state of the alignment."""
        return {entry.key: entry.value for entry in self.states[-1].status[0].values}

    def step(self, pose: np.ndarray, **changes: Any) -> dict[str, str]:
        """Go to a pose within 0.1 s, with odometry on the way; return the alignment there."""
        between = (pose[:3, 3] + self.pose[:3, 3]) / 2
        middle = pose.copy()
        middle[:3, 3] = between
        if np.allclose(pose[:3, :3], self.pose[:3, :3]):
            self.odometry(self.second + STEP_S / 2, middle, **changes)
        self.second += STEP_S
        self.pose = pose
        self.odometry(self.second, pose, **changes)
        return self.show()

    def go_on(self, steps: int, until: Callable[[dict[str, str]], bool],
              **changes: Any) -> dict[str, str]:
        """Drive to the right until the alignment is as expected, at most so many steps."""
        for _ in range(steps):
            status = self.step(moved(self.pose[0, 3] + STEP_M), **changes)
            # The tracker has a thread of its own.
            deadline = time.monotonic() + 0.2
            while not until(status) and time.monotonic() < deadline:
                time.sleep(0.02)
            if until(status):
                break
        return status

    def until_fitted(self, steps: int = 25) -> dict[str, str]:
        """Drive until there are metres."""
        status = self.go_on(steps, lambda status: status['state'] == 'fitted')
        assert status['state'] == 'fitted', status['reason']
        return status

    def reset(self) -> None:
        """Return to the left end of the scene, without a picture on the way."""
        self.second += 60.0
        self.pose = moved(-0.3)


def depth_error(drive: Drive) -> float:
    """Return the median relative error of the latest depth image."""
    assert drive.robot.until(lambda: drive.depths)
    message = drive.depths[-1]
    depth_m = np.frombuffer(message.data, np.float32).reshape(HW)
    return float(np.nanmedian(np.abs(depth_m * inverse_z(drive.pose, drive.floor_m) - 1)))


@pytest.fixture
def make_drive(make_robot: Callable[..., Robot],
               monkeypatch: pytest.MonkeyPatch) -> Callable[..., Drive]:
    """Return a function that makes an active node and its robot with TF or odometry."""
    def make(by: str = 'odometry', floor_m: float = 0.0, **parameters: Any) -> Drive:
        values = {'alignment.source': 'motion', **SMALL, **parameters}
        if by == 'tf':
            provide(monkeypatch)
        else:
            pytest.importorskip('nav_msgs.msg', reason='nav_msgs is missing')
            values |= {'motion.odometry_topic': 'odom', 'motion.camera_pose': MOUNT_POSE,
                       'qos_overrides./odom.subscription.reliability': 'reliable'}
        robot = make_robot(**values)
        robot.bring_up()
        return Drive(robot, by, floor_m=floor_m)
    return make
