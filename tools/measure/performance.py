"""
Measure the speed and write docs/figures/performance.json, docs/performance.md and its pictures.

``python -m tools.measure.performance`` needs a folder ../shared with weights/ (a checkpoint),
images/ (photos, rgbd, sequence) and corpus/, and an idle machine. It runs the modes of
``depth_anything_benchmark``, ``tools.peers`` and ``tools.limit``; ``--only MODE`` runs one and
keeps the figures of the others.
"""

import argparse
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
import multiprocessing
from pathlib import Path
import sys
import tempfile
from typing import Any

import cv2
from depth_anything_ros.benchmark.report import as_dict, Report
from depth_anything_ros.cli.processes import dds_profile
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.resources import shipped_model
import numpy as np
from tools.measure.figures import FOLDER, read_content, requote_pages, ROOT, rounded, write_figures
from tools.measure.performance_page import MODES, write_page
from tools.shared_data import (
    CHECKPOINT_OVERRIDES, IMAGES, require_data, SEQUENCE, SHARED, write_int8_lists)

COMMAND = 'python -m tools.measure.performance'
_NAME = 'performance'
_PICTURES = ROOT / 'docs' / 'images'
_PREFIXED = ('box', 'box_profile', 'box_load', 'jpeg', 'demo', 'limit')
_UNPREFIXED = ('peak_fraction',)
_OF_THE_BOX = frozenset(('box', 'box_profile', 'box_load', 'jpeg', 'demo'))
_COLOR_STEP = 17
_PHASE_S, _NODE_ROUNDS, _BOX_ROUNDS = 6.0, 2, 5
_BOX_PHASE_S = 4.0
_BOX_RATE_HZ = 30.0


@dataclass(frozen=True)
class Inputs:
    """The checkpoint, the models that are made of it, and the images."""

    checkpoint: Path
    fp16: Path
    int8: Path
    photos: Path = IMAGES / 'photos'
    rgbd: Path = IMAGES / 'rgbd'


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write after each mode; 1 with a sentence if data is missing."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument('--only', choices=MODES, action='append', help='default: all')
    parser.add_argument('--models', type=Path, metavar='FOLDER', help='folder with fp16.xml and '
                        'int8.xml; missing ones are made and kept there')
    options = parser.parse_args(arguments)
    content = _content_so_far() if options.only else {'figures': {}, 'reports': {}}
    kept, measured = content['figures'], set[str]()
    try:
        with tempfile.TemporaryDirectory() as folder:
            modes = options.only or MODES
            inputs = None if _OF_THE_BOX.issuperset(modes) else make_inputs(
                options.models or Path(folder))
            for mode in modes:
                report = measure(mode, inputs)
                measured |= {figure_name(mode, name) for name in report.figures}
                content = with_report(content, mode, report, _PICTURES)
                print(f'wrote {_write(content, measured, kept)}', flush=True)
    except (DepthAnythingError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    requote_pages()
    return 0


def measure(mode: str, inputs: Inputs | None) -> Report:
    """
    Run one of MODES with the options that the documentation is measured with.

    The modes of the model of the package need no inputs.
    """
    if mode == 'box_load':
        from tools.measure.load import measure_load
        return measure_load(shipped_model(), _BOX_ROUNDS, _log)
    if mode == 'demo':
        from tools.measure.demo import measure_demo
        return measure_demo(shipped_model(), _BOX_ROUNDS, _log)
    if mode == 'jpeg':
        from tools.measure.jpeg import measure_jpeg
        return measure_jpeg(shipped_model(), IMAGES, _BOX_ROUNDS, _log)
    if mode in _OF_THE_BOX:
        with dds_profile(ROOT / 'config' / 'fastdds.xml' if mode == 'box_profile' else None):
            return _measure_box(mode)
    assert inputs is not None
    if mode == 'peers':
        from tools.peers.measure import measure_peers, PeersOptions
        return measure_peers(PeersOptions(inputs.checkpoint, (inputs.fp16, inputs.int8),
                                          inputs.photos), _log)
    if mode == 'node':
        from depth_anything_ros.benchmark.node import measure_node, NodeOptions
        return measure_node(NodeOptions(inputs.fp16, SEQUENCE, rounds=_NODE_ROUNDS,
                                        seconds=_PHASE_S), _log)
    from tools.limit.measure import LimitOptions, measure_limit
    return measure_limit(LimitOptions(inputs.fp16), _log)


def _measure_box(mode: str) -> Report:
    """Measure the node with the model of the package, and what Python and DDS need without it."""
    from depth_anything_ros.benchmark.bare_model import BareModel
    from depth_anything_ros.benchmark.node import measure_node, NodeOptions
    from tools.measure.relay import box_floor
    model = shipped_model()
    report = measure_node(NodeOptions(
        model, sizes=((480, 640),), rates_hz=(_BOX_RATE_HZ,), rounds=_BOX_ROUNDS,
        seconds=_BOX_PHASE_S, frames=0), _log)
    # A robot acts on the age at the arrival, which the figures of ViT-S leave out.
    figures = {name.replace('arrival_', 'age_'): value for name, value in report.figures.items()
               if not name.startswith('age_')}
    return replace(report, mode=mode, figures={
        **figures, **box_floor(model, _BOX_RATE_HZ, BareModel(model).threads)})


def with_report(content: Mapping[str, Any], mode: str, report: Report,
                pictures: Path) -> dict[str, Any]:
    """Return the content of performance.json with a report; its chart goes to ``pictures``."""
    found = as_dict(report)
    figures = rounded({figure_name(mode, name): value
                       for name, value in found.pop('figures').items() if value is not None})
    if report.draw is not None:
        picture = pictures / f'{_NAME}_{mode}.png'
        report.draw(picture)
        shrink_picture(picture)
        found['picture'] = picture.name
    found['settings'] = {name: text.replace(str(SHARED), '../shared')
                         for name, text in found['settings'].items()}
    reports = {**content['reports'], mode: found}
    return {'figures': {**content['figures'], **figures},
            'reports': {name: reports[name] for name in MODES if name in reports}}


def figure_name(mode: str, name: str) -> str:
    """Return the name of a figure, unique over all modes."""
    if mode not in _PREFIXED or name in _UNPREFIXED or name.startswith(f'{mode}_'):
        return name
    return f'{mode}_{name}'


def shrink_picture(path: Path) -> None:
    """Rewrite a PNG with sixteen levels per colour, which halves the size of a chart."""
    picture = cv2.imread(str(path))
    if picture is None:
        raise OSError(f'{path} is not a picture that OpenCV can read')
    levels = (np.round(picture / _COLOR_STEP) * _COLOR_STEP).astype(np.uint8)
    cv2.imwrite(str(path), levels, [cv2.IMWRITE_PNG_COMPRESSION, 9, cv2.IMWRITE_PNG_STRATEGY,
                                    cv2.IMWRITE_PNG_STRATEGY_DEFAULT])


def make_inputs(folder: Path, int8: bool = True) -> Inputs:
    """
    Return the inputs; another process makes missing models, so that PyTorch is not loaded here.

    Without ``int8`` the INT8 model, which takes much longer, is not made.
    """
    inputs = Inputs(require_data(), folder / 'fp16.xml', folder / 'int8.xml')
    missing = [path for path in (inputs.fp16, inputs.int8)[:1 + int8] if not path.is_file()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as process:
            process.submit(_make_models, inputs, missing).result()
    return inputs


def _make_models(inputs: Inputs, missing: Sequence[Path]) -> None:
    from depth_anything_ros.convert.conversion import convert, Job
    from depth_anything_ros.convert.quantize.quantize import quantize, QuantizeJob
    try:
        if inputs.fp16 in missing:
            convert(Job(inputs.checkpoint, inputs.fp16, 'fp16', CHECKPOINT_OVERRIDES))
        if inputs.int8 in missing:
            calibration, gate = write_int8_lists(inputs.int8.parent)
            quantize(QuantizeJob(inputs.fp16, inputs.int8, str(calibration),
                                 gate_images=str(gate)))
    except DepthAnythingError as error:
        # Errors whose constructor needs several facts cannot be pickled.
        raise DepthAnythingError(str(error)) from error


def _content_so_far() -> dict[str, Any]:
    exists = (FOLDER / f'{_NAME}.json').is_file()
    return read_content(_NAME) if exists else {'figures': {}, 'reports': {}}


def _write(content: Mapping[str, Any], measured: Collection[str], kept: Collection[str]) -> str:
    figures = {name: value for name, value in content['figures'].items() if name in measured}
    path = write_figures(_NAME, COMMAND, figures, content['reports'], kept)
    return f'{path} and {write_page(read_content(_NAME))}'


def _log(line: str) -> None:
    print(line, flush=True)


if __name__ == '__main__':
    sys.exit(main())
