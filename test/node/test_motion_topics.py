"""Metres from the motion of the camera, over real topics: images, TF or odometry, and depth."""

from collections.abc import Callable
import re
import sys
import threading
import time
from typing import Any

from depth_anything_ros.node import motion, odometry
from diagnostic_msgs.msg import DiagnosticArray
from drive import depth_error, Drive, MOUNT_POSE, moved, SMALL, STEP_M, STEP_S
from moving_scene import FOCAL, HW, picture, SCALE, SHIFT
import pytest
from rclpy.serialization import serialize_message
from robot import camera_info, image_message, Robot


def threads(*names: str) -> int:
    """Return how many threads have one of these names."""
    return sum(thread.name in names for thread in threading.enumerate())


BOTH = pytest.mark.parametrize('by', ['tf', 'odometry'])


@BOTH
def test_a_camera_that_moves_gives_metres(make_drive: Callable[..., Drive], by: str) -> None:
    drive = make_drive(by)
    assert drive.step(moved(-0.3))['state'] == 'waiting'
    assert not drive.depths, 'a wrong metre is worse than none'
    drive.until_fitted()
    status = drive.go_on(8, lambda status: False)
    assert float(status['scale [1/m]']) == pytest.approx(SCALE, rel=0.03)
    assert float(status['shift [1/m]']) == pytest.approx(SHIFT, abs=0.02)
    assert depth_error(drive) < 0.03


def test_a_metric_model_gets_its_scale(
        make_drive: Callable[..., Drive], make_ir: Callable[..., Any]) -> None:
    """Its metres do not fit the scene, but the best factor is found and the shift stays 0."""
    drive = make_drive(model=str(make_ir(kind='metric', max_depth_m=20.0)),
                       **{'alignment.max_residual': 1.0, 'alignment.max_outliers': 0.9})
    status = drive.until_fitted()
    assert float(status['shift [1/m]']) == 0.0
    assert float(status['scale [1/m]']) > 0


@pytest.mark.parametrize(('turning', 'words'), [
    (0.0, 'the camera moved less than # m; drive a little'),
    (1.5, 'the camera only turned; drive a little')], ids=['standing', 'turning'])
def test_the_last_scale_is_held_while_the_camera_does_not_move(
        make_drive: Callable[..., Drive], turning: float, words: str) -> None:
    """The time-out does not count: else a robot that waits would lose its obstacles."""
    drive = make_drive(**{'alignment.timeout': 1.5})
    drive.until_fitted()
    time.sleep(0.2)
    before = drive.step(drive.pose)
    drive.second += 0.5  # a gap, after which no earlier image is used
    reasons = set()
    for number in range(35):
        status = drive.step(moved(drive.pose[0, 3], turning * min(number, 12)))
        assert status['state'] == 'fitted', status['reason']
        reasons.add(re.sub('[0-9.]+', '#', status['reason']))
        time.sleep(0.05)
    assert float(status['scale [1/m]']) == pytest.approx(float(before['scale [1/m]']), rel=0.01)
    assert float(status['age [s]']) > 3.0
    assert words in reasons


def test_the_floor_begins_the_scale_of_a_camera_that_stands_and_the_motion_confirms_it(
        make_drive: Callable[..., Drive]) -> None:
    drive = make_drive(floor_m=0.5, camera_height=0.5,
                       **{'alignment.source': 'motion+ground', 'alignment.timeout': 1.0})
    assert drive.robot.until(lambda: drive.step(drive.pose)['state'] == 'fitted')
    for status in (drive.now, drive.go_on(12, lambda status: False)):
        assert (status['state'], status['reason']) == ('fitted', '')
        assert float(status['scale [1/m]']) == pytest.approx(SCALE, rel=0.05)
        assert float(status['shift [1/m]']) == pytest.approx(SHIFT, abs=0.03)
        assert depth_error(drive) < 0.05
    assert drive.robot.stream().aligner._source._samples, 'the points from motion had a say'


def test_a_floor_that_contradicts_the_motion_gives_no_metres_and_both_scales(
        make_drive: Callable[..., Drive]) -> None:
    """The camera is lower than the parameter says; standing again does not bring them back."""
    drive = make_drive(floor_m=0.5, camera_height=0.75,
                       **{'alignment.source': 'motion+ground', 'alignment.timeout': 1.0})
    assert drive.robot.until(lambda: drive.step(drive.pose)['state'] == 'fitted')
    status = drive.go_on(30, lambda status: status['state'] == 'stale')
    assert status['state'] == 'stale'
    said = re.search('scale (.*) and shift .* by the motion, scale (.*) and shift .* by the floor',
                     status['reason'])
    assert said, status['reason']
    by_motion, by_floor = map(float, said.groups())
    assert by_motion / by_floor == pytest.approx(1.5, rel=0.1)
    drive.second += 0.5  # a gap, after which no earlier image is used
    assert drive.robot.until(lambda: 'until both agree' in drive.step(drive.pose)['reason'])
    assert drive.now['state'] == 'stale'


def test_images_that_arrive_twice_or_late_do_not_interrupt_the_metres(
        make_drive: Callable[..., Drive], capfd: pytest.CaptureFixture[str]) -> None:
    """Two publishers of one topic, or a network that changes their order."""
    drive = make_drive()
    drive.until_fitted()
    for late_s in (0.0, 0.04) * 3:
        drive.robot.publish('image', image_message(
            picture(drive.pose), stamp_ns=round((drive.second - late_s) * 1e9)))
        time.sleep(0.1)
        status = drive.step(moved(drive.pose[0, 3] + STEP_M))
        assert (status['state'], status['reason']) == ('fitted', '')
    assert 'start over' not in capfd.readouterr().err


def test_metres_end_when_the_odometry_ends_and_return_with_it(
        make_drive: Callable[..., Drive], capfd: pytest.CaptureFixture[str]) -> None:
    drive = make_drive(**{'alignment.timeout': 1.0, 'motion.max_gap': 0.25})
    drive.until_fitted()
    status = {}
    for _ in range(30):
        drive.second += STEP_S
        status = drive.show()
        time.sleep(0.05)
    assert status['state'] == 'stale'
    assert 'newest pose is' in status['reason']
    drive.reset()
    drive.until_fitted()
    assert '/odom had no message for' in capfd.readouterr().err


@BOTH
def test_odometry_at_1_hz_gives_no_metres_and_says_why(
        make_drive: Callable[..., Drive], by: str, capfd: pytest.CaptureFixture[str]) -> None:
    drive = make_drive(by)
    for number in range(40):
        drive.second += STEP_S
        drive.pose = moved(-0.3 + STEP_M / 2 * number)
        if number % 10 == 0:
            drive.odometry(drive.second, drive.pose)
        status = drive.show()
        assert status['state'] == 'waiting'
        time.sleep(0.04)
    # An image between two messages has no pose, one at a message has no predecessor.
    assert re.search('no metric depth: .*(at more than 4 Hz|1.000 s, motion.max_gap is 0.25 s)',
                     capfd.readouterr().err)
    assert not drive.depths


def test_a_jump_starts_over_and_gives_no_wrong_metre(
        make_drive: Callable[..., Drive], capfd: pytest.CaptureFixture[str]) -> None:
    drive = make_drive()
    drive.until_fitted()
    right = drive.pose.copy()
    jumped = right.copy()
    jumped[1, 3] += 25.0
    # The odometry jumps, the picture does not.
    drive.second += STEP_S
    drive.odometry(drive.second, jumped)
    drive.show()
    for _ in range(12):
        right[0, 3] += STEP_M / 3
        jumped[0, 3] += STEP_M / 3
        drive.second += STEP_S
        drive.pose = right.copy()
        drive.odometry(drive.second, jumped)
        status = drive.show()
        time.sleep(0.05)
        assert float(status['scale [1/m]']) == pytest.approx(SCALE, rel=0.1)
    assert 'metres from motion start over: the pose of the camera' in capfd.readouterr().err


@pytest.mark.parametrize(('changes', 'words'), [
    ({'frame': 'map'}, "is in frame 'map', but motion.odom_frame is 'odom'"),
    ({'variance': 400.0}, 'standard deviation of the position is 20 m')])
def test_odometry_that_cannot_be_used_gives_no_metres_and_says_why(
        make_drive: Callable[..., Drive], changes: dict[str, Any], words: str,
        capfd: pytest.CaptureFixture[str]) -> None:
    drive = make_drive()
    health = drive.robot.listen(DiagnosticArray, '/diagnostics')
    status = drive.go_on(30, lambda status: words in status['reason'], **changes)
    assert status['state'] == 'waiting' and words in status['reason']
    assert drive.robot.until(lambda: health and words in health[-1].status[0].message)
    for _ in range(30):
        drive.step(moved(drive.pose[0, 3]), **changes)
    assert 'no metric depth: /odom: the ' in capfd.readouterr().err
    assert not drive.depths


def test_without_tf_the_reason_has_both_frames(make_drive: Callable[..., Drive]) -> None:
    drive = make_drive('tf')

    def shown() -> bool:
        drive.second += STEP_S
        drive.pose = moved(drive.pose[0, 3])
        return 'TF has no transform from camera_optical to odom' in drive.show()['reason']

    assert drive.robot.until(shown)
    assert drive.now['state'] == 'waiting'


def test_an_uncalibrated_camera_gives_no_metres_and_says_why(
        make_drive: Callable[..., Drive]) -> None:
    drive = make_drive()
    drive.robot.show_camera(camera_info(HW[1], HW[0], 0.0))
    status = drive.go_on(25, lambda status: 'not calibrated' in status['reason'])
    assert (status['state'], 'not calibrated' in status['reason']) == ('waiting', True)


@pytest.mark.parametrize('offset_s', [0.0, 5.0])
def test_the_time_offset_is_added_to_the_stamps_of_the_images(
        make_drive: Callable[..., Drive], offset_s: float) -> None:
    """The clock of the camera is 5 s behind that of the odometry."""
    drive = make_drive(**{'motion.time_offset': offset_s})
    publish = drive.odometry
    drive.odometry = lambda second, pose, **changes: publish(second + 5.0, pose, **changes)
    status = drive.go_on(25, lambda status: status['state'] == 'fitted')
    assert (status['state'] == 'fitted') == (offset_s == 5.0), status['reason']


@pytest.mark.parametrize('fault', ['damaged', 'before TF'])
def test_an_image_that_cannot_be_tracked_does_not_hold_up_the_next_ones(
        make_drive: Callable[..., Drive], fault: str) -> None:
    """Damaged on the way, or with a stamp before the time that TF knows."""
    drive = make_drive('tf' if fault == 'before TF' else 'odometry')
    drive.step(moved(-0.3))
    source = drive.robot.stream().aligner._source
    if fault == 'damaged':
        message = serialize_message(image_message(picture(drive.pose),
                                                  stamp_ns=round((drive.second + 0.05) * 1e9)))
        # The stamp is whole, the length of frame_id is not.
        drive.robot._publishers['image'].publish(message[:12] + b'\xff\xff\xff\xff'
                                                 + message[16:])
    else:
        drive.robot.show(picture(drive.pose), stamp_ns=-10 ** 9)
    words = {'damaged': 'are no Image message', 'before TF': 'TF has no time before 0 s'}[fault]
    assert drive.robot.until(lambda: words in source._outcome.reason)
    assert drive.robot.until(lambda: not source._waiting)
    drive.until_fitted()


def test_a_frozen_alignment_stays_and_the_camera_is_not_tracked(
        make_drive: Callable[..., Drive], monkeypatch: pytest.MonkeyPatch) -> None:
    drive = make_drive()
    drive.until_fitted()
    answer = drive.robot.freeze_alignment(True)
    assert answer.success and answer.message.startswith('frozen, relative_scale: ')
    before = drive.now['scale [1/m]']
    source = drive.robot.stream().aligner._source
    tracked: list[motion.TrackedImage] = []
    monkeypatch.setattr(source, 'offer', tracked.append)
    for _ in range(8):
        status = drive.step(moved(drive.pose[0, 3] + STEP_M))
        assert status['state'] == 'frozen'
    assert (status['scale [1/m]'], tracked) == (before, [])
    assert drive.robot.freeze_alignment(False).success
    drive.reset()
    assert drive.step(drive.pose)['state'] != 'frozen'
    assert len(tracked) == 1


def test_deactivating_releases_threads_images_and_subscriptions(
        make_drive: Callable[..., Drive]) -> None:
    drive = make_drive()
    node = drive.robot.depth
    names = (motion.THREAD_NAME, odometry.THREAD_NAME)
    assert threads(*names) == 2
    for _ in range(3):
        drive.go_on(3, lambda status: False)
        source = drive.robot.stream().aligner._source
        assert node.trigger_deactivate().name == 'SUCCESS'
        assert threads(*names) == 0
        assert not source._samples and not source._frames and not source._waiting
        assert drive.robot.node.count_subscribers('/odom') == 0
        assert node.trigger_activate().name == 'SUCCESS'
        drive.robot.show_camera(camera_info(HW[1], HW[0], FOCAL))
        drive.reset()
    drive.until_fitted()


def test_each_camera_has_its_own_pose_on_the_robot_and_its_own_metres(
        make_robot: Callable[..., Robot]) -> None:
    """The rear one has the wrong pose: its images contradict it, and it gets no metres."""
    pytest.importorskip('nav_msgs.msg', reason='nav_msgs is missing')
    reliable = {f'qos_overrides./{name}/{topic}.subscription.reliability': 'reliable'
                for name in ('front', 'rear') for topic in ('image', 'camera_info')}
    robot = make_robot(cameras=['front', 'rear'], **{
        'alignment.source': 'motion', 'motion.odometry_topic': 'odom',
        'qos_overrides./odom.subscription.reliability': 'reliable',
        'front.motion.camera_pose': MOUNT_POSE, **SMALL, **reliable})
    robot.bring_up()
    front, rear = (Drive(robot, 'odometry', name) for name in ('front', 'rear'))
    for _ in range(20):
        pose = moved(front.pose[0, 3] + STEP_M)
        states = [drive.step(pose)['state'] for drive in (front, rear)]
        time.sleep(0.05)
    assert states == ['fitted', 'waiting'], (front.now, rear.now)
    assert float(front.now['scale [1/m]']) == pytest.approx(SCALE, rel=0.05)
    assert not rear.depths


def test_a_tracker_that_is_busy_does_not_hold_up_the_depth(
        make_drive: Callable[..., Drive], monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are skipped meanwhile, and few wait."""
    add, begun, released = motion.MotionTracker.add, threading.Event(), threading.Event()

    def busy(*args: Any) -> Any:
        begun.set()
        assert released.wait(60)
        return add(*args)

    monkeypatch.setattr(motion.MotionTracker, 'add', busy)
    drive = make_drive()
    for number in range(10):
        drive.step(moved(-0.3 + STEP_M * number))
    assert begun.is_set() and not drive.robot.stream().aligner._source._samples
    assert len(drive.states) == 10 and len(drive.robot.stream().aligner._source._waiting) <= 6
    released.set()
    drive.until_fitted()
    begun.clear()
    released.clear()
    for _ in range(40):
        status = drive.step(drive.pose)
    released.set()
    assert 'no image has both depth and tracked points; the computer is too' in status['reason']


def test_after_a_pause_of_the_camera_the_computer_is_not_called_slow(
        make_drive: Callable[..., Drive]) -> None:
    drive = make_drive()
    drive.until_fitted()
    assert drive.robot.until(lambda: drive.robot.stream().aligner._source._outcome.reason == '')
    drive.second += 20.0
    status = drive.step(drive.pose)
    assert status['state'] == 'stale' and 'too slow' not in status['reason']


def test_activate_fails_with_the_way_out_if_a_package_is_missing(
        make_robot: Callable[..., Robot], monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    robot = make_robot(**{'alignment.source': 'motion'})
    assert robot.depth.trigger_configure().name == 'SUCCESS'
    assert robot.depth.trigger_activate().name == 'FAILURE'
    assert 'set motion.odometry_topic' in capfd.readouterr().err
    assert threads(motion.THREAD_NAME, odometry.THREAD_NAME) == 0
