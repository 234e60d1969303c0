"""The executable as a process: it starts, works, and ends after a signal."""

from collections.abc import Iterator
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from depth_anything_ros.cli.processes import ros_parameters, running
from depth_anything_ros.ros.observer import Observer, pixels, stamp_ns
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
import pytest
from robot import image_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

NODE = 'depth_anything_ros.node.main'
PLAYER = 'depth_anything_ros.demo.player'
RELIABLE = {'qos_overrides./image.subscription.reliability': 'reliable'}


@pytest.fixture
def observer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Observer]:
    """Return an observer on a domain that the processes of the test share."""
    monkeypatch.setenv('ROS_DOMAIN_ID', str(64 + (os.getpid() + 18) % 36))
    observer = Observer('observer', 'depth_anything')
    yield observer
    observer.close()


def wait(process: subprocess.Popen[bytes]) -> int:
    """Return the exit status."""
    return process.wait(60)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('transitions', [(), ('configure', 'activate')],
                         ids=['unconfigured', 'active'])
def test_signals_end_the_process_with_status_0_and_no_traceback(
        observer: Observer, tiny_ir: Path, tmp_path: Path, number: int,
        transitions: tuple[str, ...]) -> None:
    """Anything else is a crash for launch and systemd."""
    log = tmp_path / 'node.log'
    with running(NODE, ros_parameters({'model': tiny_ir, 'cache_dir': ''}), log) as process:
        assert observer.spin_until(
            lambda: observer.node.count_publishers('/diagnostics') == 1, 60.0), log.read_text()
        for transition in transitions:
            observer.change_state(transition)
        process.send_signal(number)
        assert wait(process) == 0
    assert 'Traceback' not in log.read_text()
    assert 'terminate' not in log.read_text()


def run_node(body: str) -> 'subprocess.CompletedProcess[str]':
    """Run a node whose constructor ends with ``body`` as the node and the player are run."""
    code = f"""
import os, signal, time
from depth_anything_ros.ros.spin import run
from rclpy.node import Node


class Slow(Node):
    def __init__(self):
        super().__init__('slow')
        {body}


run(Slow)
"""
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                          timeout=60, check=False)


@pytest.mark.parametrize('name', ['SIGINT', 'SIGTERM'])
def test_a_signal_while_the_node_is_made_ends_the_process_as_cleanly(
        observer: Observer, name: str) -> None:
    """Calls that need the context then raise: here the timer."""
    ended = run_node(f"""os.kill(os.getpid(), signal.{name})
        while self.context.ok():
            time.sleep(0.01)
        self.create_timer(1.0, print)""")
    assert (ended.returncode, ended.stderr) == (0, '')


def test_a_node_that_cannot_be_made_is_an_error(observer: Observer) -> None:
    ended = run_node("raise ValueError('no such camera')")
    assert ended.returncode == 1
    assert 'ValueError: no such camera' in ended.stderr


def test_without_ros_the_node_names_what_is_missing() -> None:
    """A new shell in which nobody sourced ROS is the usual reason."""
    code = ("import sys; sys.modules['sensor_msgs'] = None\n"
            'from depth_anything_ros.node.main import main; sys.exit(main())')
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert run.stderr == ('error: depth_anything_node needs sensor_msgs, which is not installed: '
                          "source ROS 2, or pip install 'depth_anything_ros[jazzy]'\n")


def test_a_sigint_during_the_imports_ends_the_node_without_a_traceback(tmp_path: Path) -> None:
    """They take a second on a busy machine; launch may end before."""
    (tmp_path / 'cv2.py').write_text(
        'import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)')
    path = os.pathsep.join((str(tmp_path), os.environ.get('PYTHONPATH', ''), os.getcwd()))
    ended = subprocess.run([sys.executable, '-m', NODE], capture_output=True, text=True,
                           timeout=60, env={**os.environ, 'PYTHONPATH': path})
    assert (ended.returncode, ended.stderr) == (0, '')


def test_a_second_sigint_does_not_interrupt_the_release(
        observer: Observer, tiny_ir: Path, tmp_path: Path) -> None:
    """Ctrl-C in a terminal reaches the node twice: from the terminal and from launch."""
    log = tmp_path / 'node.log'
    with running(NODE, ros_parameters({'model': tiny_ir, 'cache_dir': ''}), log) as process:
        observer.change_state('configure')
        observer.change_state('activate')
        for _ in range(5):
            process.send_signal(signal.SIGINT)
            time.sleep(0.02)
        assert wait(process) == 0
    assert 'Traceback' not in log.read_text()


def test_shutdown_with_frames_in_flight_ends_cleanly(
        observer: Observer, tmp_path: Path, make_ir: object) -> None:
    """The device is in the middle of a frame when the signal comes."""
    log = tmp_path / 'node.log'
    model = make_ir(slow_layers=20)
    parameters = {'model': model, 'cache_dir': '', 'precision': 'f32', 'input_size': 448,
                  'request_timeout': 60.0, **RELIABLE}
    with running(NODE, ros_parameters(parameters), log) as process:
        observer.listen(Image, '/depth_anything/inverse_depth/image', lambda message: None)
        observer.change_state('configure')
        observer.change_state('activate')
        camera = observer.node.create_publisher(Image, '/image', 1)
        assert observer.spin_until(lambda: camera.get_subscription_count() == 1, 60.0)
        for number in range(3):
            camera.publish(image_message(np.zeros((480, 640, 3), np.uint8), stamp_ns=number + 1))
        observer.spin_until(lambda: False, 0.3)
        process.send_signal(signal.SIGTERM)
        assert wait(process) == 0
    assert 'Traceback' not in log.read_text()
    assert 'report' not in log.read_text()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_stop_during_configure_is_no_fault_to_report(
        observer: Observer, tmp_path: Path, make_ir: object, number: int) -> None:
    """Loading a model takes long enough for somebody to think better of it."""
    log = tmp_path / 'node.log'
    parameters = {'model': make_ir(slow_layers=40), 'cache_dir': '', 'precision': 'f32',
                  'input_size': 448}
    with running(NODE, ros_parameters(parameters), log) as process:
        client = observer.node.create_client(ChangeState, '/depth_anything/change_state')
        assert observer.spin_until(client.service_is_ready, 60.0)
        client.call_async(ChangeState.Request(
            transition=Transition(id=Transition.TRANSITION_CONFIGURE)))
        observer.spin_until(lambda: False, 0.7)
        process.send_signal(number)
        assert wait(process) == 0
    text = log.read_text()
    assert 'Traceback' not in text and 'report' not in text
    assert 'ended early, because the node is stopped' in text or 'configure' not in text


@pytest.mark.parametrize('module', [NODE, PLAYER])
@pytest.mark.parametrize('arguments', [('--params-file', '/nowhere/file.yaml'), ('-p', 'a:=[1')])
def test_ros_arguments_that_cannot_be_read_are_one_line(
        tmp_path: Path, module: str, arguments: tuple[str, str]) -> None:
    log = tmp_path / 'program.log'
    with running(module, ['--ros-args', *arguments], log) as process:
        assert wait(process) == 1
    assert 'Traceback' not in log.read_text()
    # rcl itself may print a line before.
    line = log.read_text().splitlines()[-1]
    assert line.startswith('error: ROS cannot start') and arguments[-1] in line
    assert '.c:' not in line


def test_player_and_node_make_depth_of_a_folder_of_pictures(
        observer: Observer, tiny_ir: Path, tmp_path: Path) -> None:
    """The chain of the demo with a tiny model: two processes, DDS between them."""
    import cv2
    pictures = tmp_path / 'pictures'
    pictures.mkdir()
    for number in range(3):
        cv2.imwrite(str(pictures / f'{number}.png'), np.full((90, 160, 3), 60 * number, np.uint8))
    images: list[Image] = []
    infos: list[CameraInfo] = []
    depths: list[Image] = []
    for kind, topic, messages in ((Image, '/image', images), (CameraInfo, '/camera_info', infos),
                                  (Image, '/depth_anything/inverse_depth/image', depths)):
        observer.listen(kind, topic, messages.append)
    node = ros_parameters({'model': tiny_ir, 'cache_dir': '', **RELIABLE})
    player = ['--images', str(pictures), '--width', '160', '--height', '120', '--rate', '20']
    with running(NODE, node, tmp_path / 'node.log'), \
            running(PLAYER, player, tmp_path / 'player.log') as playing:
        observer.change_state('configure')
        observer.change_state('activate')
        assert observer.spin_until(lambda: len(depths) > 5 and len(infos) > 5, 60.0)
        playing.send_signal(signal.SIGINT)
        assert wait(playing) == 0
    assert (images[0].height, images[0].width, images[0].encoding) == (120, 160, 'bgr8')
    assert (infos[0].height, infos[0].width) == (120, 160)
    shown = [stamp_ns(message) for message in images]
    computed = [stamp for stamp in map(stamp_ns, depths) if shown[0] <= stamp <= shown[-1]]
    assert len(computed) >= 3
    assert set(computed) <= set(shown)
    assert {round(float(pixels(message).mean()), 1) for message in depths} <= {0.0, 1.6, 3.3}


def test_a_player_sends_jpeg_as_cameras_do(observer: Observer, tmp_path: Path) -> None:
    """On the topic that image_transport reads, with the same stamps as camera_info."""
    import cv2
    cv2.imwrite(str(tmp_path / '0.png'), np.full((120, 160, 3), (10, 90, 200), np.uint8))
    images: list[CompressedImage] = []
    infos: list[CameraInfo] = []
    observer.listen(CompressedImage, '/image/compressed', images.append)
    observer.listen(CameraInfo, '/camera_info', infos.append)
    player = ['--images', str(tmp_path), '--width', '160', '--height', '120', '--transport',
              'compressed']
    with running(PLAYER, player, tmp_path / 'player.log'):
        assert observer.spin_until(lambda: len(images) > 2 and len(infos) > 2, 30.0)
    assert {stamp_ns(image) for image in images} & {stamp_ns(info) for info in infos}
    picture = cv2.imdecode(np.frombuffer(images[0].data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (120, 160, 3)
    assert np.abs(picture.astype(int) - (10, 90, 200)).max() < 5


def test_a_player_without_pictures_prints_the_reason(tmp_path: Path) -> None:
    """And ends with status 1."""
    log = tmp_path / 'player.log'
    with running(PLAYER, ['--images', str(tmp_path)], log) as process:
        assert wait(process) == 1
    assert 'holds no image' in log.read_text()
