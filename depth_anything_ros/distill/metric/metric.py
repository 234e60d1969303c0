"""A whole training in metres: data, checks, labels, training, judgement, checkpoint and IR."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
import shutil
from typing import Any

from depth_anything_ros.cli.progress import count_in_lines, Counting, Report
from depth_anything_ros.convert.sources.records import (
    MetricRecord, read_metric_record, write_metric_record)
from depth_anything_ros.convert.sources.source_files import is_part_of
from depth_anything_ros.distill.curves import Measure
from depth_anything_ros.distill.dataset import (
    label_folder, LabelFacts, LabelledImage, make_labels)
from depth_anything_ros.distill.distill import (
    check_checkpoint, convert_student, write_weights)
from depth_anything_ros.distill.job import has_options, store_options
from depth_anything_ros.distill.metric.checks import check_pairs, draw_pairs
from depth_anything_ros.distill.metric.frame_fit import fit_frames
from depth_anything_ros.distill.metric.frames import collect_frames, Frame
from depth_anything_ros.distill.metric.job import MetricJob
from depth_anything_ros.distill.metric.objective import MetricObjective, MetricPair, MetricScale
from depth_anything_ros.distill.metric.result import judge, mean_abs_rel, METRIC, Result, TITLES
from depth_anything_ros.distill.metric.split import split_frames
from depth_anything_ros.distill.metric.start import constant_fit, median_focal, Start
from depth_anything_ros.distill.processes import ALONE, Processes
from depth_anything_ros.distill.teacher import open_teacher, source_sha256, TeacherOptions
from depth_anything_ros.distill.train_loop import follow, resume, RunFolder, train, Validation
from depth_anything_ros.distill.trainer import copied_weights, load_weights, Trainer
from depth_anything_ros.errors import DatasetError
from depth_anything_ros.files import atomic_path, check_target, make_folder
from depth_anything_ros.foreign_files import printable
from depth_anything_ros.networks.depth_anything import DepthAnything
from depth_anything_ros.networks.models import EncoderSpec, MODELS
import torch

# Folders of the tries after the first, which has the work folder itself.
_TRY = 'try-{}'


@dataclass(frozen=True)
class MetricModel:
    """A finished model in metres: its .xml, its record, and what it has reached."""

    path: Path
    record: MetricRecord
    result: Result


@dataclass(frozen=True)
class _Data:
    """The pairs of each part of the ``Split``."""

    training: list[MetricPair]
    validation: list[MetricPair]
    held_out: list[MetricPair]

    @property
    def known(self) -> list[MetricPair]:
        """Return all but those that judge the result."""
        return self.training + self.validation


def fine_tune(job: MetricJob, start: Start, *, table: tuple[EncoderSpec, ...] = MODELS,
              report: Report = print, counting: Counting | None = None,
              processes: Processes = ALONE) -> MetricModel | None:
    """
    Teach ``start``, the model of ``job.start``, metres and write its checkpoint and IR.

    It continues where it stopped. It returns None with ``job.check_only``, and in all
    ``processes`` but the leading one.
    CheckpointError if the result is not better than one fit for all images; DepthAnythingError or
    OSError say what else is wrong. The work folder stays usable.
    """
    counting = counting or partial(count_in_lines, report)
    is_source = partial(is_part_of, [job.start])
    check_target(job.output, job.force or job.check_only, is_source=is_source)
    make_folder(job.folder)
    start_sha256 = source_sha256(job.start)
    options = job.options(start_sha256)
    resumes = has_options(job.folder, options, job.force)
    check_checkpoint(job.checkpoint, job.check_only or job.force or (
        resumes and read_metric_record(job.checkpoint) is not None), is_source)
    data = processes.shared(lambda: _prepare(job, start_sha256, table, report, counting))
    if job.check_only:
        return None
    spec = start.student.input_spec
    scale = MetricScale(job.focal_px or median_focal(data.known, spec), job.selection.limits)
    if processes.leads and not resumes:
        _clear(job.folder)
    constant = constant_fit(data.known, scale, spec)
    trained = _train_tries(job, options, start, data, scale, constant, report, counting,
                           processes)
    processes.leave()
    if trained is None:
        return None
    result = judge(trained.network, data.held_out, scale, constant)
    report(result.table())
    report(result.advice)
    if not job.force:
        result.require_gain(job.output)
    record = _save(job, start, start_sha256, trained, scale, data, result)
    convert_student(job, [pair.frame.image.path for pair in data.training], table, report)
    _write_card(job, record, result)
    return MetricModel(job.output, record, result)


def _prepare(job: MetricJob, start_sha256: str, table: tuple[EncoderSpec, ...], report: Report,
             counting: Counting) -> _Data:
    """Return the pairs of all data, checked; DatasetError or ImageError say what is wrong."""
    frames = collect_frames(job.data, job.folder, job.selection, report, counting)
    split = split_frames(frames, job.hold_out)
    parts = split.training, split.validation, split.held_out
    report(f'images: {len(split.training)} for training; {len(split.validation)} for validation, '
           f'the first of each source; {len(split.held_out)} held out, its last '
           f'{100 * job.hold_out:.0f} %; {split.left_out} that show the same as one of another '
           'part are left out')
    pairs = _label(job, start_sha256, [frame for part in parts for frame in part], table, report,
                   counting)
    picture = job.folder / 'pairs.png'
    draw_pairs(pairs, picture)
    report(f'      {picture} shows depth on top of the images')
    if job.trust_data:
        report('      whether depth and images belong together is not checked')
    else:
        for name, found in check_pairs(pairs, dict(enumerate(job.data))).items():
            x, y = (100 * value for value in found.shift_xy)
            report(f'      {name}: depth agrees best with a shift of {x:.1f} %, {y:.1f} % and '
                   f'{found.lag} frames, {found.gain:.2f} times as well as without')
    labelled = {pair.frame: pair for pair in pairs}
    training, validation, held_out = ([labelled[frame] for frame in part if frame in labelled]
                                      for part in parts)
    if not (training and validation and held_out):
        raise DatasetError(Path(job.data[0]), 'no image could be labelled', 'see the lines above')
    return _Data(training, validation, held_out)


def _label(job: MetricJob, start_sha256: str, frames: Sequence[Frame],
           table: tuple[EncoderSpec, ...], report: Report,
           counting: Counting) -> list[MetricPair]:
    """Return the frames with the maps of the relative model."""
    options = TeacherOptions(job.folder, job.device)
    with closing(open_teacher(job.start, job.overrides, options, table=table,
                              report=report)) as teacher:
        folder = label_folder(job.folder, LabelFacts(
            start_sha256, job.overrides, teacher.sizes, False, job.selection.short_side))
        labels = make_labels([frame.image for frame in frames], teacher, folder, report, counting)
    return [MetricPair(frame, labels[frame.image]) for frame in frames if frame.image in labels]


@dataclass(frozen=True)
class _Trained:
    """The network of one try, its error on the validation images, and how it was made."""

    network: DepthAnything
    validated: float
    seed: int
    first_share: float


def _clear(folder: Path) -> None:
    """Remove the files of all tries."""
    RunFolder(folder).clear()
    for other in folder.glob(_TRY.format('*')):
        shutil.rmtree(other)


def _train_tries(job: MetricJob, options: Mapping[str, Any], start: Start, data: _Data,
                 scale: MetricScale, constant: tuple[float, float], report: Report,
                 counting: Counting, processes: Processes) -> _Trained | None:
    """Return the best of the trainings with ``job.tries`` seeds, None where others lead."""
    first = copied_weights(start.student.network)
    known = {pair.labelled: pair for pair in data.known}
    validation = Validation(
        Measure('abs_rel', 'AbsRel in metres', job.patience),
        lambda network, images: mean_abs_rel(network, [known[image] for image in images], scale))
    best: _Trained | None = None
    for number in range(job.tries):
        seed = job.recipe.seed + number
        one = replace(job, recipe=replace(job.recipe, seed=seed))
        run = RunFolder(job.folder / _TRY.format(number + 1) if number else job.folder)
        make_folder(run.folder)
        if processes.leads and not run.state.is_file():
            store_options(run.folder, {**options, '--seed': seed})
        # As at the first try, whatever device and layout that has used.
        start.student.network.to('cpu', memory_format=torch.contiguous_format)
        load_weights(start.student.network.state_dict(), first)
        trainer = _begin(one, run, start, data, scale, constant, counting, processes)
        _report_training(trainer, scale, constant, report)
        if not processes.leads:
            follow(trainer)
            continue
        found = train(run, trainer, [pair.labelled for pair in data.validation],
                      job.validate_every, report, counting, validation)
        if best is None or found < best.validated:
            best = _Trained(trainer.result(), found, seed, trainer.first_share)
    if best is not None and job.tries > 1:
        report(f'      of {job.tries} trainings the one with seed {best.seed} is the best on '
               'validation images')
    return best


def _begin(job: MetricJob, run: RunFolder, start: Start, data: _Data, scale: MetricScale,
           constant: tuple[float, float], counting: Counting, processes: Processes) -> Trainer:
    """Return the trainer, at the step of the state in the folder or before its first step."""
    if processes.shared(run.state.is_file):
        trainer = _trainer(job, start, data, scale, processes)
        with processes.in_turn():
            resume(run, trainer, job.force)
        if trainer.step:
            return trainer
    if processes.leads:
        fit_frames(start.student, data.training, job.weights, scale, constant, job.recipe,
                   job.device, counting)
    processes.copy_weights(start.student.network)
    return _trainer(job, start, data, scale, processes)


def _trainer(job: MetricJob, start: Start, data: _Data, scale: MetricScale,
             processes: Processes) -> Trainer:
    objective = MetricObjective(data.training, job.weights, scale, job.recipe, job.companion,
                                processes)
    images: list[LabelledImage] = [pair.labelled for pair in data.training]
    return Trainer(start.student, job.recipe, images, job.device, processes=processes,
                   objective=objective)


def _report_training(trainer: Trainer, scale: MetricScale, constant: tuple[float, float],
                     report: Report) -> None:
    height, width = trainer.recipe.crop_hw
    report(f'training: {trainer.student.name}, {trainer.recipe.steps} steps of '
           f'{trainer.recipe.batch} crops of {width}x{height}, seed {trainer.recipe.seed}, on '
           f'{trainer.device}; metres for a focal length of {scale.focal_px:g} px, from '
           f'{scale.limits.minimum_m:g} to {scale.limits.maximum_m:g} m')
    report(f'      the fit for all images: scale {constant[0]:.4g}, shift '
           f'{constant[1]:.4g}')
    if trainer.step:
        report(f'      resuming after step {trainer.step}')


def _save(job: MetricJob, start: Start, start_sha256: str, trained: _Trained,
          scale: MetricScale, data: _Data, result: Result) -> MetricRecord:
    limits = scale.limits
    record = MetricRecord(
        start.student.name, start.model_version, start.name, start_sha256, start.licence,
        scale.focal_px, (limits.minimum_m, limits.maximum_m), len(data.training),
        len(data.held_out), {**job.record_recipe(), 'seed': trained.seed,
                             'first_share': trained.first_share},
        result.figures(), write_weights(job.checkpoint, trained.network))
    write_metric_record(job.checkpoint, record)
    return record


def _write_card(job: MetricJob, record: MetricRecord, result: Result) -> None:
    nearest_m, farthest_m = record.range_m
    rows = '\n'.join(f'| {TITLES[name]} | {one.abs_rel:.3f} | {one.delta1:.3f} | '
                     f'{one.rmse_m:.3f} |' for name, one in result.scores.items())
    bins = '\n'.join(f'| {name} | {100 * error:+.1f} % |'
                     for name, error in result.scores[METRIC].scale_errors.items())
    sources = '\n'.join(f'- {" ".join(name.split())}' for name in job.data)
    text = f"""# {job.output.stem}

{record.start}, fine-tuned to metres. Licence: {record.licence}.

- Metres from {nearest_m:g} to {farthest_m:g} m, for a focal length of {record.focal_px:g} px of
  the network's image. Other cameras are converted with their camera_info; without it the node
  publishes no metres.
- Learned from {record.images} images, judged on {record.held_out} others, the end of each source.

Data:

{sources}

| on the held-out images | AbsRel | delta1 | RMSE [m] |
|---|---|---|---|
{rows}

| depth [m] | median error of the scale |
|---|---|
{bins}

{result.advice[0].upper()}{result.advice[1:]}.

Limits: the scale is that of places like those in the data. Other rooms, weather, heights of the
camera and lenses with strong distortion need data of their own.
"""
    with atomic_path(job.output.with_suffix('.md')) as file:
        file.write_text(printable(text), encoding='utf-8')
