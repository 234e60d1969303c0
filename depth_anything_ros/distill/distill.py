"""The whole way: a teacher, pictures, labels, a training, a checkpoint and an IR."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from depth_anything_ros.cli.progress import count_in_lines, Counting, Report
from depth_anything_ros.convert.conversion import convert, Job
from depth_anything_ros.convert.quantize.quantize import quantize, QuantizeJob
from depth_anything_ros.convert.sources.graphs import is_graph
from depth_anything_ros.convert.sources.load_network import load_network
from depth_anything_ros.convert.sources.records import (
    DistillationRecord, read_distillation_record, sha256_of, write_distillation_record)
from depth_anything_ros.distill.dataset import collect, hold_out, Picture
from depth_anything_ros.distill.job import DistillJob, remember, same_as_before
from depth_anything_ros.distill.labels import label_folder, LabelFacts, Labelled, make_labels
from depth_anything_ros.distill.students import make_student, Student
from depth_anything_ros.distill.teacher import open_teacher, source_sha256, Teacher, TeacherOptions
from depth_anything_ros.distill.train_loop import learn, resume, RunFolder
from depth_anything_ros.distill.trainer import Training
from depth_anything_ros.errors import CheckpointError, ImageError
from depth_anything_ros.files import atomic_file, check_target, make_folder, staged
from depth_anything_ros.networks.depth_anything import DepthAnything, Network
from depth_anything_ros.networks.models import MODELS, ModelSpec
import torch

FEWEST = 8
# The depth and the tokens weigh the same, as in Depth Anything V1.
_ALIGNMENT_WEIGHT = 1.0


@dataclass(frozen=True)
class Distilled:
    """A finished student: its .xml, the checkpoint it was made from and how that was made."""

    path: Path
    checkpoint: Path
    record: DistillationRecord


def distill(job: DistillJob, *, table: tuple[ModelSpec, ...] = MODELS,
            report: Report = print, counting: Counting | None = None) -> Distilled:
    """
    Teach a student and write its checkpoint and its IR; what was done before is not done again.

    DepthAnythingError or OSError say what is wrong; what ``job.folder`` holds then stays good.
    """
    counting = counting or partial(count_in_lines, report)
    check_target(job.output, job.force)
    student = make_student(job.student, job.start, job.recipe.seed)
    options = job.options(source_sha256(job.teacher))
    goes_on = same_as_before(job.folder, options, job.force)
    _check_checkpoint(job, goes_on)
    make_folder(job.folder)
    pictures = collect(job.data, job.folder / f'pictures-{job.selection.short_side}',
                      job.selection, report, counting)
    _split(pictures, job.hold_out)
    teacher = open_teacher(job.teacher, job.overrides, TeacherOptions(
        job.folder, job.device, job.sizes, job.flip), table=table, report=report)
    learned, held_out = _label(job, teacher, pictures, report, counting)
    place = RunFolder(job.folder)
    if not goes_on:
        place.clear()
        remember(job.folder, options)
    training = _training(job, student, learned, table, report)
    resume(place, training, job.force)
    _announce(training, report)
    found = learn(place, training, held_out, job.look_every, report, counting)
    record = save_checkpoint(job.checkpoint, training.result(), DistillationRecord(
        job.student, teacher.name, teacher.sha256, job.licence or teacher.licence, len(learned),
        len(held_out), job.recipe.seed, asdict(training.recipe), found, ''))
    convert_student(job, [one.image for one in learned], table, report)
    return Distilled(job.output, job.checkpoint, record)


def _check_checkpoint(job: DistillJob, goes_on: bool) -> None:
    """Raise CheckpointError where the name of the checkpoint is taken, unless by this job."""
    path = job.checkpoint
    if path.exists() and not job.force and not (goes_on and read_distillation_record(path)):
        raise CheckpointError(path, 'the file exists already, and the checkpoint goes there',
                              'add --force to replace it or choose another -o')


def _split(pictures: list[Picture], every: int) -> tuple[list[Picture], list[Picture]]:
    """Return (pictures to learn from, held-out ones); ImageError for too few of them."""
    learned, held_out = hold_out(pictures, every)
    if len(learned) < FEWEST or not held_out:
        raise ImageError(
            f'{len(learned)} pictures to learn from and {len(held_out)} held out are too few; '
            f'give data with at least {FEWEST} and 1, better thousands, or change --hold-out')
    return learned, held_out


def _label(job: DistillJob, teacher: Teacher, pictures: list[Picture], report: Report,
           counting: Counting) -> tuple[list[Labelled], list[Labelled]]:
    mirrored = ', averaged with the mirrored picture' if teacher.flip else ''
    report(f'teacher: {teacher.name}, {teacher.kind}, licence {teacher.licence}, input '
           f'{", ".join(map(str, teacher.sizes))}{mirrored}')
    if job.licence is None and '-NC' in teacher.licence.upper():
        report(f'the student is under {teacher.licence} too, which forbids commercial use')
    folder = label_folder(job.folder, LabelFacts(
        teacher.sha256, job.overrides, teacher.sizes, teacher.flip, job.selection.short_side))
    labels = make_labels(pictures, teacher, folder, report, counting)
    learned, held_out = _split(list(labels), job.hold_out)
    report(f'pictures: {len(learned)} to learn from, {len(held_out)} held out')
    return [labels[one] for one in learned], [labels[one] for one in held_out]


def _training(job: DistillJob, student: Student, images: list[Labelled],
              table: tuple[ModelSpec, ...], report: Report) -> Training:
    """Return the training, with the teacher's tokens where student and teacher have some."""
    if student.token_width and not is_graph(job.teacher):
        network = load_network(job.teacher, job.overrides, table).network
        if isinstance(network, DepthAnything):
            recipe = replace(job.recipe, alignment_weight=_ALIGNMENT_WEIGHT)
            return Training(student, recipe, images, job.device, network)
    if student.token_width:
        report('the teacher shows no tokens, so the student learns its depth alone')
    return Training(student, job.recipe, images, job.device)


def _announce(training: Training, report: Report) -> None:
    recipe = training.recipe
    height, width = recipe.crop_hw
    report(f'student: {training.student.name}, {recipe.steps} steps of {recipe.batch} crops of '
           f'{width}x{height}, seed {recipe.seed}, on {training.device}')
    if training.step:
        report(f'      going on after step {training.step}')


def save_checkpoint(path: Path, network: Network, record: DistillationRecord
                    ) -> DistillationRecord:
    """Write the weights and beside them ``record``, which is returned with their sha256."""
    weights = {name: value.detach().cpu().contiguous()
               for name, value in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        torch.save(weights, file)
    record = replace(record, sha256=sha256_of([path]))
    write_distillation_record(path, record)
    return record


def convert_student(job: DistillJob, pictures: Sequence[Path], table: tuple[ModelSpec, ...],
                    report: Report) -> None:
    """
    Write the IR of a checkpoint that ``save_checkpoint`` wrote.

    INT8 is calibrated and measured with ``pictures``, which the student learned from.
    CheckpointError, ParityError, QualityError or OSError leave no IR behind.
    """
    whole = Job(job.checkpoint, job.output, job.precision, overwrite=job.force)
    if job.precision != 'int8':
        convert(whole, table=table, report=report)
        return
    names = job.folder / 'calibration.txt'
    with atomic_file(names) as file:
        file.write_text(''.join(f'{path.resolve()}\n' for path in pictures), encoding='utf-8')
    with staged(job.output, 0) as folder:
        floating = folder / f'{job.output.stem}.xml'
        convert(replace(whole, output=floating, precision='fp16'), table=table, report=report)
        quantize(QuantizeJob(floating, job.output, str(names), force=job.force), report=report)
