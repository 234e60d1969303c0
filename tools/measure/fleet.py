"""
Measure ``depth_anything_run --ray`` on this machine, and write docs/figures/fleet.json.

``python -m tools.measure.fleet`` runs the model of the package on 640x480 pictures, plainly on two
cores, and by two workers with one core each, and takes about five minutes. It needs the extra
``fleet``. ``--only PART`` measures one part and keeps the figures of the others, ``--pictures N``
takes another number of pictures, ``--dry-run`` writes nothing.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
import os
from pathlib import Path
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import cv2
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.inference.devices import compile_options, open_core
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.resources import photographs, ROOT, shipped_model
from depth_anything_ros.vision.color_image import to_bgr
import numpy as np
from tools.measure.figures import read_figures, requote_pages, rounded, write_figures

COMMAND = 'python -m tools.measure.fleet'
_PICTURES, _ROUNDS, _FEW = 800, 3, 2
_SIZE_HW = (480, 640)
# Of the network, for images of that size.
_NETWORK_HW, _PHASE_S = (196, 266), 8.0
_STORE_BYTES = 200 * 2 ** 20

Figures = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return 0, or 1 with a sentence if that fails."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', choices=PARTS, action='append', metavar='PART',
                        help=f'one of {", ".join(PARTS)}; may be repeated')
    parser.add_argument('--pictures', type=int, default=_PICTURES, metavar='N')
    parser.add_argument('--dry-run', action='store_true', help='print the figures alone')
    options = parser.parse_args(arguments)
    figures: Figures = {}
    try:
        for name in options.only or PARTS:
            with tempfile.TemporaryDirectory() as folder:
                figures |= rounded(PARTS[name](Path(folder), options.pictures))
    except (DepthAnythingError, OSError, subprocess.SubprocessError, ImportError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    for name, value in figures.items():
        print(f'{name:28} {value:g}')
    if not options.dry_run:
        path = write_figures('fleet', COMMAND, figures, kept=read_figures('fleet'))
        print(f'wrote {path} and the pages that quote it')
        requote_pages()
    return 0


def run_figures(folder: Path, count: int) -> Figures:
    """
    Return the figures of the program, measured with ``count`` pictures in an empty folder.

    - ``ray_2_workers_ratio``: files/s with two workers ÷ those of the plain run on the same two
      cores, whole commands with their start; the median of alternating rounds.
    - ``ray_start_s``: what the command with --ray takes longer for two pictures: connecting,
      starting the workers, loading the model in each.
    - ``plain_files_s``, ``ray_files_s``: files per second of the whole commands.
    - ``files_lost``: pictures without a complete result after a worker was killed in the middle.
    - ``pictures``: the number of pictures.
    """
    write_pictures(folder / 'pictures', count)
    write_pictures(folder / 'few', _FEW)
    plain_s, fleet_s = [], []
    with two_machines() as address:
        few_s = [_seconds(folder, 'few', None), _seconds(folder, 'few', address)]
        for number in range(1, _ROUNDS + 1):
            plain_s.append(_seconds(folder, 'pictures', None))
            fleet_s.append(_seconds(folder, 'pictures', address))
            print(f'round {number}: plain {plain_s[-1]:.1f} s, two workers {fleet_s[-1]:.1f} s',
                  flush=True)
        lost = files_lost(folder, address)
    ratios = [plain / fleet for plain, fleet in zip(plain_s, fleet_s)]
    return {'ray_2_workers_ratio': statistics.median(ratios),
            'ray_start_s': few_s[1] - few_s[0],
            'plain_files_s': count / statistics.median(plain_s),
            'ray_files_s': count / statistics.median(fleet_s),
            'files_lost': lost, 'pictures': count}


def thread_figures(folder: Path, count: int) -> Figures:
    """
    Return what two processes compute together ÷ what one with all cores computes, images/s.

    - ``threads_pinned_ratio``: one thread each, pinned to cores as OpenVINO does it.
    - ``threads_free_ratio``: one thread each, not pinned: the workers of a fleet.
    - ``threads_all_ratio``: as many threads as cores each.
    """
    one = {'INFERENCE_NUM_THREADS': '1'}
    alone = _together(1, {})
    return {'threads_pinned_ratio': _together(2, one) / alone,
            'threads_free_ratio': _together(2, {**one, 'ENABLE_CPU_PINNING': 'NO'}) / alone,
            'threads_all_ratio': _together(2, {}) / alone}


def _together(processes: int, properties: Mapping[str, str]) -> float:
    """Return the images/s of processes that compute at the same time."""
    context = get_context('spawn')
    with context.Pool(processes) as pool:
        together = context.Manager().Barrier(processes)
        return sum(pool.starmap(_images_s, [(properties, together)] * processes))


def _images_s(properties: Mapping[str, str], together: Any) -> float:
    """Return the images/s of the model of the package with these compile options."""
    import openvino as ov
    core = open_core()
    graph = core.read_model(shipped_model())
    graph.reshape([1, 3, *_NETWORK_HW])
    compiled = core.compile_model(graph, 'CPU', {
        **compile_options(core, 'CPU', 'auto', 'THROUGHPUT'), **properties})
    queue = ov.AsyncInferQueue(compiled)
    image = np.random.default_rng(0).standard_normal((1, 3, *_NETWORK_HW), np.float32)
    together.wait()
    start_s, count = time.monotonic(), 0
    while time.monotonic() - start_s < _PHASE_S:
        queue.start_async({0: image})
        count += 1
    queue.wait_all()
    return count / (time.monotonic() - start_s)


def write_pictures(folder: Path, count: int) -> None:
    """Write JPEG files with crops of the photographs of the package."""
    folder.mkdir()
    photos = [to_bgr(read_picture(file)) for file in sorted(photographs().glob('*.jpg'))]
    rng = np.random.default_rng(0)
    for number in range(count):
        photo = photos[number % len(photos)]
        scale = rng.uniform(0.6, 1.0) * min(
            photo.shape[0] / _SIZE_HW[0], photo.shape[1] / _SIZE_HW[1])
        height, width = int(_SIZE_HW[0] * scale), int(_SIZE_HW[1] * scale)
        top = rng.integers(0, photo.shape[0] - height + 1)
        left = rng.integers(0, photo.shape[1] - width + 1)
        crop = photo[top:top + height, left:left + width]
        cv2.imwrite(str(folder / f'{number:05}.jpg'), cv2.resize(crop, _SIZE_HW[::-1]))


@contextmanager
def two_machines() -> Iterator[str]:
    """Yield the address of a Ray cluster of two machines with a CPU each, both on this one."""
    os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
    os.environ['PYTHONPATH'] = str(ROOT)
    from ray.cluster_utils import Cluster
    cluster: Any = Cluster(initialize_head=True, head_node_args={
        'num_cpus': 1, 'include_dashboard': False, 'object_store_memory': _STORE_BYTES})
    try:
        cluster.add_node(num_cpus=1, object_store_memory=_STORE_BYTES)
        yield cluster.address
    finally:
        cluster.shutdown()


def files_lost(folder: Path, address: str) -> float:
    """Return how many pictures have no complete result after a worker was killed."""
    names = [file.stem for file in (folder / 'pictures').iterdir()]
    outdir = folder / 'killed'

    def kill() -> bool:
        if not outdir.is_dir() or len(list(outdir.glob('*.png'))) < len(names) // 3:
            return False
        os.kill(_workers()[0], signal.SIGKILL)
        return True

    _seconds(folder, 'pictures', address, outdir, kill)
    return float(sum(cv2.imread(str(outdir / f'{name}.png')) is None for name in names))


def _seconds(folder: Path, pictures: str, address: str | None, outdir: Path | None = None,
             disturb: Callable[[], bool] = lambda: True) -> float:
    """Return how long the command takes; ``disturb`` is called until it returns true."""
    with tempfile.TemporaryDirectory(dir=folder) as other:
        command = [sys.executable, '-m', 'depth_anything_ros.run.main', '--input',
                   str(folder / pictures), '--outdir', str(outdir or other)]
        start_s = time.monotonic()
        with subprocess.Popen([*command, *(['--ray', address] if address else [])],
                              stdout=subprocess.DEVNULL) as process:
            disturbed = False
            while process.poll() is None:
                disturbed = disturbed or disturb()
                time.sleep(0.02)
        seconds = time.monotonic() - start_s
    if process.returncode or not disturbed:
        raise subprocess.CalledProcessError(process.returncode, command)
    return seconds


def _workers() -> list[int]:
    """Return the process ids of the workers."""
    found = []
    for folder in Path('/proc').iterdir():
        try:
            title = (folder / 'cmdline').read_bytes() if folder.name.isdecimal() else b''
        except OSError:
            continue
        if title.startswith(b'ray::DepthAnythingWorker'):
            found.append(int(folder.name))
    return sorted(found)


# Measures one part in an empty folder, with a number of pictures.
PARTS: dict[str, Callable[[Path, int], Figures]] = {'run': run_figures, 'threads': thread_figures}

if __name__ == '__main__':
    sys.exit(main())
