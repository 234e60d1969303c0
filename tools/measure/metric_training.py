"""
Measure fine-tuning to metres; write docs/figures/metric_training.json and its pictures.

``python -m tools.measure.metric_training --work FOLDER`` needs a folder ../shared with
images/sequence and images/moving. It trains the model of the package with the first two thirds of
each and judges it on the last ones. Ctrl-C stops it, and the same command continues. Then ``--only
comparison`` compares ends of the network and ways to learn, on the validation images.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
import json
import math
from pathlib import Path
from statistics import fmean
import sys
from typing import TypeVar

import cv2
from depth_anything_ros.api import load_model
from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.cli.progress import count_in_lines
from depth_anything_ros.convert.sources.identity import Overrides
from depth_anything_ros.convert.sources.records import MetricRecord, read_metric_record
from depth_anything_ros.distill.curves import Entry, read_log
from depth_anything_ros.distill.dataset import LabelledImage
from depth_anything_ros.distill.job import NO_AUGMENTATION
from depth_anything_ros.distill.main import main as distill
from depth_anything_ros.distill.metric.bags import BagTopics
from depth_anything_ros.distill.metric.frame_fit import (
    fit_linear, see_crops, SeenCrops)
from depth_anything_ros.distill.metric.frames import collect_frames, Frame, FrameSelection
from depth_anything_ros.distill.metric.job import metric_recipe
from depth_anything_ros.distill.metric.objective import (
    extended_log, MetricObjective, MetricPair, MetricScale)
from depth_anything_ros.distill.metric.result import CONSTANT, DENSE, METRIC, predict_metres
from depth_anything_ros.distill.metric.split import split_frames
from depth_anything_ros.distill.metric.start import (
    begin_at, constant_fit, median_focal, open_start)
from depth_anything_ros.distill.students import Student
from depth_anything_ros.distill.trainer import Trainer
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.resources import ROOT
from depth_anything_ros.vision.accuracy import score_depth
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.colorize import color_table, colorize
from depth_anything_ros.vision.depth import DepthRange, metric_from_inverse
from depth_anything_ros.vision.geometry import Intrinsics
import numpy as np
from tools.measure.figures import read_figures, requote_pages, rounded, write_figures
from tools.shared_data import IMAGES
from torch import Tensor
from torch.nn import functional

COMMAND = 'python -m tools.measure.metric_training --work FOLDER'
_START = ROOT / 'models' / 'depth_anything_tiny.xml'
_HOLD_OUT, _ZOOM, _SEED = 0.333, 1.5, 0
_LIMITS = DepthRange(0.1, 20.0)
_SELECTION = FrameSelection(1, 384, _LIMITS, BagTopics())
_WAY_STEPS = 50
_COMPONENTS = (16, 32, 64)
_COUNTING = partial(count_in_lines, print)
Picture = TypeVar('Picture', F32, U8)
# Stored depth per metre and fx, fy, cx, cy of each folder.
_FOLDERS = {'sequence': (1000, (481.2, 480.0, 319.5, 239.5)),
            'moving': (500, (320.0, 320.0, 320.0, 240.0))}
_IMAGES = ROOT / 'docs' / 'images'


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, judge, print and write; return 0, or 1 with a sentence if something is missing."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument('--work', type=Path, metavar='FOLDER', required=True)
    parser.add_argument('--only', choices=('training', 'comparison'))
    options = parser.parse_args(arguments)
    if not (IMAGES / 'moving').is_dir():
        print(f'error: {IMAGES} lacks sequence and moving', file=sys.stderr)
        return 1
    figures: dict[str, float] = {}
    try:
        data = _descriptions(options.work)
        if options.only in (None, 'training'):
            if status := _train(options.work, data):
                return status
            figures |= _training_figures(options.work, data)
        if options.only in (None, 'comparison'):
            figures |= comparison_figures(options.work, data)
    except (DepthAnythingError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    figures = rounded(figures)
    for name, value in figures.items():
        print(f'{name:32} {value:g}')
    kept = read_figures('metric_training') if options.only else ()
    print(f'wrote {write_figures("metric_training", COMMAND, figures, kept=kept)}')
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
                    '--seed', str(_SEED), '--device', 'cpu'])


def _training_figures(work: Path, data: list[str]) -> dict[str, float]:
    model = work / 'metric.xml'
    record = read_metric_record(model.with_suffix('.pth'))
    assert record is not None
    tries = [work / 'metric.metric', *sorted((work / 'metric.metric').glob('try-*'))]
    best = tries[record.recipe['seed'] - _SEED]
    log = read_log(best / 'journal.jsonl')
    held_out = split_frames(_frames(work, data), _HOLD_OUT).held_out
    figures = _scores(model, held_out)
    _draw(model, held_out, _IMAGES / 'metric_training.png')
    # From the end of the labels to the last step.
    minutes = sum((one / 'state.pth').stat().st_mtime - (one / 'options.json').stat().st_mtime
                  for one in tries) / 60
    timed = {entry['step']: entry['seconds'] for entry in log if 'seconds' in entry}
    (_IMAGES / 'metric_curves.png').write_bytes((best / 'curves.png').read_bytes())
    return figures | _fit_figures(record) | {
        'images': record.images, 'held_out': record.held_out,
        'minutes': minutes, 'tries': len(tries), 'best_seed': record.recipe['seed'],
        'steps': max(entry['step'] for entry in log), 'best_step': _best_step(log),
        'seconds_per_step': max(timed.values()) / max(timed)}


def _best_step(log: Sequence[Entry]) -> int:
    """Return the first step whose weights had the smallest error on the validation images."""
    found: dict[int, float] = {entry['step']: entry['abs_rel'] for entry in reversed(log)
                               if 'abs_rel' in entry}
    return min(sorted(found), key=lambda step: found[step])


def _fit_figures(record: MetricRecord) -> dict[str, float]:
    """Return the scores of the fits, and how much better the new model is than one fit."""
    scores: Mapping[str, Mapping[str, float]] = record.figures
    return {
        'dense_fit_absrel': scores[DENSE]['abs_rel'], 'dense_fit_delta1': scores[DENSE]['delta1'],
        'constant_fit_absrel': scores[CONSTANT]['abs_rel'],
        'constant_fit_delta1': scores[CONSTANT]['delta1'],
        'gain_over_constant_fit': scores[CONSTANT]['abs_rel'] / scores[METRIC]['abs_rel']}


def _frames(work: Path, data: list[str]) -> list[Frame]:
    return collect_frames(data, work / 'metric.metric', _SELECTION, print, _COUNTING)


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
            zoomed.append(score_depth(depth_of(_centre(image, _ZOOM), frame.focal_xy),
                                      _centre(truth_m, _ZOOM), _LIMITS).abs_rel)
    found = fmean(one.abs_rel for one in full)
    return {
        'metric_absrel': found, 'metric_delta1': fmean(one.delta1 for one in full),
        'metric_rmse_m': fmean(one.rmse_m for one in full),
        **{f'metric_absrel_{name}': fmean(sources[source])
           for source, name in enumerate(_FOLDERS)},
        'zoomed_absrel': fmean(zoomed), 'focal_transfer': fmean(zoomed) / found}


def _centre(values: Picture, zoom: float) -> Picture:
    """Return the part [H / zoom, W / zoom] of an image or map that a longer lens shows."""
    rows, columns = (slice(round(side * (1 - 1 / zoom) / 2), round(side * (1 + 1 / zoom) / 2))
                     for side in values.shape[:2])
    return np.ascontiguousarray(values[rows, columns])


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


def comparison_figures(work: Path, data: list[str]) -> dict[str, float]:
    """Return the figures of the ends of a network and of the ways to learn."""
    split = split_frames(_frames(work, data), _HOLD_OUT)
    folder, = (work / 'metric.metric').glob('labels-*')
    training, validation = ([MetricPair(frame, LabelledImage(
        frame.image.path, folder / f'{frame.image.name}.npy')) for frame in part]
        for part in (split.training, split.validation))
    student = open_start(_START, Overrides()).student
    scale = MetricScale(median_focal(training + validation, student.input_spec), _LIMITS)
    crops = see_crops(student, training, (1, 1), scale, metric_recipe(1, student.input_spec),
                      'cpu', _COUNTING)
    print(json.dumps(figures := _head_figures(student, crops, validation, scale)), flush=True)
    return figures | _way_figures(crops, training, validation, scale)


def _head_figures(student: Student, crops: SeenCrops, validation: Sequence[MetricPair],
                  scale: MetricScale) -> dict[str, float]:
    """
    Return the AbsRel on the validation images of networks that end in different ways.

    Each scales and shifts the relative map by what the mean tokens show: ``inverse`` takes it as
    inverse depth, ``log`` as its logarithm, and ``sigmoid`` makes a share of twice the farthest
    depth of it, as the metric models of Depth Anything V2 do. Then those of single numbers of
    components for ``inverse``.
    """
    plain = replace(metric_recipe(1, student.input_spec), augmentation=NO_AUGMENTATION)
    whole = see_crops(student, validation, (1, 1), scale, plain, 'cpu', _COUNTING)
    farthest = 2 * _LIMITS.maximum_m
    ends: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
        'inverse': (lambda values: extended_log(values, scale.floor), lambda logs: logs.exp()),
        'log': (lambda values: values, lambda logs: logs),
        'sigmoid': (lambda values: functional.softplus(values) - math.log(farthest),
                    lambda logs: ((logs.exp() * farthest).clamp(min=1.01) - 1).log())}
    figures = {}
    for name, (end, inverse_end) in ends.items():
        weight, bias = fit_linear(crops, _line(crops, inverse_end), end)
        figures[f'head_{name}_absrel'] = _abs_rel(whole, whole.tokens @ weight.T + bias, end)
    for count in _COMPONENTS:
        weight, bias = fit_linear(crops, _line(crops, ends['inverse'][1]), ends['inverse'][0],
                                  [count])
        figures[f'components_{count}_absrel'] = _abs_rel(
            whole, whole.tokens @ weight.T + bias, ends['inverse'][0])
    return figures


def _line(crops: SeenCrops, inverse_end: Callable[[Tensor], Tensor]) -> tuple[float, float]:
    """Return the least squares line from the relative maps to what an end takes."""
    seen = crops.targets > 0
    slope, shift = np.polyfit(crops.values[seen].double().numpy(),
                              inverse_end(crops.targets[seen].log()).double().numpy(), 1)
    return float(slope), float(shift)


def _abs_rel(crops: SeenCrops, fits: Tensor, end: Callable[[Tensor], Tensor]) -> float:
    """Return the mean AbsRel of crops whose logarithm of the scale and shift are ``fits``."""
    log_scale, shift = fits[:, :, None].unbind(1)
    logs = end(crops.values * log_scale.exp() + shift)
    seen = crops.targets > 0
    errors = (crops.targets / logs.exp() - 1).abs().masked_fill(~seen, 0)
    return float((errors.sum(1) / seen.sum(1).clamp(min=1)).mean())


def _way_figures(crops: SeenCrops, training: Sequence[MetricPair],
                 validation: Sequence[MetricPair], scale: MetricScale) -> dict[str, float]:
    """
    Return the AbsRel on the validation images, also through the crop, of ways to learn metres.

    ``one_fit`` is one fit for all images and ``all`` trains all weights from there; ``frame_fit``
    fits scale and shift of each image, ``head`` and ``frame_fit_all`` train the head and all
    weights from there.
    """
    figures: dict[str, float] = {}
    for name, is_fitted, rates in (
            ('one_fit', False, None), ('all', False, (2e-5, 1e-4)), ('frame_fit', True, None),
            ('head', True, (0.0, 2e-5)), ('frame_fit_all', True, (5e-6, 2e-5))):
        student = open_start(_START, Overrides()).student
        network = student.network
        constant = constant_fit([*training, *validation], scale, network.input_spec)
        begin_at(network, constant)
        if is_fitted:
            weight, bias = fit_linear(crops, constant,
                                      lambda values: extended_log(values, scale.floor))
            network.depth_head.frame_fit.linear.load_state_dict({'weight': weight, 'bias': bias})
        if rates is not None:
            recipe = replace(metric_recipe(_WAY_STEPS, network.input_spec), encoder_rate=rates[0],
                             head_rate=rates[1])
            trainer = Trainer(student, recipe, [pair.labelled for pair in training],
                              objective=MetricObjective(training, (1, 1), scale, recipe, 0.1))
            for result in trainer.run():
                print(f'{name}: step {result.step}, loss {result.loss:.3f}', flush=True)
            network = trainer.result()
        network.eval()
        figures |= {f'way_{name}{ending}_absrel': fmean(score_depth(
            predict_metres(network, _centre(pair.labelled.read()[0], zoom), pair.frame.focal_xy,
                           scale), _centre(pair.frame.read_depth(), zoom), _LIMITS).abs_rel
            for pair in validation) for ending, zoom in (('', 1.0), ('_zoomed', _ZOOM))}
        print(json.dumps(figures), flush=True)
    return figures


if __name__ == '__main__':
    sys.exit(main())
