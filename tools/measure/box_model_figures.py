"""Figures of the model in the box: agreement with its teacher, measured depth, speed, INT8."""

from collections.abc import Mapping, Sequence
from functools import partial
import os
from pathlib import Path
import statistics
import subprocess
import tempfile
import time

from depth_anything_ros.benchmark.bare_model import BareModel
from depth_anything_ros.benchmark.ladder_accuracy import score_on
from depth_anything_ros.benchmark.ladder_steps import Config
from depth_anything_ros.benchmark.report import interleaved, Log, ratio, Spread
from depth_anything_ros.cli.progress import count_in_lines
from depth_anything_ros.errors import DepthAnythingError, ImageError
from depth_anything_ros.evaluate.compare import compare_models
from depth_anything_ros.evaluate.predictions import ModelOptions
from depth_anything_ros.inference.ir import read_model_info
from depth_anything_ros.media.rgbd_folder import open_folder, RgbdConfig, RgbdDataset
from depth_anything_ros.model_info import ExecutionPrecision
from depth_anything_ros.process import usable_cores
from depth_anything_ros.vision.depth import DepthRange
import numpy as np

Figures = dict[str, float]
Frames = Mapping[str, RgbdDataset]

TEACHER_SIZE = 518
_ROUNDS, _PHASE_S = 25, 0.7
# Of the frames of a moving camera.
_EVERY = 10
_FRAMES = {'rgbd': (RgbdConfig('rgb_*.png', 'depth_*.png', 1000.0, DepthRange(0.1, 10.0)), 1),
           'moving': (RgbdConfig('rgb_*.jpg', 'depth_*.png', 500.0, DepthRange(0.1, 80.0)),
                      _EVERY),
           'sequence': (RgbdConfig('rgb_*.jpg', 'depth_*.png', 1000.0, DepthRange(0.1, 10.0)),
                        _EVERY)}
_MOVING = ('moving', 'sequence')
# Variables of the caller that a new user does not have.
_UNSET = ('MAKEFLAGS', 'PYTHONPATH', 'VENV', 'VIRTUAL_ENV')


def teacher_figures(model: Path, teacher: Path, held_out: Sequence[Path], log: Log) -> Figures:
    """
    Return mean and 10th percentile of the rank correlation with the teacher over ``held_out``.

    ``rank_corr_teacher`` is over the JPEG files, on which earlier models were measured too,
    ``rank_corr_all`` over all. The model runs at its own input size, the teacher at 518, both in
    the precision that the device prefers. ImageError if a photograph fails or there are none.
    """
    if not any(file.suffix == '.jpg' for file in held_out):
        raise ImageError('the corpus lacks photographs in images/ whose number is divisible by '
                         'ten; name its folder with --corpus')
    ranks = rank_correlations(model, teacher, held_out, log)
    jpeg = [rank for name, rank in ranks.items() if name.endswith('.jpg')]
    everything = list(ranks.values())
    return {'rank_corr_teacher': statistics.fmean(jpeg),
            'rank_corr_teacher_p10': float(np.percentile(jpeg, 10)),
            'rank_corr_images': float(len(jpeg)),
            'rank_corr_all': statistics.fmean(everything),
            'rank_corr_all_p10': float(np.percentile(everything, 10)),
            'rank_corr_all_images': float(len(everything))}


def rank_correlations(model: Path, teacher: Path, photographs: Sequence[Path], log: Log,
                      options: ModelOptions | None = None) -> dict[str, float]:
    """Return the rank correlation of a model with its teacher by the name of the photograph."""
    found = compare_models(model, teacher, photographs, options or ModelOptions(),
                           ModelOptions(TEACHER_SIZE),
                           partial(count_in_lines, log, indent=''))
    log(f'compared {len(found.images)} of {len(photographs)} photographs')
    if found.failed:
        raise ImageError(f'{found.failed[0].name}: {found.failed[0].reason}')
    return {one.name: one.scores.rank_correlation for one in found.images}


def open_frames(images: Path) -> Frames:
    """
    Return the frames with measured depth below a folder by their name, all or every tenth.

    Those of a moving camera are rendered. DatasetError if a folder holds none.
    """
    frames = {}
    for name, (config, every) in _FRAMES.items():
        found = open_folder(images / name, config)
        frames[name] = RgbdDataset(config, found.pairs[::every])
    return frames


def depth_figures(model: Path, teacher: Path, frames: Frames, log: Log) -> Figures:
    """
    Return AbsRel and delta1 of the model and of its teacher, each fitted to measured depth.

    The model runs at its own input size in the precision that the device prefers, the teacher at
    518 in f32. ``moving_absrel`` is the mean over both moving cameras of the ratio of their
    AbsRel, ``delta1_share`` that over all frames of delta1. ImageError names a file that fails.
    """
    figures: Figures = {}
    for name, dataset in frames.items():
        for end, config in (('', Config('model', 0, model, 'auto')),
                            ('_teacher', Config('teacher', TEACHER_SIZE, teacher, 'f32'))):
            scores = score_on(dataset, config)
            figures[f'{name}_absrel{end}'] = scores.abs_rel
            figures[f'{name}_delta1{end}'] = scores.delta1
            log(f'{name}, {config.line}: AbsRel {scores.abs_rel:.3f}, delta1 {scores.delta1:.3f}')
    ratios = {f'{name}_{what}': figures[f'{name}_{what}'] / figures[f'{name}_{what}_teacher']
              for name in frames for what in ('absrel', 'delta1')}
    # The figure is the ratio, so the folder called moving has another name.
    for what in ('absrel', 'delta1'):
        for end in ('', '_teacher'):
            figures[f'flight_{what}{end}'] = figures.pop(f'moving_{what}{end}')
    return figures | {
        'moving_absrel': statistics.fmean(ratios[f'{name}_absrel'] for name in _MOVING),
        'delta1_share': statistics.fmean(ratios[f'{name}_delta1'] for name in frames)}


def speed_figures(model: Path, others: Mapping[str, tuple[Path, ExecutionPrecision]], log: Log,
                  rounds: int = _ROUNDS, phase_s: float = _PHASE_S) -> Figures:
    """
    Return the time of an inference relative to that of ``others``: median, lowest, highest round.

    Each model runs at its own input size for an image of 640x480, all alternately.
    """
    models = {'model': BareModel(model)} | {
        name: BareModel(path, precision=precision) for name, (path, precision) in others.items()}
    found = interleaved({name: partial(one.rate, phase_s) for name, one in models.items()},
                        rounds, log)
    figures: Figures = {}
    for name in others:
        figures |= _named(f'time_vs_{name}', ratio(found[name], found['model']))
    return figures


def int8_figures(model: Path, floating: Path, pictures: Path, log: Log) -> Figures:
    """
    Return how far an INT8 model is from the model in f32 with the same weights.

    ``pictures`` is a list of photographs that it was not calibrated on. ModelError if ``model`` is
    not INT8 or ``floating`` is.
    """
    from depth_anything_ros.convert.quantize.gate import Loss
    from depth_anything_ros.convert.quantize.images import inputs_of_own_size, read_pictures
    from depth_anything_ros.convert.quantize.measure import make_samples, measure
    from depth_anything_ros.errors import ModelError
    from depth_anything_ros.inference.devices import open_core
    from depth_anything_ros.inference.ir import read_model

    for path, is_int8 in ((model, True), (floating, False)):
        if (read_model_info(path).precision == 'int8') != is_int8:
            raise ModelError(path, 'it is not INT8' if is_int8 else 'it is INT8',
                             'name the IR in fp16 of the same weights with --floating')
    core = open_core()
    network, info = read_model(core, model)
    count = len(pictures.read_text(encoding='utf-8').split('\n'))
    images = inputs_of_own_size(read_pictures(str(pictures), None, count, log), info, 0)
    samples = make_samples(read_model(core, floating)[0], images)
    loss = Loss.of(measure(network, samples, info))
    log(f'INT8 against f32: {loss}')
    return {'int8_absrel_mean': loss.abs_rel_mean, 'int8_absrel_max': loss.abs_rel_max,
            'int8_pearson_min': loss.pearson_min}


def _named(name: str, spread: Spread) -> Figures:
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
    return {'python': found.stdout.strip(), 'cores': str(usable_cores()),
            'pip': 'empty cache, nothing installed', 'clone': 'from the local disk'}


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Log) -> None:
    log(' '.join(command))
    status = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
    if status:
        raise DepthAnythingError(f'{" ".join(command)} failed with status {status}; the lines '
                                 'above say why')
