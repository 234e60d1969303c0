"""A small server on this machine that answers as the Hugging Face hub does."""

from collections.abc import Iterator
from contextlib import contextmanager
import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
import threading

COMMIT = 'c0ffee' + '0' * 34


def etag_of(name: str, content: bytes) -> str:
    """Return the sha256 of a large file, the git blob id of a small one, as the hub does."""
    if name.endswith('.json'):
        return hashlib.sha1(b'blob %d\0' % len(content) + content).hexdigest()
    return hashlib.sha256(content).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """
    Serves ``server.files``.

    The first ``server.torn`` bodies break off in the middle, once ``server.go_on`` is set; with
    ``server.torn_file`` only those of that file.
    """

    protocol_version = 'HTTP/1.1'
    server: 'HubServer'

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        parts = self.path.strip('/').split('/')
        if parts[:2] == ['api', 'models']:
            self.describe('/'.join(parts[2:4]))
        else:
            self.send_file('/'.join(parts[:2]), '/'.join(parts[4:]), body)

    def describe(self, repository: str) -> None:
        names = [name for owner, name in self.server.files if owner == repository]
        answer = json.dumps({
            'id': repository, 'sha': COMMIT, 'tags': self.server.tags,
            'siblings': [{'rfilename': name} for name in names]}).encode()
        self.send_response(200 if names else 404)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def send_file(self, repository: str, name: str, body: bool) -> None:
        content = self.server.files.get((repository, name))
        known = content is not None
        if known:
            self.server.requests.append((self.command, name, self.headers.get('Range')))
        whole = content or b''
        first = 0
        if wanted := self.headers.get('Range'):
            first = int(wanted.removeprefix('bytes=').split('-')[0])
        part = whole[first:]
        status = 401 if self.server.gated else 404 if not known else 206 if first else 200
        self.send_response(status)
        self.send_header('Content-Length', str(self.server.stated_size or len(part)))
        self.send_header('Accept-Ranges', 'bytes')
        if first:
            self.send_header('Content-Range', f'bytes {first}-{len(whole) - 1}/{len(whole)}')
        etag = self.server.etag or etag_of(name, whole)
        if name.endswith('.json'):
            self.send_header('ETag', f'"{etag}"')
        else:
            # A large file is kept elsewhere, where it has another ETag.
            self.send_header('ETag', '"of-the-storage"')
            self.send_header('X-Linked-ETag', f'"{etag}"')
            self.send_header('X-Linked-Size', str(self.server.stated_size or len(whole)))
        self.send_header('X-Repo-Commit', COMMIT)
        if self.server.gated:
            self.send_header('X-Error-Code', 'GatedRepo')
        elif not known:
            self.send_header('X-Error-Code', 'EntryNotFound')
        self.end_headers()
        torn = self.server.torn and self.server.torn_file in ('', name)
        if body and status < 300 and torn:
            self.server.torn -= 1
            self.wfile.write(part[:len(part) // 2])
            self.server.go_on.wait(60)
            self.close_connection = True
        elif body:
            self.wfile.write(part)

    def log_message(self, *args: object) -> None:
        """Print nothing."""


class HubServer(ThreadingHTTPServer):
    """
    The server.

    ``files`` maps (repository, file) to the content, ``requests`` collects command, file and
    range. ``etag`` and ``stated_size`` are false statements about every file; ``gated`` refuses
    every file to users who did not accept the terms.
    """

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Hub)
        self.files: dict[tuple[str, str], bytes] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.tags: list[str] = []
        self.torn = 0
        self.torn_file = ''
        self.go_on = threading.Event()
        self.go_on.set()
        self.etag = ''
        self.stated_size = 0
        self.gated = False

    @property
    def address(self) -> str:
        """Return what HF_ENDPOINT has to be."""
        return f'http://127.0.0.1:{self.server_port}'


@contextmanager
def running_hub() -> Iterator[HubServer]:
    """Run a hub without files."""
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
