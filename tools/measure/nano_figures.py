"""Figures of the small model: agreement with its teacher and measured depth, speed, set-up."""

from collections.abc import Mapping, Sequence
from functools import partial
import os
from pathlib import Path
import statistics
import subprocess
import tempfile
import time

from depth_anything_ros.benchmark.bare_model import BareModel
from depth_anything_ros.benchmark.ladder_steps import Config, open_truth, score_on
from depth_anything_ros.benchmark.report import interleaved, Log, ratio, Spread
from depth_anything_ros.cli.progress import count_in_lines
from depth_anything_ros.errors import DepthAnythingError, ImageError, ModelError
from depth_anything_ros.evaluate.compare import compare_models
from depth_anything_ros.evaluate.predictions import ModelOptions
import numpy as np

# Input sizes, in addition to that of the model.
RGBD_SIZES = (224, 384, 480)
_TEACHER_SIZE = 518

Figures = dict[str, float]
# Multiples of 14, which ViT-S needs, and of 32.
COMMON_SIZES = {'speed_vs_vits_bf16': 448, 'speed_vs_vits_bf16_224': 224}
CAMERA_HW = (480, 640)
_ROUNDS, _PHASE_S = 7, 2.0
# Variables of the caller that a new user does not have.
_UNSET = ('MAKEFLAGS', 'PYTHONPATH', 'VENV', 'VIRTUAL_ENV')


def teacher_figures(model: Path, teacher: Path, held_out: Sequence[Path],
                    learned: Sequence[Path], log: Log) -> Figures:
    """
    Return mean and 10th percentile of the rank correlation with the teacher over ``held_out``.

    Also returns the mean over photographs that the model ``learned`` from. The difference between
    the two means is what more photographs could gain; the rest to 1 is what a larger model or a
    longer training could gain. The model runs at its own input size, the teacher at 518, both in
    the precision that the device prefers. ImageError if a photograph fails or there are none.
    """
    if not (held_out and learned):
        raise ImageError('the corpus lacks photographs in images/ whose number is divisible by '
                         'ten, or others; name its folder with --corpus')
    ranks = _ranks(model, teacher, held_out, log)
    known = _ranks(model, teacher, learned, log)
    return {'rank_corr_teacher': statistics.fmean(ranks),
            'rank_corr_teacher_p10': float(np.percentile(ranks, 10)),
            'rank_corr_images': float(len(ranks)),
            'rank_corr_learned': statistics.fmean(known),
            'rank_corr_learned_images': float(len(known))}


def _ranks(model: Path, teacher: Path, photographs: Sequence[Path], log: Log) -> list[float]:
    found = compare_models(model, teacher, photographs, ModelOptions(),
                           ModelOptions(_TEACHER_SIZE),
                           partial(count_in_lines, log, indent=''))
    log(f'compared {len(found.images)} of {len(photographs)} photographs')
    if found.failed:
        raise ImageError(f'{found.failed[0].name}: {found.failed[0].reason}')
    return [one.scores.rank_correlation for one in found.images]


def rgbd_figures(model: Path, folder: Path, log: Log,
                 sizes: Sequence[int] = RGBD_SIZES) -> Figures:
    """
    Return AbsRel and delta1 on measured depth at the model's own input size and at ``sizes``.

    DatasetError if ``folder`` holds no pairs, ImageError names a file that fails.
    """
    dataset, figures = open_truth(folder), {}
    for size in (0, *sizes):
        scores = score_on(dataset, Config('nano', size, model, 'auto'))
        end = f'_{size}' if size else ''
        figures[f'rgbd_absrel{end}'] = scores.abs_rel
        figures[f'rgbd_delta1{end}'] = scores.delta1
        log(f'measured depth at {size or "its own size"}: AbsRel {scores.abs_rel:.3f}, delta1 '
            f'{scores.delta1:.3f}')
    return figures


def speed_figures(model: Path, vits: Path, log: Log, rounds: int = _ROUNDS,
                  phase_s: float = _PHASE_S) -> dict[str, float]:
    """
    Return inferences/s relative to ViT-S in bf16: median, lowest and highest round.

    Both run at network sizes that both accept, and on 640x480 each at its own input size.
    ModelError if they do not accept the same size.
    """
    figures: dict[str, float] = {}
    for name, size in COMMON_SIZES.items():
        log(f'both at {size}x{size}')
        figures |= _named(name, _ratio(_pair(model, vits, size), rounds, phase_s, log))
    log(f'each at its own input size for {CAMERA_HW[1]}x{CAMERA_HW[0]}')
    return figures | _named('speed_own_size', _ratio(_pair(model, vits, 0), rounds, phase_s, log))


def _pair(model: Path, vits: Path, size: int) -> tuple[BareModel, BareModel]:
    image_hw = (size, size) if size else CAMERA_HW
    one, other = BareModel(model, size, 'auto', image_hw), BareModel(vits, size, 'bf16', image_hw)
    if size and one.network_hw != other.network_hw:
        raise ModelError(model, f'it or {vits} does not run at {size}x{size}',
                         'measure models without a fixed size')
    return one, other


def _ratio(pair: tuple[BareModel, BareModel], rounds: int, phase_s: float, log: Log) -> Spread:
    runs = {name: partial(one.rate, phase_s) for name, one in zip(('nano', 'vits'), pair)}
    found = interleaved(runs, rounds, log)
    return ratio(found['nano'], found['vits'])


def _named(name: str, spread: Spread) -> dict[str, float]:
    return {name: spread.median, f'{name}_low': spread.low, f'{name}_high': spread.high}


def clone_to_pictures_s(repository: Path, log: Log) -> float:
    """
    Return the duration [s] of ``git clone`` and ``make demo``, which ends with pictures.

    The clone of the last commit is in an otherwise empty temporary folder, and the cache of pip is
    empty. DepthAnythingError if a command fails or there are no pictures.
    """
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / 'checkout'
        environment = {name: value for name, value in os.environ.items() if name not in _UNSET}
        environment['PIP_CACHE_DIR'] = str(Path(folder) / 'pip')
        started = time.monotonic()
        _run(['git', 'clone', '--quiet', repository.as_uri(), str(checkout)], repository,
             environment, log)
        _run(['make', 'demo'], checkout, environment, log)
        seconds = time.monotonic() - started
        if not list((checkout / 'demo_output').glob('*.png')):
            raise DepthAnythingError('make demo wrote no picture into demo_output; run it in a '
                                     'fresh clone to see why')
        return seconds


def clone_conditions() -> dict[str, str]:
    """Return the conditions of the clone: Python of ``make``, cores, caches."""
    python = os.environ.get('PYTHON', 'python3')
    found = subprocess.run([python, '--version'], capture_output=True, text=True, check=False)
    return {'python': found.stdout.strip(), 'cores': str(len(os.sched_getaffinity(0))),
            'pip': 'empty cache, nothing installed', 'clone': 'from the local disk'}


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Log) -> None:
    log(' '.join(command))
    status = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
    if status:
        raise DepthAnythingError(f'{" ".join(command)} failed with status {status}; the lines '
                                 'above say why')
