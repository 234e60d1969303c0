"""
Measure the model that is part of the package, and write docs/figures/box_model.json.

``python -m tools.measure.box_model`` needs a folder ../shared with weights/ (the checkpoint of the
teacher), corpus/ and images/. It takes about half an hour on two idle cores. ``--clone`` also
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

from depth_anything_ros.benchmark.ladder_steps import Config
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.inference.devices import has_bf16
from depth_anything_ros.inference.ir import read_model_info
from depth_anything_ros.model_info import ExecutionPrecision
from depth_anything_ros.resources import shipped_model
from tools.measure.box_model_figures import (
    clone_conditions, clone_to_pictures_s, depth_figures, int8_figures, open_frames,
    speed_figures, teacher_figures, TEACHER_SIZE)
from tools.measure.box_model_front import as_rows, draw_front, measure_front
from tools.measure.figures import (
    model_mib, read_content, requote_pages, ROOT, rounded, write_figures)
from tools.measure.performance_page import Target
from tools.shared_data import (
    CHECKPOINT_OVERRIDES, CORPUS, IMAGES, local_checkpoint, SHARED, validation_photographs,
    write_int8_lists)

COMMAND = 'python -m tools.measure.box_model'
PARTS = ('teacher', 'depth', 'speed', 'int8', 'front', 'clone')
TARGETS = (
    Target('rank_corr_teacher', 'mean rank correlation with the teacher, held-out JPEG files',
           '≥', 0.92),
    Target('rank_corr_all', 'the same, all held-out photographs', '≥', 0.92),
    Target('rgbd_absrel', 'AbsRel on measured depth', '≤', 0.12),
    Target('rgbd_delta1', 'delta1 on measured depth', '≥', 0.88),
    Target('moving_absrel', 'AbsRel of two moving cameras ÷ that of the teacher', '≤', 1.25),
    Target('delta1_share', 'delta1 ÷ that of the teacher', '≥', 0.95),
    Target('time_vs_nano_f32', 'time ÷ that of the earlier model in f32', '≤', 1.25),
    Target('int8_absrel_mean', 'AbsRel against its own f32, mean', '≤', 0.012),
    Target('int8_absrel_max', 'the same, worst photograph', '≤', 0.03),
    Target('int8_pearson_min', 'Pearson against its own f32, worst photograph', '≥', 0.995),
    Target('size_mib', 'MiB of all models in the package', '≤', 26.0),
    Target('clone_to_pictures_s', 'seconds from git clone to pictures', '<', 180.0),
)
# Input sizes of the chart.
FRONT_SIZES = {'tiny': (112, 140, 168, 182, 196, 224, 252), 'vits': (196, 252, 336, 518),
               'nano': (160, 224, 288)}
CHART = ROOT / 'docs' / 'images' / 'box_model.png'
_FRONT_EVERY = 15
_NAME, _CLONE = 'box_model', 'clone_to_pictures_s'

Figures = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write after each part; 1 with a sentence if data is missing."""
    options = _parser().parse_args(arguments)
    parts = options.only or [part for part in PARTS[:-1]
                             if options.floating or part not in ('int8', 'front')]
    if options.clone and 'clone' not in parts:
        parts = [*parts, 'clone']
    kept, reports = _previous(everything=bool(options.only))
    figures: Figures = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            figures |= rounded({'size_mib': size_mib(options.model)})
            for path in filter(None, (options.floating, options.nano)):
                read_model_info(path)
            teacher = cache(lambda: _open_teacher(options.teacher, Path(folder)))
            for part in parts:
                if part == 'front':
                    reports['front'] = _front(options, teacher())
                else:
                    figures |= rounded(_measure(part, options, teacher, Path(folder)))
                if part == 'clone':
                    reports['clone'] = clone_conditions()
                reports['targets'] = judge({**kept, **figures})
                path = write_figures(_NAME, COMMAND, figures, reports, kept)
    except (DepthAnythingError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    for name, value in figures.items():
        _log(f'{name:28} {value:g}')
    for name, target in judge({**kept, **figures}).items():
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
    """Return MiB of all models beside this one; ModelError if it is not one of this package."""
    read_model_info(model)
    return sum(model_mib(path) for path in model.parent.glob('*.xml'))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument('--model', type=Path, metavar='MODEL.xml', default=shipped_model(),
                        help='default: the model in models/')
    parser.add_argument('--floating', type=Path, metavar='MODEL.xml',
                        help='the same weights in fp16, for parts int8 and front')
    parser.add_argument('--nano', type=Path, metavar='MODEL.xml',
                        help='the convolutional model of earlier releases, for parts speed and '
                        'front')
    parser.add_argument('--corpus', type=Path, metavar='FOLDER', default=CORPUS,
                        help='photographs in images/, numbered; default: ../shared/corpus')
    parser.add_argument('--images', type=Path, metavar='FOLDER', default=IMAGES,
                        help='rgbd/, moving/, sequence/ and photos/; default: ../shared/images')
    parser.add_argument('--teacher', type=Path, metavar='FILE',
                        help='ViT-S, an IR or a checkpoint; default: ../shared/weights/*.pth')
    parser.add_argument('--clone', action='store_true',
                        help='also run make demo in a fresh clone, which takes several minutes')
    parser.add_argument('--only', choices=PARTS, action='append',
                        help='default: all but clone; int8 and front need --floating')
    return parser


def _previous(everything: bool) -> tuple[Figures, dict[str, Any]]:
    """Return the previous figures and reports, all or those of the clone."""
    try:
        content = read_content(_NAME)
    except FileNotFoundError:
        return {}, {}
    figures, reports = content['figures'], content['reports']
    return ({name: value for name, value in figures.items() if everything or name == _CLONE},
            {name: value for name, value in reports.items() if everything or name == 'clone'})


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


def _measure(part: str, options: argparse.Namespace, teacher: Callable[[], Path],
             folder: Path) -> Figures:
    if part == 'teacher':
        return teacher_figures(options.model, teacher(), validation_photographs(options.corpus),
                               _log)
    if part == 'depth':
        return depth_figures(options.model, teacher(), open_frames(options.images), _log)
    if part == 'speed':
        return speed_figures(options.model, _others(options, teacher()), _log)
    if part == 'int8':
        return int8_figures(options.model, _floating(options), write_int8_lists(folder)[1], _log)
    return {_CLONE: clone_to_pictures_s(ROOT, _log)}


def _floating(options: argparse.Namespace) -> Path:
    path: Path | None = options.floating
    if path is None:
        raise FileNotFoundError('this part needs the same weights in fp16: --floating')
    return path


def _front(options: argparse.Namespace, vits: Path) -> list[Mapping[str, float | str]]:
    """Draw the chart and return its points."""
    precisions: tuple[ExecutionPrecision, ...] = ('f32', 'bf16') if has_bf16() else ('f32',)
    models = {'tiny': _floating(options), 'vits': vits} | (
        {'nano': options.nano} if options.nano else {})
    configs = [Config('tiny INT8', size, options.model, 'auto') for size in FRONT_SIZES['tiny']]
    configs += [Config(f'{name} {precision}', size, path, precision)
                for name, path in models.items() for precision in precisions
                for size in FRONT_SIZES[name]]
    name = 'nano' if options.nano else 'tiny'
    own_size = read_model_info(models[name]).input_size
    reference = Config(f'{name} f32', own_size, models[name], 'f32')
    points = measure_front(
        configs, reference, Config('teacher', TEACHER_SIZE, vits, 'auto'),
        validation_photographs(options.corpus)[::_FRONT_EVERY],
        open_frames(options.images)['rgbd'], _log)
    draw_front(points, str(reference), CHART)
    return as_rows(points)


def _others(options: argparse.Namespace, vits: Path
            ) -> dict[str, tuple[Path, ExecutionPrecision]]:
    """Return the models that the speed is compared with, and their precisions, by name."""
    precisions: tuple[ExecutionPrecision, ...] = ('f32', 'bf16') if has_bf16() else ('f32',)
    models = {'vits': vits} | ({'nano': options.nano} if options.nano else {})
    return {f'{name}_{precision}': (path, precision)
            for name, path in models.items() for precision in precisions}


def _log(line: str) -> None:
    print(line, flush=True)


if __name__ == '__main__':
    sys.exit(main())
