"""Mode ladder: what each input size and precision gains in speed and loses in accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
import os
from pathlib import Path

from depth_anything_ros.benchmark.ladder_report import (
    draw_ladder, figures_of, pareto, Step, table_of)
from depth_anything_ros.benchmark.ladder_steps import (
    IMAGE_HW, lost_to, make_reference, measure_speeds, open_truth, PHASE_S, Plan, plan_rungs, Rung,
    score_on, Speed)
from depth_anything_ros.benchmark.machine import describe_machine
from depth_anything_ros.benchmark.results import Report, Say
from depth_anything_ros.errors import ImageError, SettingsError
from depth_anything_ros.evaluate.rgbd_folder import RgbdDataset
from depth_anything_ros.media.pictures import files_below, SUFFIXES
from depth_anything_ros.resources import photographs
from depth_anything_ros.vision.accuracy import DepthScores


@dataclass(frozen=True)
class LadderOptions:
    """
    What to measure; SettingsError for what cannot be.

    ``models`` are IRs, of which the first gives speed 1 and the f32 depth that others lose from.
    ``images`` is a folder of pictures, by default the photographs of the package; ``rgbd``
    a folder of images with measured depth, see ``ladder_accuracy.open_truth``. ``input_sizes`` are
    in pixels; ``precisions`` auto, f32, bf16 or f16.
    """

    models: tuple[Path, ...]
    images: Path | None = None
    rgbd: Path | None = None
    input_sizes: tuple[int, ...] = (518, 448, 392, 336, 294, 252, 210, 168)
    rounds: int = 3
    precisions: tuple[str, ...] = ('f32', 'auto')

    def __post_init__(self) -> None:
        for name in ('models', 'input_sizes', 'precisions'):
            if not getattr(self, name):
                raise SettingsError(name, (), 'one at least')
        if min(self.input_sizes) < 1:
            raise SettingsError('input_sizes', self.input_sizes, '1 or more, each')
        if self.rounds < 1:
            raise SettingsError('rounds', self.rounds, '1 or more')


def measure_ladder(options: LadderOptions, say: Say) -> Report:
    """
    Return speed and accuracy of every rung.

    DepthAnythingError says which model, picture or setting is wrong.
    """
    files = _pictures(options.images)
    dataset = None if options.rgbd is None else open_truth(options.rgbd)
    say('trying the models')
    plan = plan_rungs(options.models, options.precisions, options.input_sizes)
    say(f'{len(plan.rungs)} rungs, {len(files)} pictures')
    losses = _losses(plan, files, say)
    scores = {} if dataset is None else _scores(plan, dataset, say)
    speeds = measure_speeds(plan.rungs, plan.yardstick, options.rounds, say)
    marks = pareto([(speeds[rung].relative.median, losses[rung]) for rung in plan.rungs])
    steps = tuple(Step(rung, speeds[rung], losses[rung], scores.get(rung), mark)
                  for rung, mark in zip(plan.rungs, marks))
    return Report('ladder', _settings(options, plan, files, dataset, speeds),
                  (table_of(steps, plan),), figures_of(steps), partial(draw_ladder, steps, plan))


def _pictures(folder: Path | None) -> list[Path]:
    """Return the pictures of a folder but depth maps; they lie beside images in RGB-D folders."""
    folder = folder or photographs()
    files = [file for file in files_below(folder, SUFFIXES) if not file.name.startswith('depth')]
    if not files:
        raise ImageError(f'{folder} is no folder with images; supported are '
                         f'{", ".join(SUFFIXES)}; name another one with --images')
    return files


def _losses(plan: Plan, files: Sequence[Path], say: Say) -> dict[Rung, float]:
    say(f'computing the reference, {plan.reference}')
    reference = make_reference(plan.reference, files, plan.relative)
    losses = {}
    for number, rung in enumerate(plan.rungs, start=1):
        losses[rung] = lost_to(reference, rung)
        say(f'accuracy: rung {number} of {len(plan.rungs)}, {rung}: lost {losses[rung]:.4f}')
    return losses


def _scores(plan: Plan, dataset: RgbdDataset, say: Say) -> dict[Rung, DepthScores]:
    scores = {}
    for number, rung in enumerate(plan.rungs, start=1):
        scores[rung] = score_on(dataset, rung)
        say(f'measured depth: rung {number} of {len(plan.rungs)}, {rung}: '
            f'AbsRel {scores[rung].abs_rel:.4f}')
    return scores


def _settings(options: LadderOptions, plan: Plan, files: Sequence[Path],
              dataset: RgbdDataset | None, speeds: dict[Rung, Speed]) -> dict[str, str]:
    reached = next(iter(speeds.values())).yardstick_hz
    settings = {
        'machine': describe_machine(),
        'models': ', '.join(model.name for model in options.models),
        'speed 1': f'{plan.yardstick} of {plan.yardstick.model.name}, {reached} images/s',
        'speed': f'{IMAGE_HW[1]}x{IMAGE_HW[0]} images through the engine, one at a time, resized '
                 'there to the network size in the table',
        'warm-up': 'one image at the start and one at each turn, not counted',
        'rounds': f'{options.rounds}, rungs in turn, each at most {PHASE_S:g} s',
        'threads': f"OpenVINO's choice for LATENCY on {len(os.sched_getaffinity(0))} cores",
        'pinning': "OpenVINO's choice",
        'reference': f'{plan.reference} of {plan.reference.model.name}, {len(files)} pictures, '
                     'compared at their size'}
    if dataset is not None:
        settings['measured depth'] = (
            f'{len(dataset.pairs)} images, {dataset.config.limits.minimum_m:g} to '
            f'{dataset.config.limits.maximum_m:g} m')
    return settings
