"""Downloading from a hub, here a small server that answers like one."""

from collections.abc import Iterator
import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import threading

from depth_anything_ros.convert.download import (
    CHECKPOINT_FILES, DEFAULT_REPOSITORY, download_checkpoint)
from depth_anything_ros.errors import CheckpointError
import pytest

pytest.importorskip('huggingface_hub')

# The hub's client keeps what has come in pieces of 10 MB.
CONTENT = bytes(range(256)) * (25 * 4096)
ETAG = hashlib.sha256(CONTENT).hexdigest()
PATH = f'/{DEFAULT_REPOSITORY}/resolve/main/depth_anything_v2_vits.pth'


class Hub(BaseHTTPRequestHandler):
    """Serves one file at one address; the first ``server.torn`` bodies break off."""

    protocol_version = 'HTTP/1.1'
    server: 'HubServer'

    def do_HEAD(self) -> None:
        self.send_file(body=False)

    def do_GET(self) -> None:
        self.send_file(body=True)

    def send_file(self, body: bool) -> None:
        known = self.path == PATH
        if known:
            self.server.asked.append((self.command, self.headers.get('Range')))
        first = 0
        if asked := self.headers.get('Range'):
            first = int(asked.removeprefix('bytes=').split('-')[0])
        content = CONTENT[first:] if known else b''
        self.send_response((206 if first else 200) if known else 404)
        self.send_header('Content-Length', str(len(content)))
        if first:
            self.send_header('Content-Range', f'bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}')
        self.send_header('ETag', f'"{ETAG}"')
        self.send_header('X-Repo-Commit', '0' * 40)
        if not known:
            self.send_header('X-Error-Code', 'EntryNotFound')
        self.end_headers()
        if body and self.server.torn:
            self.server.torn -= 1
            self.wfile.write(content[:len(content) // 2])
            self.close_connection = True
        elif body:
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Print nothing."""


class HubServer(ThreadingHTTPServer):
    """The server, with the commands and ranges that it was asked for the file."""

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Hub)
        self.asked: list[tuple[str, str | None]] = []
        self.torn = 0


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Start the server and point HF_ENDPOINT at it."""
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv('HF_ENDPOINT', f'http://127.0.0.1:{server.server_port}/')
        for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
            monkeypatch.delenv(name, raising=False)
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the pauses that the hub's client makes between its tries."""
    monkeypatch.setattr('time.sleep', lambda seconds: None)


def test_names_of_files_follow_the_names_of_repositories() -> None:
    assert CHECKPOINT_FILES[DEFAULT_REPOSITORY] == 'depth_anything_v2_vits.pth'
    assert CHECKPOINT_FILES['depth-anything/Depth-Anything-V2-Metric-VKITTI-Large'] == (
        'depth_anything_v2_metric_vkitti_vitl.pth')


def test_downloads_the_checkpoint_from_the_endpoint_once(hub: HubServer, tmp_path: Path) -> None:
    path = download_checkpoint(DEFAULT_REPOSITORY, tmp_path)
    assert path == tmp_path / 'depth_anything_v2_vits.pth'
    assert path.read_bytes() == CONTENT
    assert download_checkpoint(DEFAULT_REPOSITORY, tmp_path) == path
    assert [command for command, _ in hub.asked].count('GET') == 1


@pytest.mark.usefixtures('impatient')
def test_a_download_that_breaks_off_is_continued(hub: HubServer, tmp_path: Path) -> None:
    hub.torn = 1
    assert download_checkpoint(DEFAULT_REPOSITORY, tmp_path).read_bytes() == CONTENT
    first, second = [asked for command, asked in hub.asked if command == 'GET']
    assert first is None and second is not None and second.startswith('bytes=10')


@pytest.mark.usefixtures('impatient')
def test_a_download_that_never_ends_leaves_no_checkpoint(hub: HubServer, tmp_path: Path) -> None:
    hub.torn = 10 ** 6
    with pytest.raises(CheckpointError, match='the download failed'):
        download_checkpoint(DEFAULT_REPOSITORY, tmp_path)
    assert not list(tmp_path.glob('*.pth'))


def test_a_file_that_the_hub_lacks_is_named_with_its_address(
        hub: HubServer, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match='V2-Base/resolve/main/.*_vitb.pth: the download '
                       'failed .*fetch that file by hand, put it into'):
        download_checkpoint('depth-anything/Depth-Anything-V2-Base', tmp_path)
    assert not list(tmp_path.glob('*.pth'))


@pytest.mark.usefixtures('impatient')
def test_without_a_network_it_says_what_to_do(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with HubServer() as closed:
        monkeypatch.setenv('HF_ENDPOINT', f'http://127.0.0.1:{closed.server_port}')
    with pytest.raises(CheckpointError, match='check the network, or fetch that file by hand'):
        download_checkpoint(DEFAULT_REPOSITORY, tmp_path)


def test_an_unknown_repository_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f'take one of {DEFAULT_REPOSITORY}'):
        download_checkpoint('somebody/something', tmp_path)
