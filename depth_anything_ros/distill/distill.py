"""A whole distillation: images, labels, training, checkpoint and IR."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
import os
from pathlib import Path
from typing import Protocol

from depth_anything_ros.cli.progress import count_in_lines, Counting, Report
from depth_anything_ros.convert.conversion import convert, convert_to_int8, Job
from depth_anything_ros.convert.sources.graphs import is_graph
from depth_anything_ros.convert.sources.load_network import load_network, origin_of
from depth_anything_ros.convert.sources.records import (
    distillation_record_path, DistillationRecord, read_distillation_record, sha256_of,
    write_distillation_record)
from depth_anything_ros.convert.sources.source_files import is_part_of
from depth_anything_ros.distill.dataset import (
    collect, DatasetImage, label_folder, LabelFacts, LabelledImage, make_labels, split_dataset)
from depth_anything_ros.distill.job import DistillJob, has_options, store_options
from depth_anything_ros.distill.processes import ALONE, Processes
from depth_anything_ros.distill.students import make_student, narrow_student, Student
from depth_anything_ros.distill.teacher import open_teacher, source_sha256, Teacher, TeacherOptions
from depth_anything_ros.distill.train_loop import (
    follow, resume, RunFolder, save_tensors, train)
from depth_anything_ros.distill.trainer import Trainer
from depth_anything_ros.errors import SettingsError
from depth_anything_ros.files import (
    atomic_path, check_name, check_replaceable, check_target, make_folder)
from depth_anything_ros.model_info import Precision
from depth_anything_ros.networks.depth_anything import DepthAnything
from depth_anything_ros.networks.models import (
    common_licence, EncoderSpec, forbids_commercial_use, MODELS)

# Depth and tokens have the same weight, as in Depth Anything V1.
_ALIGNMENT_WEIGHT = 1.0


@dataclass(frozen=True)
class DistilledModel:
    """A finished student: its .xml, its checkpoint, and the record of how it was made."""

    path: Path
    checkpoint: Path
    record: DistillationRecord


def distill(job: DistillJob, *, table: tuple[EncoderSpec, ...] = MODELS,
            report: Report = print, counting: Counting | None = None,
            processes: Processes = ALONE) -> DistilledModel | None:
    """
    Train a student and write its checkpoint and IR, continuing from what the work folder holds.

    With ``job.labels_only`` it ends with the labels of ``job.shard`` and returns None, as it does
    in all ``processes`` but the leading one.
    DepthAnythingError or OSError say what is wrong; the work folder stays usable then.
    """
    counting = counting or partial(count_in_lines, report)
    is_source = partial(is_part_of, [job.teacher, *([job.start] if job.start else [])])
    check_target(job.output, job.force or job.labels_only, is_source=is_source)
    if job.labels_only:
        _label_shard(job, table, report, counting, processes)
        return None
    student = make_student(job.student, job.start, job.recipe.seed, teacher=job.teacher,
                           table=table)
    _check_matching(job)
    start_sha256 = source_sha256(job.start) if job.start else ''
    options = job.options(source_sha256(job.teacher), start_sha256)
    resumes = has_options(job.folder, options, job.force)
    check_checkpoint(job.checkpoint, job.force or (
        resumes and read_distillation_record(job.checkpoint) is not None), is_source)
    images = processes.shared(lambda: _collect(job, report, counting))
    with closing(_open_teacher(job, table, report, processes)) as teacher:
        labels = _label(job, teacher, images, table, report, counting, processes)
    start, licence = _start_and_licence(job, teacher.licence, table, report)
    training, held_out = split_dataset(list(labels), job.hold_out)
    report(f'images: {len(training)} for training, {len(held_out)} held out')
    run = RunFolder(job.folder)
    if processes.leads and not resumes:
        run.clear()
        store_options(job.folder, options)
    pairs = [labels[image] for image in training]
    trainer = _begin(job, run, student, pairs, table, report, counting, processes)
    _report_training(trainer, report)
    if not processes.leads:
        follow(trainer)
        processes.leave()
        return None
    found = train(run, trainer, [labels[image] for image in held_out], job.validate_every, report,
                  counting)
    processes.leave()
    record = save_checkpoint(job.checkpoint, trainer.result(), DistillationRecord(
        job.student, teacher.name, teacher.sha256, licence, len(training), len(held_out),
        job.recipe.seed, {**asdict(trainer.recipe), 'first_share': trainer.first_share}, found, '',
        start, start_sha256))
    convert_student(job, [image.path for image in training], table, report)
    return DistilledModel(job.output, job.checkpoint, record)


def _start_and_licence(job: DistillJob, teacher: str, table: tuple[EncoderSpec, ...],
                       report: Report) -> tuple[str, str]:
    """Return the name of the start, '' without one, and the licence that it leaves the student."""
    if job.start is None:
        return '', job.licence or teacher
    name, own = origin_of(job.start, table)
    report(f'start: {name}, licence {own}')
    licence = job.licence or common_licence([teacher, own])
    if job.licence is None and licence != teacher:
        report(f'the licence of the student is {licence}, because of its start'
               + ', which forbids commercial use' * forbids_commercial_use(licence))
    return name, licence


def _begin(job: DistillJob, run: RunFolder, student: Student, images: list[LabelledImage],
           table: tuple[EncoderSpec, ...], report: Report, counting: Counting,
           processes: Processes) -> Trainer:
    """Return the trainer, at the step of the state in the folder or before its first step."""
    if processes.shared(run.state.is_file):
        trainer = _make_trainer(job, student, images, table, report, processes)
        with processes.in_turn():
            resume(run, trainer, job.force)
        if trainer.step:
            return trainer
    # A trainer has moved it to its device.
    student.network.cpu()
    if processes.leads:
        narrow_student(student, images, job.recipe.crop_hw, job.recipe.seed, report, counting)
    processes.copy_weights(student.network)
    return _make_trainer(job, student, images, table, report, processes)


def save_checkpoint(path: Path, network: DepthAnything, record: DistillationRecord
                    ) -> DistillationRecord:
    """Write the weights and beside them ``record``, which is returned with their sha256."""
    record = replace(record, sha256=write_weights(path, network))
    write_distillation_record(path, record)
    return record


def write_weights(path: Path, network: DepthAnything) -> str:
    """Write the weights of a network and return the file's sha256; CheckpointError if it fails."""
    weights = {name: value.detach().cpu().contiguous()
               for name, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(path, weights)
    return sha256_of([path])


class Conversion(Protocol):
    """What a training needs to know to write its IR: the job of either program."""

    @property
    def checkpoint(self) -> Path: ...

    @property
    def output(self) -> Path: ...

    @property
    def precision(self) -> Precision: ...

    @property
    def force(self) -> bool: ...

    @property
    def folder(self) -> Path: ...


def convert_student(job: Conversion, images: Sequence[Path], table: tuple[EncoderSpec, ...],
                    report: Report) -> None:
    """
    Write the IR of the job's checkpoint.

    INT8 is calibrated and measured with ``images``, the training images, and trained in INT8 if it
    loses too much without. CheckpointError, ParityError, QualityError or OSError leave no IR
    behind.
    """
    conversion = Job(job.checkpoint, job.output, job.precision, overwrite=job.force)
    if job.precision != 'int8':
        convert(conversion, table=table, report=report)
        return
    image_list = job.folder / 'calibration.txt'
    with atomic_path(image_list) as file:
        file.write_bytes(b''.join(os.fsencode(path.resolve()) + b'\n' for path in images))
    convert_to_int8(conversion, str(image_list), train=True, table=table, report=report)


def check_checkpoint(path: Path, may_replace: bool, is_source: Callable[[Path], bool]) -> None:
    """Raise CheckpointError if a training cannot or must not write the file and its record."""
    check_name(distillation_record_path(path))
    check_replaceable(path, may_replace, is_source,
                      'the file exists already, and the checkpoint goes there')


def _check_matching(job: DistillJob) -> None:
    """Raise SettingsError, before hours of labelling, if the tokens cannot be matched."""
    matching, steps = job.recipe.matching, job.recipe.steps
    problem = ''
    if matching >= steps:
        problem = f'less than the {steps} steps of the training'
    elif is_graph(job.teacher):
        problem = '0: the tokens of a teacher that is an ONNX file or an IR cannot be read'
    if matching and problem:
        raise SettingsError('--matching', matching, problem)


def _label_shard(job: DistillJob, table: tuple[EncoderSpec, ...], report: Report,
                 counting: Counting, processes: Processes) -> None:
    """Label the images of ``job.shard``, every n-th one, for a training that finds them."""
    images = processes.shared(lambda: _collect(job, report, counting))
    number, count = job.shard
    part = images[number - 1::count]
    with closing(_open_teacher(job, table, report, processes)) as teacher:
        labels = _label(job, teacher, part, table, report, counting, processes)
    processes.leave()
    report(f'labels: part {number} of {count}, {len(labels)} of {len(images)} images')


def _collect(job: DistillJob, report: Report, counting: Counting) -> list[DatasetImage]:
    """Return all images, which are enough to train with, in the work folder or elsewhere."""
    make_folder(job.folder)
    folder = job.folder / f'pictures-{job.selection.short_side}'
    if job.fleet is not None:
        from depth_anything_ros.distill.fleet import collect_on_fleet
        images = collect_on_fleet(job, folder, report, counting)
    else:
        images = collect(job.data, folder, job.selection, report, counting)
    split_dataset(images, job.hold_out)
    return images


def _open_teacher(job: DistillJob, table: tuple[EncoderSpec, ...], report: Report,
                  processes: Processes) -> Teacher:
    # The machines of a fleet choose their devices themselves.
    device = 'cpu' if job.fleet is not None else job.device
    options = TeacherOptions(job.folder, device, job.sizes, job.flip)
    with processes.in_turn():
        return open_teacher(job.teacher, job.overrides, options, table=table, report=report)


def _label(job: DistillJob, teacher: Teacher, images: list[DatasetImage],
           table: tuple[EncoderSpec, ...], report: Report, counting: Counting,
           processes: Processes) -> Mapping[DatasetImage, LabelledImage]:
    """
    Return the images with their labels, without those that cannot be labelled.

    Each process, or each worker of the fleet, labels its part of them.
    """
    mirrored = ', averaged with the mirrored image' if teacher.flip else ''
    report(f'teacher: {teacher.name}, {teacher.kind}, licence {teacher.licence}, input '
           f'{", ".join(map(str, teacher.sizes))}{mirrored}')
    if job.licence is None and forbids_commercial_use(teacher.licence):
        report(f'the student is under {teacher.licence} too, which forbids commercial use')
    folder = label_folder(job.folder, LabelFacts(
        teacher.sha256, job.overrides, teacher.sizes, teacher.flip, job.selection.short_side))
    if job.fleet is not None:
        from depth_anything_ros.distill.fleet import label_on_fleet
        return label_on_fleet(job, images, teacher, folder, table, report, counting)
    lines: list[str] = []
    made = make_labels(processes.part(images), teacher, folder,
                       report if processes.leads else lines.append, counting)
    parts = processes.gathered((made, lines))
    for line in (line for _, reported in parts for line in reported):
        report(line)
    labels = {image: label for part, _ in parts for image, label in part.items()}
    return {image: labels[image] for image in images if image in labels}


def _make_trainer(job: DistillJob, student: Student, images: list[LabelledImage],
                  table: tuple[EncoderSpec, ...], report: Report, processes: Processes) -> Trainer:
    """
    Return the trainer, which compares tokens if the teacher is a checkpoint.

    An encoder that begins as a teacher is not aligned: its tokens are like the teacher's anyway.
    """
    aligns = not student.begins_as_teacher
    if (aligns or job.recipe.matching) and not is_graph(job.teacher):
        network = load_network(job.teacher, job.overrides, table).network
        recipe = replace(job.recipe, alignment_weight=_ALIGNMENT_WEIGHT * aligns)
        return Trainer(student, recipe, images, job.device, network, processes)
    if aligns:
        report('the teacher has no tokens to align, so the student learns from its depth alone')
    return Trainer(student, job.recipe, images, job.device, processes=processes)


def _report_training(trainer: Trainer, report: Report) -> None:
    recipe = trainer.recipe
    height, width = recipe.crop_hw
    report(f'student: {trainer.student.name}, {recipe.steps} steps of {recipe.batch} crops of '
           f'{width}x{height}, seed {recipe.seed}, on {trainer.device}'
           + (f' in {trainer.processes.count} processes' * (trainer.processes.count > 1)))
    if recipe.matching:
        report(f"      the first {recipe.matching} steps match the student's tokens to the "
               "teacher's")
    if trainer.step:
        report(f'      resuming after step {trainer.step}')
