"""
Measure the speed and write docs/figures/performance.json, docs/performance.md and its pictures.

``python -m tools.measure.performance``, beside a folder ../shared with weights/
(a checkpoint), images/ (photos, rgbd, sequence) and corpus/. Runs the modes of
``depth_anything_benchmark`` on a quiet machine; ``--only MODE`` runs one anew and keeps what the
others found.
"""

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
import multiprocessing
from pathlib import Path
import sys
import tempfile
from typing import Any

import cv2
from depth_anything_ros.benchmark.report import as_dict
from depth_anything_ros.benchmark.results import Report
from depth_anything_ros.errors import DepthAnythingError
import numpy as np
from tools.measure.figures import FOLDER, read_content, requote_pages, ROOT, write_figures
from tools.measure.int8_model import IMAGES, list_images, make_int8, require_data
from tools.measure.performance_page import MODES, write_page
from tools.shared_data import SEQUENCE, SHARED

COMMAND = 'python -m tools.measure.performance'
_NAME = 'performance'
_PICTURES = ROOT / 'docs' / 'images'
_PREFIXED, _UNPREFIXED = ('ladder', 'limit'), ('peak_fraction',)
_COLOR_STEP = 17
_PHASE_S, _NODE_ROUNDS, _LADDER_ROUNDS = 6.0, 2, 2


@dataclass(frozen=True)
class Inputs:
    """The weights that are measured, the models made of them, and the images."""

    checkpoint: Path
    fp16: Path
    int8: Path
    photos: Path = IMAGES / 'photos'
    rgbd: Path = IMAGES / 'rgbd'


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write after each mode; 1 with a sentence where something is missing."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument('--only', choices=MODES, action='append', help='default: all')
    parser.add_argument('--models', type=Path, metavar='FOLDER', help='take fp16.xml and int8.xml '
                        'from here, or leave them here where they are missing')
    options = parser.parse_args(arguments)
    content = _content_so_far() if options.only else {'figures': {}, 'reports': {}}
    try:
        with tempfile.TemporaryDirectory() as folder:
            inputs = _make_inputs(options.models or Path(folder))
            for mode in options.only or MODES:
                content = with_report(content, mode, measure(mode, inputs), _PICTURES)
                print(f'wrote {_write(content)}', flush=True)
    except (DepthAnythingError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    requote_pages()
    return 0


def measure(mode: str, inputs: Inputs) -> Report:
    """Run one of MODES with the options of the documentation."""
    if mode == 'peers':
        from tools.peers.measure import measure_peers, PeersOptions
        return measure_peers(PeersOptions(inputs.checkpoint, (inputs.fp16, inputs.int8),
                                          inputs.photos), _say)
    if mode == 'node':
        from depth_anything_ros.benchmark.node import measure_node, NodeOptions
        return measure_node(NodeOptions(inputs.fp16, SEQUENCE, rounds=_NODE_ROUNDS,
                                        seconds=_PHASE_S), _say)
    if mode == 'ladder':
        from depth_anything_ros.benchmark.ladder import LadderOptions, measure_ladder
        return measure_ladder(LadderOptions((inputs.fp16, inputs.int8), inputs.photos,
                                            inputs.rgbd, rounds=_LADDER_ROUNDS), _say)
    from tools.limit.measure import LimitOptions, measure_limit
    return measure_limit(LimitOptions(inputs.fp16), _say)


def with_report(content: Mapping[str, Any], mode: str, report: Report,
                pictures: Path) -> dict[str, Any]:
    """Return the content of performance.json with a report, whose picture goes to ``pictures``."""
    found = as_dict(report)
    figures = {figure_name(mode, name): float(f'{value:.4g}')
               for name, value in found.pop('figures').items() if value is not None}
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
    """Return the name of a figure among those of all modes."""
    if mode not in _PREFIXED or name in _UNPREFIXED or name.startswith(f'{mode}_'):
        return name
    return f'{mode}_{name}'


def shrink_picture(path: Path) -> None:
    """Write a PNG anew in sixteen levels per colour, which halves a drawing and harms none."""
    picture = cv2.imread(str(path))
    if picture is None:
        raise OSError(f'{path} is not a picture that can be read')
    levels = (np.round(picture / _COLOR_STEP) * _COLOR_STEP).astype(np.uint8)
    cv2.imwrite(str(path), levels, [cv2.IMWRITE_PNG_COMPRESSION, 9, cv2.IMWRITE_PNG_STRATEGY,
                                    cv2.IMWRITE_PNG_STRATEGY_DEFAULT])


def _make_inputs(folder: Path) -> Inputs:
    """Return them; PyTorch, which makes the models, stays out of the process that measures."""
    inputs = Inputs(require_data(), folder / 'fp16.xml', folder / 'int8.xml')
    if inputs.fp16.is_file() and inputs.int8.is_file():
        return inputs
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as process:
        process.submit(_make_models, inputs).result()
    return inputs


def _make_models(inputs: Inputs) -> None:
    from depth_anything_ros.convert.conversion import convert, Job
    try:
        convert(Job(inputs.checkpoint, inputs.fp16, 'fp16'))
        make_int8(inputs.fp16, inputs.int8, *list_images(inputs.int8.parent))
    except DepthAnythingError as error:
        # An error that is made of several facts does not get from one process to another.
        raise DepthAnythingError(str(error)) from error


def _content_so_far() -> dict[str, Any]:
    there = (FOLDER / f'{_NAME}.json').is_file()
    return read_content(_NAME) if there else {'figures': {}, 'reports': {}}


def _write(content: Mapping[str, Any]) -> str:
    figures = write_figures(_NAME, COMMAND, content['figures'], content['reports'])
    return f'{figures} and {write_page(read_content(_NAME))}'


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == '__main__':
    sys.exit(main())
