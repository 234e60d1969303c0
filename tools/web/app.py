"""Starts ``depth_anything_app`` for tools: its address, and a picture over HTTP."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
import os
from pathlib import Path
import re
import subprocess
import sys
from typing import Any

from depth_anything_ros.cli.processes import stop
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.resources import ROOT, shipped_model

PROGRAM = (sys.executable, '-m', 'depth_anything_ros.app.main')


@contextmanager
def running_app(folder: Path, *options: str, program: Sequence[str] = PROGRAM,
                variables: Mapping[str, str] | None = None, stderr: int | None = None
                ) -> Iterator[tuple[str, 'subprocess.Popen[str]']]:
    """
    Yield the address of a page that runs in ``folder``, and its process.

    DepthAnythingError if it does not start. After the block it is ended as by Ctrl-C.
    """
    environment = {**os.environ, **({'PYTHONPATH': str(ROOT)} if program == PROGRAM else {}),
                   **(variables or {})}
    with subprocess.Popen([*program, *options, '--port', '0'], cwd=folder, text=True,
                          env=environment, stdout=subprocess.PIPE, stderr=stderr) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not (found := re.match(r'http://\S+', line)):
                raise DepthAnythingError('depth_anything_app did not start: '
                                         + (process.communicate()[1] or 'see the lines above'))
            yield found[0], process
        finally:
            stop(process)


class Visitor:
    """A visitor of the page without a browser."""

    def __init__(self, url: str, model: Path | None = None) -> None:
        from gradio_client import Client
        self._client: Any = Client(url, verbose=False, download_files=False)
        self._model = model or shipped_model()

    def depth(self, picture: Path) -> str:
        """Send a picture, wait for its depth and return the sentence below it."""
        from gradio_client import handle_file
        sentence: str = self._client.predict(
            handle_file(str(picture)), str(self._model), 0, 'CPU', 'spectral_r', 0, 100,
            api_name='/depth')[1]
        return sentence
