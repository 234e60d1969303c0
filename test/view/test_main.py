"""The program as people start it: address, usage, errors, signals."""

from collections.abc import Iterator
import os
from pathlib import Path
import re
import signal
import socket
import subprocess
import sys
from typing import Any
import urllib.request

from depth_anything_ros.errors import DepthAnythingError
import pytest
pytest.importorskip('rclpy', reason='ROS 2 is not installed')
from rclpy.context import Context  # noqa: E402


def start(*arguments: str) -> 'subprocess.Popen[str]':
    """Start the program on a domain of this test run."""
    return subprocess.Popen(
        [sys.executable, '-m', 'depth_anything_ros.view.main', *arguments],
        env={**os.environ, 'ROS_DOMAIN_ID': str(64 + (os.getpid() + 11) % 36),
             'PYTHONPATH': str(Path(__file__).resolve().parents[2])},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: 'subprocess.Popen[str]') -> tuple[int, str, str]:
    """Return exit status, stdout and stderr."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_it_serves_the_page_on_this_machine_only_until_a_signal(number: int) -> None:
    pytest.importorskip('viser', reason='viser is not installed')
    process = start('--port', '0')
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.search(r'/depth_anything is shown on (http://127\.0\.0\.1:(\d+))', line)
    assert found, line
    with urllib.request.urlopen(found[1], timeout=20) as answer:
        page = answer.read().decode()
    assert 'viser' in page
    # Nothing is loaded from elsewhere: all scripts, styles and fonts are in the page.
    assert not re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="?https?:', page)
    with pytest.raises(OSError), socket.create_connection((own_address(), int(found[2])), 5):
        pass
    process.send_signal(number)
    assert finished(process) == (0, '', '')


def own_address() -> str:
    """Return another address of this machine than 127.0.0.1; skip the test without one."""
    address = socket.gethostbyname(socket.gethostname())
    if address.startswith('127.0.0.1'):
        # The whole network 127 is on this machine.
        return '127.0.0.2'
    return address


def test_a_port_in_use_is_one_line_with_the_remedy() -> None:
    pytest.importorskip('viser', reason='viser is not installed')
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = str(taken.getsockname()[1])
        status, _, err = finished(start('--port', port))
    assert status == 1
    assert f'error: 127.0.0.1:{port} cannot be listened on (Address already in use); choose' in err
    assert 'Traceback' not in err


def test_an_address_of_another_machine_is_one_line() -> None:
    pytest.importorskip('viser', reason='viser is not installed')
    status, _, err = finished(start('--host', '203.0.113.7', '--port', '0'))
    assert (status, 'Traceback' in err) == (1, False)
    assert 'error: 203.0.113.7:0 cannot be listened on (Cannot assign requested address)' in err


@pytest.mark.parametrize(('option', 'value'), [('--rate', '0'), ('--rate', '1e-12'),
                                               ('--port', '70000'), ('--points', '0')])
def test_an_impossible_value_is_wrong_usage(option: str, value: str) -> None:
    pytest.importorskip('viser', reason='viser is not installed')
    status, _, err = finished(start(option, value))
    assert status == 2 and f'{option} is {value}; it must be' in err


@pytest.mark.parametrize('name', ['', 'two words', 'a//b', 'a/', 'a/1', '<b>', 'x' * 240])
def test_an_impossible_name_of_the_node_is_one_line(context: Context, name: str) -> None:
    pytest.importorskip('viser', reason='viser is not installed')
    from depth_anything_ros.view.viewer import Viewer
    with pytest.raises(DepthAnythingError, match='--node is .*; give one such as'):
        Viewer(name, '127.0.0.1', 0, 10.0, 1000, context)


@pytest.mark.parametrize(('package', 'install'), [
    ('viser', "pip install 'depth_anything_ros[view]'"),
    ('rclpy', "source ROS 2, or pip install 'depth_anything_ros[jazzy]'")])
def test_a_missing_package_comes_with_the_line_that_installs_it(
        package: str, install: str) -> None:
    """The extra view has no ROS: what installs viser would not end the complaint about rclpy."""
    code = ('import sys, importlib.util as util; find = util.find_spec\n'
            f'util.find_spec = lambda name: None if name == {package!r} else find(name)\n'
            f'sys.modules[{package!r}] = None\n'
            'from depth_anything_ros.view.main import main; sys.exit(main([]))')
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert run.stderr == (f'error: depth_anything_view needs {package}, which is not installed: '
                          f'{install}\n')


def test_no_visitor_can_open_a_tunnel_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('viser', reason='viser is not installed')
    from depth_anything_ros.view.page import Page
    from page_client import PageClient
    from waiting import until
    opened: list[str] = []
    monkeypatch.setattr('viser._viser.ViserTunnel', lambda *args: opened.append('tunnel'))
    page = Page('/depth_anything', '127.0.0.1', 0)
    try:
        with PageClient(page.port) as browser:
            browser.send({'type': 'ShareUrlRequest'})
            page.set_cameras([''])
            # Answered after the request, by the same thread.
            browser.change('Image', False)
            assert until(lambda: ('', 'image') not in page.wanted())
        assert not opened
    finally:
        page.close()
        page.close()


@pytest.fixture
def page() -> Iterator[Any]:
    pytest.importorskip('viser', reason='viser is not installed')
    from depth_anything_ros.view.page import Page
    page = Page('/depth_anything', '127.0.0.1', 0)
    yield page
    page.close()


@pytest.mark.parametrize(('host', 'origin'), [
    ('127.0.0.1', 'http://evil.example'), ('rebound.example', 'http://rebound.example:{port}')])
def test_a_page_of_another_site_cannot_press_the_buttons(
        page: Any, host: str, origin: str) -> None:
    from tools.web.reader import page_options
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect
    with socket.create_connection(('127.0.0.1', page.port)) as connection, \
            pytest.raises(InvalidStatus) as refused:
        connect(f'ws://{host}:{page.port}', sock=connection, proxy=None,
                origin=origin.format(port=page.port), **page_options())
    assert refused.value.response.status_code == 403


def test_another_release_of_viser_that_cannot_refuse_other_sites_does_not_start() -> None:
    pytest.importorskip('viser', reason='viser is not installed')
    from depth_anything_ros.view.own_requests import own_requests_only
    with pytest.raises(DepthAnythingError, match='this release of viser cannot refuse'), \
            own_requests_only('127.0.0.1'):
        pass


def test_nonsense_from_a_visitor_leaves_the_page_to_others(
        page: Any, caplog: pytest.LogCaptureFixture) -> None:
    from page_client import PageClient
    from tools.web.reader import connect_to_page
    for nonsense in (b'', b'\xc1', b'\x91' * 3000, b'\x80', 'text'):
        connection = connect_to_page(page.port)
        connection.send(nonsense)
        connection.close()
    with PageClient(page.port) as browser:
        assert browser.label('points_stride')
        # More than 64 bits.
        browser.change('points_stride', 1e23)
        page.set_cameras([''])
        assert browser.label('Image')
    with PageClient(page.port) as browser:
        assert browser.label('points_stride')['value'] == 1e23
    assert 'Traceback' not in caplog.text


def test_cameras_that_replace_others_do_not_stand_in_the_same_place(page: Any) -> None:
    from page_client import PageClient
    from waiting import until
    page.set_cameras(['front', 'rear'])
    page.set_cameras(['rear', 'side'])
    with PageClient(page.port) as browser:
        assert until(lambda: {'/rear', '/side'} <= set(browser.shown))
        assert browser.shown['/rear']['position'][0] == 6
        assert browser.shown['/side'].get('position', (0, 0, 0))[0] == 0
