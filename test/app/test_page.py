"""The page over HTTP: results equal to those of ``depth_anything_run``, visitors, errors, end."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
import os
from pathlib import Path
import re
import signal
import socket
import struct
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zlib

from app_pages import running_page, save_picture, write_video
import cv2
from depth_anything_ros.app import server
from depth_anything_ros.app.main import main as app_main
from depth_anything_ros.resources import ROOT
from depth_anything_ros.run.main import main as run_main
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest
from tiny import weighted_sum
from tools.web.app import running_app

pytest.importorskip('typer')
gradio_client = pytest.importorskip('gradio_client')
pytest.importorskip('gradio')

LOOK = ('spectral_r', 0, 100)
CAMERA = (75, 0, 0, 0, 0)


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio's client leaves an empty folder for each file that it downloads."""
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))


class Visitor:
    """A visitor of the page, whose results the page keeps apart from those of others."""

    def __init__(self, url: str, model: Path, folder: Path) -> None:
        self.client = gradio_client.Client(url, verbose=False, download_files=str(folder))
        self.model = model

    def depth(self, picture: Path, model: Path | None = None, look: tuple = LOOK) -> str:
        """Compute a picture and return what the page says about it."""
        return self.client.predict(
            gradio_client.handle_file(str(picture)), str(model or self.model), 0, 'CPU', *look,
            api_name='/depth')[1]

    def files(self, look: tuple = LOOK, camera: tuple = CAMERA) -> list[Path]:
        """Return the downloads of the last picture and the cloud of the 3-D view."""
        return [Path(path['value'] if isinstance(path, dict) else path)
                for path in self.client.predict(*look, *camera, api_name='/files')]

    def compare(self, picture: Path, other: Path) -> tuple:
        """Compute a picture with two models."""
        return self.client.predict(
            gradio_client.handle_file(str(picture)), str(self.model), 0, 'CPU', str(other), 56,
            'CPU', api_name='/compare')

    def video(self, video: Path) -> tuple:
        """Compute a video; return its last frame, the file and what the page says."""
        return self.client.predict(
            gradio_client.handle_file(str(video)), str(self.model), 0, 'CPU', 'magma', True,
            api_name='/video')

    def ask_for_video(self, video: Path) -> None:
        """Ask for a video of a page that ends before it answers."""
        with suppress(Exception):
            self.video(video)


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the page runs in."""
    return tmp_path_factory.mktemp('app')


@pytest.fixture(scope='module')
def url(folder: Path, tiny_ir: Path) -> Iterator[str]:
    """Return the address of a page, which ends by Ctrl-C and leaves nothing behind."""
    with running_page(folder, tiny_ir) as (address, program):
        yield address
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=30)
    assert program.returncode == 130 and 'Traceback' not in err, err
    assert list((folder / 'temporary').iterdir()) == []
    assert [path.name for path in folder.iterdir()] == ['temporary']
    assert not list((ROOT / 'depth_anything_ros' / 'app').glob('*.pyi'))


@pytest.fixture
def visit(url: str, tiny_ir: Path, tmp_path: Path) -> Callable[[], Visitor]:
    """Return a function that makes a new visitor."""
    return lambda: Visitor(url, tiny_ir, tmp_path / 'downloads')


def test_downloads_are_equal_to_the_files_of_depth_anything_run(
        visit: Callable[[], Visitor], tiny_ir: Path, tmp_path: Path) -> None:
    picture = save_picture(tmp_path / 'scene.png', 1)
    visitor = visit()
    sentence = visitor.depth(picture)
    assert re.fullmatch(r'tiny \(relative, fp32\) on CPU in f32, network input 140×112: \d+ ms',
                        sentence)
    found = visitor.files()
    assert [path.name for path in found] == [
        'scene_color.png', 'scene_gray.png', 'scene_16bit.png', 'scene.npy', 'scene.ply',
        'scene.glb']
    for path, options in zip(found, (
            ['--pred-only'], ['--pred-only', '--grayscale'], ['--format', 'png16'],
            ['--format', 'npy'], ['--format', 'ply', '--fov', '75'])):
        outdir = tmp_path / f'run_{path.name}'
        assert run_main([str(tiny_ir), '--input', str(picture), '--precision', 'f32', '--outdir',
                         str(outdir), *options]) == 0
        expected, = outdir.iterdir()
        assert path.read_bytes() == expected.read_bytes(), path.name
    assert_allclose(np.load(found[3]), weighted_sum(cv2.imread(str(picture))), atol=1e-4)


def test_the_colour_range_and_own_intrinsics_change_the_files(
        visit: Callable[[], Visitor], tmp_path: Path) -> None:
    visitor = visit()
    visitor.depth(save_picture(tmp_path / 'a.png', 2))
    gray, narrow = (cv2.imread(str(visitor.files(look)[0]), 0)
                    for look in (('gray', 0, 100), ('gray', 40, 60)))
    assert_allclose(narrow, np.clip((gray / 255 - 0.4) / 0.2, 0, 1) * 255, atol=6)
    points = {}
    for focal in (100.0, 200.0):
        ply = visitor.files(camera=(60, focal, focal, 69.5, 55.5))[4].read_bytes()
        data = np.frombuffer(ply.split(b'end_header\n')[1], [('xyz', '<f4', 3), ('rgb', 'u1', 3)])
        points[focal] = data['xyz']
    assert_allclose(points[100.0][:, :2], 2 * points[200.0][:, :2], rtol=1e-5)
    assert_array_equal(points[100.0][:, 2], points[200.0][:, 2])


def test_visitors_at_the_same_time_get_the_depth_of_their_own_picture(
        visit: Callable[[], Visitor], tmp_path: Path) -> None:
    def stay(seed: int) -> None:
        visitor = visit()
        for number in range(3):
            picture = save_picture(tmp_path / f'{seed}_{number}.png', 10 * seed + number)
            visitor.depth(picture)
            depth = visitor.files()[3]
            assert depth.name == f'{seed}_{number}.npy'
            assert_allclose(np.load(depth), weighted_sum(cv2.imread(str(picture))), atol=1e-4)

    with ThreadPoolExecutor() as pool:
        list(pool.map(stay, range(3)))


def test_two_models_are_compared_with_their_times(
        visit: Callable[[], Visitor], make_ir: Callable[..., Path], tmp_path: Path) -> None:
    first, second, one, two = visit().compare(save_picture(tmp_path / 'a.png', 3),
                                              make_ir(slow_layers=2))
    assert 'input 140×112: ' in one and 'input 70×56: ' in two
    assert cv2.imread(first, -1).shape == cv2.imread(second, -1).shape == (112, 140, 3)


def large_picture() -> bytes:
    """Return a PNG that says that it has 400 megapixels."""
    def chunk(name: bytes, data: bytes) -> bytes:
        return (struct.pack('>I', len(data)) + name + data
                + struct.pack('>I', zlib.crc32(name + data)))
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 20000, 20000, 8, 2, 0,
                                                              0, 0))
            + chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b''))


def test_broken_files_and_wrong_choices_are_answered_with_a_sentence(
        visit: Callable[[], Visitor], tmp_path: Path) -> None:
    visitor = visit()
    good = save_picture(tmp_path / 'good.png', 4)
    broken, large, page, noise, still = (tmp_path / name for name in (
        'broken.png', 'large.png', 'page.jpg', 'noise.mp4', 'still.mp4'))
    # OpenCV reads a picture as a video of one frame.
    still.write_bytes(cv2.imencode('.png', np.zeros((6000, 9000), np.uint8))[1].tobytes())
    noise.write_bytes(b'no video' * 100)
    broken.write_bytes(good.read_bytes()[:-200])
    large.write_bytes(large_picture())
    page.write_text('<!DOCTYPE html><html></html>')
    for expected, call in (
            ('the PNG is incomplete: it breaks off after', lambda: visitor.depth(broken)),
            ('20000x20000 pixels by its header, which is more than 50 megapixels',
             lambda: visitor.depth(large)),
            ('it is a web page, not the file itself', lambda: visitor.depth(page)),
            ('there is no such file', lambda: visitor.depth(good, tmp_path / 'none.xml')),
            ('colour range', lambda: visitor.depth(good, look=('gray', 60, 40))),
            (r'^noise\.mp4 is damaged, or this OpenCV', lambda: visitor.video(noise)),
            (r'^still\.mp4 has 9000x6000 pixels by its header, which is more than 50 mega',
             lambda: visitor.video(still))):
        with pytest.raises(gradio_client.exceptions.AppError, match=expected):
            call()
    assert visitor.depth(good).startswith('tiny (relative')


@pytest.mark.parametrize(('place', 'value', 'message'), [
    (0, 5, 'a value is missing or of the wrong type'), (1, 5, 'Model, or path of an .xml: 5'),
    (1, None, 'wrong type'), (2, 'x', 'wrong type'), (3, ['CPU'], 'wrong type'),
    (3, 'TPU', 'TPU is not in the list'), (4, None, 'Colour map: None'), (5, 'x', 'wrong type')])
def test_values_of_the_wrong_type_are_answered_with_a_sentence(
        visit: Callable[[], Visitor], tmp_path: Path, place: int, value: object,
        message: str) -> None:
    """The fixture ``url`` finds a traceback in the terminal."""
    visitor = visit()
    values = [gradio_client.handle_file(str(save_picture(tmp_path / 'a.png', 4))),
              str(visitor.model), 0, 'CPU', *LOOK]
    values[place] = value
    with pytest.raises(gradio_client.exceptions.AppError, match=message):
        visitor.client.predict(*values, api_name='/depth')


@pytest.mark.parametrize(('path', 'body', 'status'), [
    ('call/depth', b'{"data": [1]}', 200), ('run/depth', b'{"data": [NaN]}', 500),
    ('call/nothing', b'{"data": []}', 500), ('call/v2/depth', b'{"wrong": 1}', 500),
    ('call/depth', b'{"data":', 422)])
def test_requests_that_gradio_does_not_understand_have_a_status_and_no_traceback(
        url: str, path: str, body: bytes, status: int) -> None:
    request = urllib.request.Request(f'{url}/gradio_api/{path}', body,
                                     {'Content-Type': 'application/json'})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = answer.status
    except urllib.error.HTTPError as error:
        found = error.code
    assert found == status


def test_files_of_this_machine_and_of_others_that_nobody_uploaded_are_not_read(
        url: str, visit: Callable[[], Visitor], tmp_path: Path) -> None:
    picture, visitor = save_picture(tmp_path / 'private.png', 5), visit()
    # Gradio would fetch it.
    address = {'path': f'{url}/favicon.ico', 'meta': {'_type': 'gradio.FileData'}}
    for name, others in (('/depth', LOOK), ('/compare', (str(visitor.model), 0, 'CPU'))):
        # Gradio checks only the paths of files with its mark.
        for file in ({'path': str(picture)}, address, [{'picture': address}]):
            with pytest.raises(gradio_client.exceptions.AppError, match='was not sent to this pa'):
                visitor.client.predict(file, str(visitor.model), 0, 'CPU', *others, api_name=name)


@pytest.mark.parametrize('headers', [
    {'Origin': 'http://evil.example'}, {'Host': 'rebound.example'}])
def test_pages_of_other_sites_are_not_answered(url: str, headers: dict[str, str]) -> None:
    for path in ('', '/config', '/gradio_api/upload'):
        with pytest.raises(urllib.error.HTTPError, match='403'):
            urllib.request.urlopen(urllib.request.Request(url + path, headers=headers), timeout=30)


def test_a_page_listens_on_ipv6(tmp_path: Path, tiny_ir: Path) -> None:
    """Also where a proxy, which has no way to this machine, is in the environment."""
    try:
        socket.create_server(('::1', 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip('there is no IPv6')
    with running_app(tmp_path, str(tiny_ir), '--precision', 'f32', '--host', '::1',
                     variables={'http_proxy': 'http://127.0.0.1:9'}) as (url, _):
        assert url.startswith('http://[::1]:')
        assert urllib.request.urlopen(url, timeout=30).status == 200


def test_a_port_that_is_taken_while_the_model_loads_is_named(
        tiny_ir: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        ask = iter([lambda host, port: port, server.listening_port])
        monkeypatch.setattr(server, 'listening_port', lambda *address: next(ask)(*address))
        monkeypatch.setattr(server.os, 'environ', dict(os.environ))
        assert app_main([str(tiny_ir), '--precision', 'f32', '--port', str(port)]) == 1
    assert capsys.readouterr().err == (
        f'error: 127.0.0.1:{port} cannot be listened on (Address already in use); choose another '
        '--port, or an address of this machine as --host\n')


def test_a_video_comes_back_as_mp4(visit: Callable[[], Visitor], tmp_path: Path) -> None:
    still, file, sentence = visit().video(write_video(tmp_path / 'drive.mp4', 7))
    assert re.fullmatch(r'7 frames in \d+\.\d s \(\d+\.\d/s\)', sentence)
    path = Path(file['value'] if isinstance(file, dict) else file)
    assert path.name == 'drive_depth.mp4'
    video = cv2.VideoCapture(str(path))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 7
    assert video.read()[1].shape == cv2.imread(still, -1).shape == (112, 140, 3)


def test_the_page_loads_nothing_from_other_servers(url: str) -> None:
    html = urllib.request.urlopen(url, timeout=30).read().decode()
    loaded = re.findall(r'(?:src|href)="([^"]*)"|url\(([^)]*)\)|@import "([^"]*)"', html)
    addresses = [address for found in loaded for address in found if address]
    assert addresses
    assert [address for address in addresses
            if re.match(r'["\']?(?:https?:)?//', address) and not address.startswith(url)] == []
    assert 'fonts.googleapis' not in html and 'is_share":true' not in html


@pytest.fixture
def with_hangup() -> Iterator[None]:
    """Give programs SIGHUP, although the tests may run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_program_that_computes_a_video(
        make_ir: Callable[..., Path], tmp_path: Path, with_hangup: None,
        number: signal.Signals) -> None:
    """SIGHUP comes when the terminal is closed."""
    model = make_ir(slow_layers=40)
    video = write_video(tmp_path / 'long.mp4', 400)
    folder = tmp_path / 'run'
    folder.mkdir()
    with running_page(folder, model) as (url, program):
        visitor = Visitor(url, model, tmp_path / 'downloads')
        # The answer never comes, and the client waits for it a while.
        threading.Thread(target=visitor.ask_for_video, args=(video,), daemon=True).start()
        deadline = time.monotonic() + 60
        while not list((folder / 'temporary').rglob('long_depth.mp4')):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        program.send_signal(number)
        status = program.wait(timeout=60)
        assert status == 128 + number, program.communicate()[1]
        assert list((folder / 'temporary').iterdir()) == []
