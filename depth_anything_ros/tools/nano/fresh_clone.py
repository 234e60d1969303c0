"""From ``git clone`` to pictures: what a newcomer waits for, by the clock on the wall."""

from collections.abc import Mapping, Sequence
import os
from pathlib import Path
import subprocess
import tempfile
import time

from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.tools.benchmarking.results import Say

# Of the caller's own environment, which a newcomer does not have.
_UNSET = ('MAKEFLAGS', 'PYTHONPATH', 'VENV', 'VIRTUAL_ENV')


def clone_to_pictures_s(repository: Path, say: Say) -> float:
    """
    Return the seconds that cloning and ``make demo`` take until it ends with pictures.

    The clone, of what is committed, goes into a temporary folder with nothing beside it, and pip
    starts with an empty cache. DepthAnythingError if a command fails or leaves no picture.
    """
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / 'checkout'
        environment = {name: value for name, value in os.environ.items() if name not in _UNSET}
        environment['PIP_CACHE_DIR'] = str(Path(folder) / 'pip')
        started = time.monotonic()
        _run(['git', 'clone', '--quiet', repository.as_uri(), str(checkout)], repository,
             environment, say)
        _run(['make', 'demo'], checkout, environment, say)
        seconds = time.monotonic() - started
        if not list((checkout / 'demo_output').glob('*.png')):
            raise DepthAnythingError('make demo wrote no picture into demo_output; run it in a '
                                     'fresh clone to see why')
        return seconds


def clone_conditions() -> dict[str, str]:
    """Return what the time depends on: the Python that make takes, the cores, pip's downloads."""
    python = os.environ.get('PYTHON', 'python3')
    found = subprocess.run([python, '--version'], capture_output=True, text=True, check=False)
    return {'python': found.stdout.strip(), 'cores': str(len(os.sched_getaffinity(0))),
            'pip': 'empty cache, nothing installed', 'clone': 'from the local disk'}


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str], say: Say) -> None:
    say(' '.join(command))
    status = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
    if status:
        raise DepthAnythingError(f'{" ".join(command)} failed with status {status}; the lines '
                                 'above say why')
