"""The demo as people run it, with a tiny model."""

from array import array
from collections.abc import Callable
import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import cv2
import numpy as np
import pytest
from waiting import until


def start(folder: Path, *arguments: str) -> 'subprocess.Popen[str]':
    """Start the demo in ``folder``."""
    return start_module('main', folder, *arguments)


def start_module(name: str, folder: Path, *arguments: str) -> 'subprocess.Popen[str]':
    """Start a module of the room ``demo`` on a domain of this test run."""
    domain = str(64 + (os.getpid() + 9) % 36)
    return subprocess.Popen(
        [sys.executable, '-m', f'depth_anything_ros.demo.{name}', *arguments], cwd=folder,
        env={**os.environ, 'ROS_DOMAIN_ID': domain,
             'PYTHONPATH': str(Path(__file__).resolve().parents[2])},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo in ``folder`` and return what it printed."""
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def test_the_demo_prints_figures_and_saves_pictures_and_a_cloud(
        tmp_path: Path, make_ir: Callable[..., Path]) -> None:
    """Two processes, DDS, lifecycle services, files."""
    pictures = tmp_path / 'pictures'
    pictures.mkdir()
    y, x = np.mgrid[0:480, 0:640]
    cv2.imwrite(str(pictures / '1.png'),
                np.stack([x // 4, y // 3, 40 + x // 4], axis=-1).astype(np.uint8))
    result = run(tmp_path, '--model', str(make_ir()), '--images', str(pictures), '--focal', '320',
                 '--seconds', '4')
    assert result.returncode == 0, result.stdout + result.stderr
    printed = dict(line.strip().split('  ', 1) for line in result.stdout.splitlines()
                   if line.startswith('  ') and 'wrote' not in line)
    assert printed['device'].strip() == 'CPU'
    assert printed['network size'].strip() == '154x112'
    assert int(printed['frames delivered']) > 10
    assert float(printed['latency p50 [ms]']) > 0
    output = tmp_path / 'demo_output'
    picture = cv2.imread(str(output / 'depth_1.png'))
    assert picture.shape == (480, 640 + 50 + 640, 3)
    assert len(np.unique(picture[:, 690:].reshape(-1, 3), axis=0)) > 100
    assert cv2.imread(str(output / 'cloud.png')).std() > 10
    header = (output / 'cloud.ply').read_bytes()[:200].decode(errors='replace')
    assert header.startswith('ply\nformat binary_little_endian')
    assert int(header.split('element vertex ')[1].split()[0]) > 100_000
    # 320 px at a width of 640 are 90 degrees.
    vertices = (output / 'cloud.ply').read_bytes().partition(b'end_header\n')[2]
    xyz = np.frombuffer(vertices, [('xyz', '<f4', 3), ('rgb', 'u1', 3)])['xyz']
    assert np.abs(xyz[:, 0] / xyz[:, 2]).max() == pytest.approx(1.0, abs=0.02)


def test_every_photograph_is_kept_once_with_its_last_depth() -> None:
    """By then the range of the colours has settled on it."""
    pytest.importorskip('rclpy', reason='ROS 2 is not installed')
    from depth_anything_ros.demo.main import Recording
    from sensor_msgs.msg import Image
    recording = Recording(seconds=0.0)
    for number, level in enumerate((10, 10, 20, 20, 10)):
        message = Image(data=array('B', [level] * 12))
        message.header.stamp.nanosec = number
        recording._on_image(message)
        recording._on_color(message)
    assert [color.header.stamp.nanosec for _, color in recording.pairs] == [1, 3]


def test_a_missing_model_is_one_line_that_names_the_log(tmp_path: Path) -> None:
    """It quotes the last line of the node's log."""
    result = run(tmp_path, '--model', 'missing.xml', '--images', str(tmp_path), '--seconds', '1')
    assert result.returncode == 1
    assert 'error:' in result.stderr
    assert 'node.log' in result.stderr
    assert 'missing.xml: there is no such file' in result.stderr
    assert 'Traceback' not in result.stderr


def test_the_reason_why_the_player_ended_is_the_error_of_the_demo(
        tmp_path: Path, tiny_ir: Path) -> None:
    """A wrong --images is the usual one, and nobody has to open a log to learn it."""
    result = run(tmp_path, '--model', str(tiny_ir), '--images', 'nowhere')
    assert result.returncode == 1
    assert 'player.log: error: there is no folder nowhere' in result.stderr


@pytest.mark.parametrize('option', ['--seconds', '--focal'])
@pytest.mark.parametrize('value', ['0', '-1', 'inf', 'nan'])
def test_an_impossible_time_or_focal_length_is_wrong_usage(
        tmp_path: Path, option: str, value: str) -> None:
    """Without the check nothing would be recorded, or the demo would never end."""
    result = run(tmp_path, f'{option}={value}')
    assert result.returncode == 2
    assert f'{option} is {value}; it must be above 0' in result.stderr


def test_a_node_that_is_killed_ends_the_demo_soon(tmp_path: Path, tiny_ir: Path) -> None:
    process = start(tmp_path, '--model', str(tiny_ir), '--seconds', '100')
    assert process.stdout is not None
    while not process.stdout.readline().startswith('active'):
        assert process.poll() is None
    children = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
    node, = (int(child) for child in children
             if b'node.main' in Path(f'/proc/{child}/cmdline').read_bytes())
    os.kill(node, signal.SIGKILL)
    try:
        _, err = process.communicate(timeout=40)
    finally:
        process.kill()
    assert process.returncode == 1
    assert 'error: /depth_anything ended; the last line of its log demo_output/node.log: ' in err


@pytest.mark.parametrize(('number', 'status', 'message'), [
    (signal.SIGINT, 130, 'error: interrupted; no pictures were written\n'),
    (signal.SIGTERM, 143, '')])
def test_an_interrupted_demo_ends_its_processes_and_writes_no_pictures(
        tmp_path: Path, tiny_ir: Path, number: int, status: int, message: str) -> None:
    process = start(tmp_path, '--model', str(tiny_ir), '--seconds', '100')
    assert process.stdout is not None
    while not process.stdout.readline().startswith('active'):
        assert process.poll() is None
    children = [int(entry) for entry in Path(
        f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()]
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (status, message)
    assert len(children) == 2
    assert not any(Path(f'/proc/{child}').exists() for child in children)
    assert sorted(os.listdir(tmp_path / 'demo_output')) == ['node.log', 'player.log']


def test_the_demo_is_shown_in_a_browser_until_a_signal(tmp_path: Path, tiny_ir: Path) -> None:
    pytest.importorskip('viser', reason='viser is not installed')
    from page_client import PageClient
    with socket.socket() as trial:
        if trial.connect_ex(('127.0.0.1', 8080)) == 0:
            pytest.skip('something else listens on port 8080')
    process = start(tmp_path, '--model', str(tiny_ir), '--seconds', '1', '--view')
    assert process.stdout is not None
    while 'http://127.0.0.1:8080' not in process.stdout.readline():
        assert process.poll() is None
    assert until(lambda: 'viser' in read('http://127.0.0.1:8080'))
    with PageClient(8080) as browser:
        assert until(lambda: browser.count('/camera/points', 'points') > 5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, '')
    assert 'wrote demo_output/depth_1.png' in out


def read(address: str) -> str:
    """Return the page at an address, '' while nothing listens there."""
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:
            return str(answer.read().decode())
    except OSError:
        return ''


def test_a_demo_whose_page_cannot_be_served_says_why(tmp_path: Path, tiny_ir: Path) -> None:
    pytest.importorskip('viser', reason='viser is not installed')
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(('127.0.0.1', 8080))
        except OSError:
            pytest.skip('something else has port 8080')
        taken.listen()
        result = run(tmp_path, '--model', str(tiny_ir), '--view')
    assert result.returncode == 1 and 'Traceback' not in result.stderr
    assert '127.0.0.1:8080 cannot be listened on' in result.stderr


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_the_player_ends_in_good_order(tmp_path: Path, number: int) -> None:
    pytest.importorskip('rclpy', reason='ROS 2 is not installed')
    process = start_module('player', tmp_path)
    assert process.stderr is not None and 'frames of' in process.stderr.readline()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and 'Traceback' not in err


def ask_player(domain: str, request: object) -> object:
    """Send a request to set parameters of the player and return the answer."""
    from rcl_interfaces.srv import SetParameters
    import rclpy
    from rclpy.context import Context
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.node import Node
    context = Context()
    rclpy.init(context=context, domain_id=int(domain))
    node = Node('asking', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    client = node.create_client(SetParameters, '/depth_anything_player/set_parameters')
    try:
        assert client.wait_for_service(60)
        future = client.call_async(request)
        executor.spin_until_future_complete(future, 60)
        return future.result()
    finally:
        node.destroy_node()
        rclpy.try_shutdown(context=context)


def test_the_player_answers_a_parameter_of_an_unknown_type_and_plays_on(tmp_path: Path) -> None:
    pytest.importorskip('rclpy', reason='ROS 2 is not installed')
    from rcl_interfaces.msg import Parameter, ParameterValue
    from rcl_interfaces.srv import SetParameters
    process = start_module('player', tmp_path)
    assert process.stderr is not None and 'frames of' in process.stderr.readline()
    answer = ask_player(str(64 + (os.getpid() + 9) % 36), SetParameters.Request(
        parameters=[Parameter(name='x', value=ParameterValue(type=77))]))
    assert not answer.results[0].successful
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and 'Traceback' not in err


def test_a_picture_that_disappears_is_named_once_and_the_player_plays_on(tmp_path: Path) -> None:
    """Of a long folder only the first pictures are kept in memory: here none but the first."""
    pytest.importorskip('rclpy', reason='ROS 2 is not installed')
    for name in ('1.png', '2.png', '3.png'):
        cv2.imwrite(str(tmp_path / name), np.zeros((48, 64, 3), np.uint8))
    code = ('import sys; from depth_anything_ros.demo import footage, player\n'
            'footage._KEPT_PICTURES = 1\n'
            "sys.exit(player.main(['--images', '.', '--rate', '100']))")
    process = subprocess.Popen(
        [sys.executable, '-c', code], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        env={**os.environ, 'ROS_DOMAIN_ID': str(64 + (os.getpid() + 9) % 36),
             'PYTHONPATH': str(Path(__file__).resolve().parents[2])})
    assert process.stderr is not None and 'frames of' in process.stderr.readline()
    (tmp_path / '2.png').unlink()
    assert '2.png' in process.stderr.readline()
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, '')


@pytest.mark.parametrize('option', ['--rate', '--width', '--height', '--focal'])
def test_a_size_or_rate_of_zero_is_wrong_usage(tmp_path: Path, option: str) -> None:
    pytest.importorskip('rclpy', reason='ROS 2 is not installed')
    process = start_module('player', tmp_path, option, '0')
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and f'{option} is 0; it must be above 0' in err


@pytest.mark.parametrize(('option', 'value', 'limit'), [
    ('--width', '100000', 'at most 8192'), ('--height', '100000', 'at most 8192'),
    ('--rate', '1e-12', 'at least 0.001')])
def test_a_size_or_rate_that_no_camera_has_is_wrong_usage(
        tmp_path: Path, option: str, value: str, limit: str) -> None:
    pytest.importorskip('rclpy', reason='ROS 2 is not installed')
    process = start_module('player', tmp_path, option, value)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and f'{option} is {value}; it must be {limit}' in err


def test_diagnostics_of_other_nodes_are_not_the_figures_of_the_demo() -> None:
    pytest.importorskip('rclpy', reason='ROS 2 is not installed')
    from depth_anything_ros.demo.main import Recording
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
    ours = DiagnosticStatus(name='depth_anything: depth', values=[KeyValue(key='a', value='1')])
    other = DiagnosticStatus(name='battery', values=[KeyValue(key='a', value='2')])
    recording = Recording(1.0)
    for status in ([], [other, ours], [other]):
        recording._on_diagnostics(DiagnosticArray(status=status))
    assert recording.diagnostics == {'a': '1'}


def test_the_player_needs_none_of_the_packages_of_the_tools() -> None:
    pytest.importorskip('rclpy', reason='ROS 2 is not installed')
    code = ("import sys; sys.modules['typer'] = sys.modules['rich'] = None\n"
            'from depth_anything_ros.demo.player import main; sys.exit(main())')
    run = subprocess.run([sys.executable, '-c', code, '--images', 'none'], capture_output=True,
                         text=True, timeout=60, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith('error: there is no folder none')
