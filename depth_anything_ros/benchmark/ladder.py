"""Mode ``ladder``: speed and accuracy of each input size and precision."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
import os
from pathlib import Path

from depth_anything_ros.benchmark.ladder_report import (
    draw_ladder, figures_of, pareto, Step, table_of)
from depth_anything_ros.benchmark.ladder_steps import (
    Config, IMAGE_HW, lost_to, make_reference, measure_speeds, open_truth, PHASE_S, Plan,
    plan_configs, score_on, Speed)
from depth_anything_ros.benchmark.machine import describe_machine
from depth_anything_ros.benchmark.report import Log, Report
from depth_anything_ros.errors import ImageError, SettingsError
from depth_anything_ros.evaluate.rgbd_folder import RgbdDataset
from depth_anything_ros.media.folders import files_below, picture_suffixes
from depth_anything_ros.model_info import ExecutionPrecision
from depth_anything_ros.resources import photographs
from depth_anything_ros.vision.accuracy import DepthScores


@dataclass(frozen=True)
class LadderOptions:
    """
    What to measure; SettingsError for values that cannot be measured.

    ``models`` are IRs; the first one is the baseline, with speed 1 and the reference depth in f32.
    ``images`` is a folder, by default the photographs of the package; ``rgbd`` a folder of images
    with measured depth, see ``ladder_steps.open_truth``. ``input_sizes`` are in pixels;
    ``precisions`` auto, f32, bf16 or f16.
    """

    models: tuple[Path, ...]
    images: Path | None = None
    rgbd: Path | None = None
    input_sizes: tuple[int, ...] = (518, 448, 392, 336, 294, 252, 210, 168)
    rounds: int = 3
    precisions: tuple[ExecutionPrecision, ...] = ('f32', 'auto')

    def __post_init__(self) -> None:
        for name in ('models', 'input_sizes', 'precisions'):
            if not getattr(self, name):
                raise SettingsError(name, (), 'at least one')
        if min(self.input_sizes) < 1:
            raise SettingsError('input_sizes', self.input_sizes, 'at least 1, each')
        if self.rounds < 1:
            raise SettingsError('rounds', self.rounds, 'at least 1')


def measure_ladder(options: LadderOptions, log: Log) -> Report:
    """
    Return the speed and the accuracy of each model, precision and input size.

    DepthAnythingError names the model, picture or setting that is wrong.
    """
    files = _pictures(options.images)
    dataset = None if options.rgbd is None else open_truth(options.rgbd)
    log('loading each model in each precision')
    plan = plan_configs(options.models, options.precisions, options.input_sizes)
    log(f'{len(plan.configs)} configurations, {len(files)} pictures')
    losses = _losses(plan, files, log)
    scores = {} if dataset is None else _scores(plan, dataset, log)
    speeds = measure_speeds(plan.configs, plan.baseline, options.rounds, log)
    marks = pareto([(speeds[config].relative.median, losses[config]) for config in plan.configs])
    steps = tuple(Step(config, speeds[config], losses[config], scores.get(config), mark)
                  for config, mark in zip(plan.configs, marks))
    return Report('ladder', _settings(options, plan, files, dataset, speeds),
                  (table_of(steps, plan),), figures_of(steps), partial(draw_ladder, steps, plan))


def _pictures(folder: Path | None) -> list[Path]:
    """Return the pictures of a folder without its depth maps, which RGB-D folders hold too."""
    folder = folder or photographs()
    files = [file for file in files_below(folder, picture_suffixes())
             if not file.name.startswith('depth')]
    if not files:
        raise ImageError(f'{folder} is not a folder with images; supported are '
                         f'{", ".join(picture_suffixes())}; name another one with --images')
    return files


def _losses(plan: Plan, files: Sequence[Path], log: Log) -> dict[Config, float]:
    log(f'computing the reference depth, {plan.reference}')
    reference = make_reference(plan.reference, files, plan.relative)
    losses = {}
    for number, config in enumerate(plan.configs, start=1):
        losses[config] = lost_to(reference, config)
        log(f'accuracy: {number} of {len(plan.configs)}, {config}: '
            f'lost {losses[config]:.4f}')
    return losses


def _scores(plan: Plan, dataset: RgbdDataset, log: Log) -> dict[Config, DepthScores]:
    scores = {}
    for number, config in enumerate(plan.configs, start=1):
        scores[config] = score_on(dataset, config)
        log(f'measured depth: {number} of {len(plan.configs)}, {config}: '
            f'AbsRel {scores[config].abs_rel:.4f}')
    return scores


def _settings(options: LadderOptions, plan: Plan, files: Sequence[Path],
              dataset: RgbdDataset | None, speeds: dict[Config, Speed]) -> dict[str, str]:
    reached = next(iter(speeds.values())).baseline_hz
    settings = {
        'machine': describe_machine(),
        'models': ', '.join(model.name for model in options.models),
        'speed 1': f'{plan.baseline} of {plan.baseline.model.name}, {reached} images/s',
        'speed': f'{IMAGE_HW[1]}x{IMAGE_HW[0]} images through the engine, one at a time, which '
                 'resizes them to the network size in the table',
        'warm-up': 'one image at the start and one before each measurement, not counted',
        'rounds': f'{options.rounds}, configurations alternate, each at most {PHASE_S:g} s',
        'threads': f"OpenVINO's choice for LATENCY on {len(os.sched_getaffinity(0))} cores",
        'pinning': "OpenVINO's choice",
        'reference': f'{plan.reference} of {plan.reference.model.name}, {len(files)} pictures, '
                     'compared at their size'}
    if dataset is not None:
        settings['measured depth'] = (
            f'{len(dataset.pairs)} images, {dataset.config.limits.minimum_m:g} to '
            f'{dataset.config.limits.maximum_m:g} m')
    return settings
