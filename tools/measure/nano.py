"""
Measure the small model that is part of the package, and write docs/figures/nano.json.

``python -m tools.measure.nano`` needs a folder ../shared with weights/ (the checkpoint of the
teacher), corpus/ and images/rgbd. It takes about ten minutes on two idle cores. ``--clone`` also
measures the time from a fresh clone to pictures, which is kept otherwise. ``--only PART`` measures
one part and keeps the figures of the others.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
import sys
import tempfile
from typing import Any

from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.inference.ir import read_model_info
from depth_anything_ros.resources import shipped_model
from tools.measure.figures import model_mib, read_content, requote_pages, ROOT, write_figures
from tools.measure.nano_figures import (
    clone_conditions, clone_to_pictures_s, rgbd_figures, speed_figures, teacher_figures)
from tools.measure.performance_page import Target
from tools.shared_data import (
    CHECKPOINT_OVERRIDES, CORPUS, first_corpus, local_checkpoint, SHARED, training_photographs,
    validation_photographs)

COMMAND = 'python -m tools.measure.nano'
PARTS = ('teacher', 'rgbd', 'speed', 'clone')
TARGETS = (
    Target('rank_corr_teacher', 'mean rank correlation with the teacher, held-out photographs',
           '≥', 0.88),
    Target('rgbd_absrel', 'AbsRel on measured depth', '≤', 0.15),
    Target('rgbd_delta1', 'delta1 on measured depth', '≥', 0.80),
    Target('speed_vs_vits_bf16', 'speed over that of ViT-S in bf16 at one network size', '≥', 6.0),
    Target('size_mib', 'MiB of both files', '≤', 8.0),
    Target('clone_to_pictures_s', 'seconds from git clone to pictures', '<', 180.0),
)
_NAME, _CLONE = 'nano', 'clone_to_pictures_s'
# Of the photographs for training, about as many as there are held-out ones.
_LEARNED_EVERY = 9

Figures = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write after each part; 1 with a sentence if data is missing."""
    options = _parser().parse_args(arguments)
    parts = options.only or PARTS[:-1]
    if options.clone and 'clone' not in parts:
        parts = [*parts, 'clone']
    figures, conditions = _previous(everything=bool(options.only))
    try:
        with tempfile.TemporaryDirectory() as folder:
            figures |= _rounded({'size_mib': size_mib(options.model)})
            teacher = cache(lambda: _open_teacher(options.teacher, Path(folder)))
            for part in parts:
                figures |= _rounded(_measure(part, options, teacher))
                conditions = clone_conditions() if part == 'clone' else conditions
                path = write_figures(_NAME, COMMAND, figures, {
                    'clone': conditions, 'targets': judge(figures)})
    except (DepthAnythingError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    for name, value in figures.items():
        _log(f'{name:28} {value:g}')
    for name, target in judge(figures).items():
        _log(f'{name} {target["target"]}: {"met" if target["met"] else "missed"}')
    _log(f'wrote {path}')
    try:
        requote_pages()
    except KeyError as error:
        print(f'error: a page quotes {error}, which was not measured yet; measure without --only',
              file=sys.stderr)
        return 1
    _log('updated the pages that quote it')
    return 0


def judge(figures: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Return the target of each figure that has one, and whether it is met."""
    return {one.figure: {'target': f'{one.sense} {one.limit:g}',
                         'met': one.is_met(figures[one.figure])}
            for one in TARGETS if one.figure in figures}


def size_mib(model: Path) -> float:
    """Return MiB of the .xml and .bin; ModelError if it is not a model of this package."""
    read_model_info(model)
    return model_mib(model)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument('--model', type=Path, metavar='NANO.xml', default=shipped_model(),
                        help='default: models/depth_anything_nano.xml')
    parser.add_argument('--corpus', type=Path, metavar='FOLDER', default=CORPUS,
                        help='photographs in images/, numbered; default: ../shared/corpus')
    parser.add_argument('--rgbd', type=Path, metavar='FOLDER', default=SHARED / 'images' / 'rgbd',
                        help='images with measured depth; default: ../shared/images/rgbd')
    parser.add_argument('--teacher', type=Path, metavar='FILE',
                        help='ViT-S, an IR or a checkpoint; default: ../shared/weights/*.pth')
    parser.add_argument('--clone', action='store_true',
                        help='also run make demo in a fresh clone, which takes several minutes')
    parser.add_argument('--only', choices=PARTS, action='append', help='default: all but clone')
    return parser


def _previous(everything: bool) -> tuple[Figures, Mapping[str, str]]:
    """Return the previous figures, all or that of the clone, and the conditions of the clone."""
    try:
        content = read_content(_NAME)
    except FileNotFoundError:
        return {}, {}
    figures = content['figures']
    return ({name: value for name, value in figures.items() if everything or name == _CLONE},
            content['reports']['clone'])


def _open_teacher(teacher: Path | None, folder: Path) -> Path:
    """Return the IR of the teacher; a checkpoint is converted into ``folder``."""
    if teacher is not None and teacher.suffix == '.xml':
        return teacher
    checkpoint = teacher or local_checkpoint()
    if checkpoint is None:
        raise FileNotFoundError(f'{SHARED} lacks weights/*.pth; name a teacher with --teacher')
    from depth_anything_ros.convert.conversion import convert, Job
    job = Job(checkpoint, folder / 'teacher.xml', 'fp16', CHECKPOINT_OVERRIDES)
    return convert(job, report=_log).path


def _measure(part: str, options: argparse.Namespace, teacher: Callable[[], Path]) -> Figures:
    if part == 'teacher':
        return teacher_figures(
            options.model, teacher(), first_corpus(validation_photographs(options.corpus)),
            first_corpus(training_photographs(options.corpus))[::_LEARNED_EVERY], _log)
    if part == 'rgbd':
        return rgbd_figures(options.model, options.rgbd, _log)
    if part == 'speed':
        return speed_figures(options.model, teacher(), _log)
    return {_CLONE: clone_to_pictures_s(ROOT, _log)}


def _rounded(figures: Mapping[str, float]) -> Figures:
    return {name: float(f'{value:.4g}') for name, value in figures.items()}


def _log(line: str) -> None:
    print(line, flush=True)


if __name__ == '__main__':
    sys.exit(main())
