"""
Measure fine-tuning to metres; write docs/figures/metric_training.json and its pictures.

``python -m tools.measure.metric_training --work FOLDER`` needs a folder ../shared with
images/sequence and images/moving. It trains the model of the package with the first two thirds of
each and judges it on the last ones. Ctrl-C stops it, and the same command continues. ``--only
heads`` compares ways to end the network instead, with short trainings.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
import json
from pathlib import Path
from statistics import fmean
import sys

import cv2
from depth_anything_ros.api import load_model
from depth_anything_ros.arrays import F32, F64
from depth_anything_ros.cli.progress import count_in_lines
from depth_anything_ros.convert.sources.identity import Overrides
from depth_anything_ros.convert.sources.records import MetricRecord, read_metric_record
from depth_anything_ros.distill.curves import read_log
from depth_anything_ros.distill.dataset import LabelledImage
from depth_anything_ros.distill.main import main as distill
from depth_anything_ros.distill.metric.bags import BagTopics
from depth_anything_ros.distill.metric.frames import collect_frames, Frame, FrameSelection
from depth_anything_ros.distill.metric.job import metric_recipe
from depth_anything_ros.distill.metric.objective import (
    canonical_inverse, MetricObjective, MetricPair, MetricScale)
from depth_anything_ros.distill.metric.result import CONSTANT, DENSE, mean_abs_rel, METRIC
from depth_anything_ros.distill.metric.split import split_frames
from depth_anything_ros.distill.metric.start import (
    begin_at, full_view_focal, median_focal, open_start)
from depth_anything_ros.distill.trainer import Trainer
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.networks.models import InputSpec
from depth_anything_ros.resources import ROOT
from depth_anything_ros.vision.accuracy import score_depth
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.colorize import color_table, colorize
from depth_anything_ros.vision.depth import DepthRange, metric_from_inverse
from depth_anything_ros.vision.geometry import Intrinsics
import numpy as np
from tools.measure.figures import FOLDER, read_content, requote_pages, write_figures
from tools.shared_data import IMAGES
import torch
from torch import nn, Tensor

COMMAND = 'python -m tools.measure.metric_training --work FOLDER'
_START = ROOT / 'models' / 'depth_anything_tiny.xml'
_HOLD_OUT, _ZOOM, _STEPS, _SEED = 0.333, 1.5, 500, 0
_LIMITS = DepthRange(0.1, 20.0)
_SELECTION = FrameSelection(1, 384, _LIMITS, BagTopics())
_HEAD_STEPS = 50
# Stored depth per metre and fx, fy, cx, cy of each folder.
_FOLDERS = {'sequence': (1000, (481.2, 480.0, 319.5, 239.5)),
            'moving': (500, (320.0, 320.0, 320.0, 240.0))}
_IMAGES = ROOT / 'docs' / 'images'


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, judge, print and write; return 0, or 1 with a sentence if something is missing."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument('--work', type=Path, metavar='FOLDER', required=True)
    parser.add_argument('--only', choices=('training', 'heads'))
    options = parser.parse_args(arguments)
    if not (IMAGES / 'moving').is_dir():
        print(f'error: {IMAGES} lacks sequence and moving', file=sys.stderr)
        return 1
    known = FOLDER / 'metric_training.json'
    figures: dict[str, float] = read_content('metric_training')['figures'] if (
        known.is_file()) else {}
    try:
        data = _descriptions(options.work)
        if options.only != 'heads':
            if status := _train(options.work, data):
                return status
            figures |= _training_figures(options.work, data)
        if options.only != 'training':
            figures |= head_figures(options.work, data)
    except (DepthAnythingError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    figures = {name: float(f'{value:.4g}') for name, value in figures.items()}
    for name, value in figures.items():
        print(f'{name:32} {value:g}')
    print(f'wrote {write_figures("metric_training", COMMAND, figures)}')
    requote_pages()
    return 0


def _descriptions(work: Path) -> list[str]:
    """Return the descriptions of the folders, written into ``work`` where they are missing."""
    work.mkdir(parents=True, exist_ok=True)
    found = []
    for name, (scale, camera) in _FOLDERS.items():
        path = work / f'{name}.yaml'
        text = (f"folder: {IMAGES / name}\ncolor: 'rgb_*.jpg'\ndepth: 'depth_*.png'\n"
                f'depth_scale: {scale}\nmax_depth: {_LIMITS.maximum_m:g}\n'
                f'camera: {list(camera)}\n')
        if not path.is_file() or path.read_text(encoding='utf-8') != text:
            path.write_text(text, encoding='utf-8')
        found.append(str(path))
    return found


def _train(work: Path, data: list[str]) -> int:
    """Run the training as a user would and return its exit status; a finished one is kept."""
    model = work / 'metric.xml'
    if model.is_file():
        return 0
    return distill(['metric', str(_START), *data, '-o', str(model), '--hold-out', str(_HOLD_OUT),
                    '--steps', str(_STEPS), '--seed', str(_SEED), '--device', 'cpu'])


def _training_figures(work: Path, data: list[str]) -> dict[str, float]:
    model = work / 'metric.xml'
    record = read_metric_record(model.with_suffix('.pth'))
    assert record is not None
    log = read_log(work / 'metric.metric' / 'journal.jsonl')
    held_out = split_frames(_frames(work, data), _HOLD_OUT).held_out
    figures = _scores(model, held_out)
    _draw(model, held_out, _IMAGES / 'metric_training.png')
    seconds = max(entry.get('seconds', 0.0) for entry in log)
    steps = max(entry['step'] for entry in log)
    curves = work / 'metric.metric' / 'curves.png'
    (_IMAGES / 'metric_curves.png').write_bytes(curves.read_bytes())
    return figures | _fit_figures(record) | {
        'images': record.images, 'held_out': record.held_out,
        'minutes_on_two_cores': seconds / 60,
        'steps': steps, 'seconds_per_step': seconds / steps}


def _fit_figures(record: MetricRecord) -> dict[str, float]:
    """Return the scores of the fits, and how much better the new model is than one fit."""
    scores: Mapping[str, Mapping[str, float]] = record.figures
    return {
        'dense_fit_absrel': scores[DENSE]['abs_rel'], 'dense_fit_delta1': scores[DENSE]['delta1'],
        'constant_fit_absrel': scores[CONSTANT]['abs_rel'],
        'constant_fit_delta1': scores[CONSTANT]['delta1'],
        'gain_over_constant_fit': scores[CONSTANT]['abs_rel'] / scores[METRIC]['abs_rel']}


def _frames(work: Path, data: list[str]) -> list[Frame]:
    return collect_frames(data, work / 'metric.metric', _SELECTION, print,
                          partial(count_in_lines, print))


def _scores(model: Path, held_out: Sequence[Frame]) -> dict[str, float]:
    """Return the scores of the IR, also through a crop that has a longer focal length."""
    full, zoomed = [], []
    sources: dict[int, list[float]] = {}
    with load_model(model, device='CPU') as depth_model:
        def depth_of(image: cv2.typing.MatLike, focal_xy: tuple[float, float]) -> F32:
            size_hw = (image.shape[0], image.shape[1])
            camera = Intrinsics(*focal_xy, size_hw[1] / 2, size_hw[0] / 2, size_hw)
            inverse = depth_model.infer(np.ascontiguousarray(image, np.uint8))
            return np.minimum(metric_from_inverse(
                inverse, depth_model.focal_scale(camera), 0.0, np.inf),
                np.float32(_LIMITS.maximum_m))

        for frame in held_out:
            image, truth_m = to_bgr(read_picture(frame.image.path)), frame.read_depth()
            full.append(score_depth(depth_of(image, frame.focal_xy), truth_m, _LIMITS))
            sources.setdefault(frame.source, []).append(full[-1].abs_rel)
            height, width = truth_m.shape
            rows, columns = (slice(round(side * (1 - 1 / _ZOOM) / 2),
                                   round(side * (1 + 1 / _ZOOM) / 2)) for side in (height, width))
            zoomed.append(score_depth(depth_of(image[rows, columns], frame.focal_xy),
                                      truth_m[rows, columns], _LIMITS).abs_rel)
    found = fmean(one.abs_rel for one in full)
    return {
        'metric_absrel': found, 'metric_delta1': fmean(one.delta1 for one in full),
        'metric_rmse_m': fmean(one.rmse_m for one in full),
        **{f'metric_absrel_{name}': fmean(sources[source])
           for source, name in enumerate(_FOLDERS)},
        'zoomed_absrel': fmean(zoomed), 'focal_transfer': fmean(zoomed) / found}


def _draw(model: Path, held_out: Sequence[Frame], path: Path) -> None:
    """Draw images, measured depth and depth of the model, in the same colours for 0.5 to 10 m."""
    rows = []
    table = np.ascontiguousarray(color_table('turbo')[::-1])
    with load_model(model, device='CPU') as depth_model:
        for frame in held_out[20::40]:
            image, truth_m = to_bgr(read_picture(frame.image.path)), frame.read_depth()
            camera = Intrinsics(*frame.focal_xy, 0.0, 0.0, truth_m.shape)
            found_m = metric_from_inverse(depth_model.infer(image),
                                          depth_model.focal_scale(camera), 0.0, np.inf)
            colors = [colorize(np.log(one).astype(np.float32), np.log(0.5), np.log(10), table)
                      for one in (truth_m, found_m)]
            rows.append(np.concatenate([cv2.resize(one, (320, 240), interpolation=cv2.INTER_AREA)
                                        for one in (image, *colors)], axis=1))
    if not cv2.imwrite(str(path), np.concatenate(rows)):
        raise OSError(f'{path} cannot be written')


def head_figures(work: Path, data: list[str]) -> dict[str, float]:
    """
    Return the AbsRel after short trainings of networks that end in different ways.

    ``inverse`` is the end of the relative model, ``log`` the exponential of a logarithm, and
    ``sigmoid`` a share of the farthest depth, as in the metric models of Depth Anything V2. Each
    begins at its best fit to the training images.
    """
    frames = _frames(work, data)
    split = split_frames(frames, _HOLD_OUT)
    folder, = (work / 'metric.metric').glob('labels-*')
    pairs, judged = ([MetricPair(frame, LabelledImage(
        frame.image.path, folder / f'{frame.image.name}.npy')) for frame in part]
        for part in (split.training, split.validation))
    farthest = _LIMITS.maximum_m

    class Log(nn.Module):  # type: ignore[misc]

        def forward(self, values: Tensor) -> Tensor:
            return values.clamp(-8, 8).exp()

    class Sigmoid(nn.Module):  # type: ignore[misc]

        def forward(self, values: Tensor) -> Tensor:
            return 1 / (2 * farthest * torch.sigmoid(values).clamp(min=1e-4))

    def logit(inverse: F64) -> F64:
        share = np.clip(1 / inverse / (2 * farthest), 1e-4, 0.98)
        return np.log(share / (1 - share))

    heads: dict[str, tuple[Callable[[F64], F64], nn.Module | None]] = {
        'inverse': (lambda inverse: inverse, None), 'log': (np.log, Log()),
        'sigmoid': (logit, Sigmoid())}
    figures = {}
    for name, (transform, end) in heads.items():
        student = open_start(_START, Overrides()).student
        scale = MetricScale(median_focal(pairs, student.input_spec), _LIMITS)
        # A short warm-up needs small rates.
        recipe = replace(metric_recipe(_HEAD_STEPS, student.input_spec), encoder_rate=2e-5,
                         head_rate=1e-4)
        begin_at(student.network, _line(pairs, scale, student.network.input_spec, transform))
        if end is not None:
            student.network.depth_head.scratch.output_conv2[-1] = end
        trainer = Trainer(student, recipe, [pair.labelled for pair in pairs],
                          objective=MetricObjective(pairs, (1, 1), scale, recipe, 0.1))
        figures[f'head_{name}_start'] = mean_abs_rel(trainer.result(), judged[::4], scale)
        for result in trainer.run():
            print(f'{name}: step {result.step}, loss {result.loss:.3f}', flush=True)
        figures[f'head_{name}_absrel'] = mean_abs_rel(trainer.result(), judged[::4], scale)
        print(json.dumps(figures), flush=True)
    return figures


def _line(pairs: Sequence[MetricPair], scale: MetricScale, input_spec: InputSpec,
          transform: Callable[[F64], F64]) -> tuple[float, float]:
    """Return the least squares line from labels to transformed canonical inverse depth."""
    values, wanted = [], []
    for pair in pairs[::4]:
        _, label = pair.labelled.read()
        target = canonical_inverse(pair.frame.read_depth(), full_view_focal(
            pair.frame.focal_xy, label.shape, input_spec), scale)
        seen = np.flatnonzero(target)[::97]
        values.append(label.ravel()[seen].astype(np.float64))
        wanted.append(transform(target.ravel()[seen].astype(np.float64)))
    slope, shift = np.polyfit(np.concatenate(values), np.concatenate(wanted), 1)
    return float(slope), float(shift)


if __name__ == '__main__':
    sys.exit(main())
