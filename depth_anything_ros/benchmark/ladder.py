"""Mode ``ladder``: speed and accuracy of models, at each input size and in each precision."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from depth_anything_ros.benchmark.ladder_accuracy import (
    Accuracy, Data, make_reference, open_data, score_config)
from depth_anything_ros.benchmark.ladder_report import (
    draw_ladder, figures_of, Step, tables_of)
from depth_anything_ros.benchmark.ladder_steps import (
    Config, IMAGE_HW, measure_speeds, PHASE_S, Plan, plan_configs)
from depth_anything_ros.benchmark.machine import describe_machine
from depth_anything_ros.benchmark.report import Log, Report
from depth_anything_ros.errors import DepthAnythingError, line_of, SettingsError
from depth_anything_ros.evaluate.results import Failure
from depth_anything_ros.media.folders import required_color_pictures
from depth_anything_ros.model_info import ExecutionPrecision
from depth_anything_ros.process import usable_cores
from depth_anything_ros.resources import photographs


@dataclass(frozen=True)
class LadderOptions:
    """
    What to measure; SettingsError for values that cannot be measured.

    ``models`` are IRs of any kind; the ``teacher`` is the one whose order of pixels counts, by
    default the first of them. ``images`` is a folder, by default the photographs of the package;
    ``rgbd`` a folder of images with measured depth, ``sequence`` one of a moving camera with
    depth and poses, see ``ladder_accuracy``. ``input_sizes`` are in pixels, 0 for the model's
    own; ``precisions`` auto, f32, bf16 or f16.
    """

    models: tuple[Path, ...]
    images: Path | None = None
    rgbd: Path | None = None
    input_sizes: tuple[int, ...] = (518, 448, 392, 336, 294, 252, 210, 168)
    rounds: int = 3
    precisions: tuple[ExecutionPrecision, ...] = ('f32', 'auto')
    teacher: Path | None = None
    sequence: Path | None = None

    def __post_init__(self) -> None:
        for name in ('models', 'input_sizes', 'precisions'):
            if not getattr(self, name):
                raise SettingsError(name, (), 'at least one')
        if min(self.input_sizes) < 0:
            raise SettingsError('input_sizes', self.input_sizes, 'at least 0, each')
        if self.rounds < 1:
            raise SettingsError('rounds', self.rounds, 'at least 1')


def measure_ladder(options: LadderOptions, log: Log) -> Report:
    """
    Return the speed and the accuracy of each model, precision and input size.

    What fails is left out and named in the report. DepthAnythingError names the teacher, picture
    or setting that is wrong, or the models if none can be measured.
    """
    log('reading the images')
    pictures = required_color_pictures(options.images or photographs())
    data = open_data(pictures, options.rgbd, options.sequence)
    log('loading each model in each precision')
    plan = plan_configs(options.models, options.precisions, options.input_sizes, options.teacher)
    log(f'{len(plan.configs)} configurations, {len(data.pictures)} pictures')
    failed = list(plan.left_out)
    accuracies = _accuracies(plan, data, failed, log)
    steps = []
    for config, speed in measure_speeds(list(accuracies), options.rounds, log).items():
        if isinstance(speed, DepthAnythingError):
            failed.append(Failure(str(config), line_of(speed)))
        else:
            steps.append(Step(config, plan.lines[config.line], speed, accuracies[config]))
    return Report('ladder', _settings(options, plan, data, accuracies),
                  tables_of(steps, plan.reference, failed), figures_of(steps),
                  partial(draw_ladder, steps, plan.reference),
                  tuple(f'{one.name}: {one.reason}' for one in failed))


def _accuracies(plan: Plan, data: Data, failed: list[Failure],
                log: Log) -> Mapping[Config, Accuracy]:
    """Return the accuracy of each configuration; those without one are added to ``failed``."""
    log(f'computing the reference depth, {plan.reference}')
    reference = make_reference(plan.reference, data.pictures)
    found: dict[Config, Accuracy] = {}
    for number, config in enumerate(plan.configs, start=1):
        try:
            found[config] = score_config(config, reference, data)
        except DepthAnythingError as error:
            failed.append(Failure(str(config), line_of(error)))
        text = f'rank {found[config].rank:.4f}' if config in found else failed[-1].reason
        log(f'accuracy: {number} of {len(plan.configs)}, {config}: {text}')
    if not found:
        raise DepthAnythingError(f'no configuration could be measured; {failed[0].name}: '
                                 f'{failed[0].reason}')
    return found


def _settings(options: LadderOptions, plan: Plan, data: Data,
              accuracies: Mapping[Config, Accuracy]) -> dict[str, str]:
    baseline, accuracy = next(iter(accuracies.items()))
    settings = {
        'machine': describe_machine(),
        'models': ', '.join(model.name for model in options.models),
        'time': f'of {IMAGE_HW[1]}x{IMAGE_HW[0]} images through the engine, one at a time, which '
                f'resizes them to the network size in the table; relative to {baseline} in the '
                'same round, times its median',
        'warm-up': 'one image before each measurement, not counted',
        'rounds': f'{options.rounds}, configurations alternate, each at most {PHASE_S:g} s',
        'threads': f"OpenVINO's choice for LATENCY on {usable_cores()} cores",
        'pinning': "OpenVINO's choice",
        'rank': f'{len(data.pictures)} pictures, compared with {plan.reference} at their size'}
    if data.rgbd is not None:
        limits = data.rgbd.config.limits
        settings['measured depth'] = (f'{len(data.rgbd.pairs)} images, {limits.minimum_m:g} to '
                                      f'{limits.maximum_m:g} m')
    if data.sequence is not None:
        settings['flicker'] = (f'{len(data.sequence.frames)} frames; that of their measured depth '
                               f'itself is {accuracy.least_flicker:.4f}')
    return settings
