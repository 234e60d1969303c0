"""An IR in floating point becomes an IR in INT8 that meets the gate."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from depth_anything_ros.arrays import F32
from depth_anything_ros.cli.progress import Report, Steps
from depth_anything_ros.convert.export import save_ir
from depth_anything_ros.convert.quantize.gate import Gate
from depth_anything_ros.convert.quantize.images import (
    hold_out, inputs_of_one_size, inputs_of_own_size, read_pictures)
from depth_anything_ros.convert.quantize.measure import make_samples, self_check_error
from depth_anything_ros.convert.quantize.operators import UntrainableError
from depth_anything_ros.convert.quantize.quantizer import (
    method, quantize_model, SMOOTH_QUANT_ALPHA)
from depth_anything_ros.convert.quantize.search import LayerSearch, Quantizer, Trial
from depth_anything_ros.convert.quantize.training import (
    train_quantized, Training, training_samples, TrainingOptions)
from depth_anything_ros.convert.sources.source_files import is_part_of
from depth_anything_ros.errors import CheckpointError, QualityError
from depth_anything_ros.files import check_target, publish_model, staging_folder
from depth_anything_ros.inference.devices import SELF_CHECK_LIMIT
from depth_anything_ros.inference.ir import read_model
from depth_anything_ros.media.bag_reader import is_bag
from depth_anything_ros.model_info import ModelInfo, Quantization
from depth_anything_ros.version import __version__

if TYPE_CHECKING:
    import openvino

_STEPS = 6
_LARGEST_INPUT = 392


@dataclass(frozen=True)
class QuantizeJob:
    """
    An IR to quantize, the images for it and the gate that the result must meet.

    ``images`` and ``gate_images`` are arguments of ``media.open_images``; without the latter every
    fourth image goes to the gate. ``input_size`` is the short side in pixels of the calibration
    and gate images; None is the model's own size, at most 392. ``limit`` is the largest number of
    images. ``overwrite`` replaces an existing output, ``force`` writes a model that misses the
    gate. With ``training`` the weights are trained in INT8 if the model misses the gate without.
    ``smooth_quant`` is that of ``quantize_model``.
    """

    source: Path
    output: Path
    images: str
    topic: str | None = None
    gate_images: str | None = None
    gate: Gate = field(default_factory=Gate)
    input_size: int | None = None
    limit: int = 40
    overwrite: bool = False
    force: bool = False
    training: TrainingOptions | None = None
    smooth_quant: float = SMOOTH_QUANT_ALPHA


@dataclass(frozen=True)
class Quantized:
    """A finished INT8 model and all trials of the search, that of the written model last."""

    path: Path
    info: ModelInfo
    trials: tuple[Trial, ...]


def quantize(job: QuantizeJob, *, report: Report = print,
             quantizer: Quantizer | None = None) -> Quantized:
    """
    Write an IR in INT8, with as many layers in floating point as the gate requires.

    CheckpointError, QualityError, ImageError or OSError leave no file behind.
    """
    quantizer = quantizer or partial(quantize_model, smooth_quant=job.smooth_quant)
    check_target(job.output, job.overwrite, is_source=partial(is_part_of, (job.source,)))
    steps = Steps(report, _STEPS + bool(job.training))
    with steps.step(f'reading {job.source} and the images'):
        model, info = _read(job.source)
        pictures = read_pictures(job.images, job.topic, job.limit, report)
        if job.gate_images is None:
            pictures, gate_pictures = hold_out(pictures)
        else:
            topic = job.topic if is_bag(Path(job.gate_images)) else None
            gate_pictures = read_pictures(job.gate_images, topic, job.limit, report)
    report(f'      {len(pictures)} images for calibration, {len(gate_pictures)} for the gate')
    # First, because the search takes minutes.
    with staging_folder(job.output, job.source.with_suffix('.bin').stat().st_size) as folder:
        input_size = job.input_size or min(info.input_size, _LARGEST_INPUT)
        calibration = inputs_of_one_size(pictures, info, input_size)
        gate_inputs = inputs_of_own_size(gate_pictures, info, input_size)
        trials, candidate = _search(job, model, info, calibration, gate_inputs, quantizer, steps,
                                    report)
        trial = trials[-1]
        info = replace(
            info, precision='int8', converter_version=__version__,
            quantization=Quantization(
                _method(job, trial), trial.kept_float, len(calibration), len(gate_inputs),
                trial.loss.abs_rel_mean, trial.loss.abs_rel_max, trial.loss.pearson_min))
        with steps.step(f'writing {job.output}'):
            save_ir(candidate, folder / 'model.xml', info)
            publish_model(folder / 'model.xml', job.output)
    return Quantized(job.output, info, trials)


def _search(job: QuantizeJob, model: 'openvino.Model', info: ModelInfo,
            calibration: Sequence[F32], gate_inputs: Sequence[F32], quantizer: Quantizer,
            steps: Steps, report: Report) -> tuple[tuple[Trial, ...], 'openvino.Model']:
    """Return all trials, the best one last, and its model, which passes gate and self-check."""
    fixed = model.clone()
    fixed.reshape(list(calibration[0].shape))
    with steps.step('computing the depth of the gate images in f32'):
        samples = make_samples(model, gate_inputs)
    search = LayerSearch(fixed, calibration, samples, info, job.gate, quantizer, report,
                         _training(job, fixed, calibration, info, report))
    try:
        search.run(steps)
    except UntrainableError as error:
        raise CheckpointError(job.source, f'{error} cannot be trained',
                              'quantize it without --train') from error
    trial, candidate = search.best()
    if not job.gate.excess(trial.loss) <= 1:
        if not job.force:
            raise QualityError(job.output, str(trial.loss), str(job.gate))
        report(f'      it misses the gate, {job.gate}, and is written because of --force')
    candidate.reshape(model.input(0).partial_shape)
    deviated = self_check_error(candidate, info)
    if not deviated <= SELF_CHECK_LIMIT:
        raise CheckpointError(
            job.output, f'in INT8 it deviates by {deviated:.3f} from the self-check, more than '
            f'the {SELF_CHECK_LIMIT} with which it would run; no file was written',
            'calibrate with more images like those of the camera')
    return (*(other for other in search.trials if other is not trial), trial), candidate


def _training(job: QuantizeJob, model: 'openvino.Model', images: Sequence[F32], info: ModelInfo,
              report: Report) -> Training | None:
    """Return the training of a job, which computes its samples when it begins."""
    options = job.training
    if options is None:
        return None

    def train(candidate: 'openvino.Model') -> 'openvino.Model':
        return train_quantized(candidate, training_samples(model, images), info, options, report)

    return train


def _method(job: QuantizeJob, trial: Trial) -> str:
    """Return how the model of a trial was made, in words."""
    words = method(job.smooth_quant)
    return f'{words}, {job.training}' if trial.trained else words


def _read(path: Path) -> tuple['openvino.Model', ModelInfo]:
    import openvino

    model, info = read_model(openvino.Core(), path)
    if info.precision == 'int8':
        raise CheckpointError(path, 'it is in INT8 already',
                              'give the IR in fp16 or fp32 that it was made from')
    return model, info
