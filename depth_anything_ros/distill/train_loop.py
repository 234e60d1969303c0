"""The training loop: validation, the state to resume from, progress and curves on disk."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
import hashlib
import math
from pathlib import Path
import pickle
from statistics import fmean
import time
from typing import Any

from depth_anything_ros.cli.progress import Counting, duration_text, Report
from depth_anything_ros.cli.signals import deferred_signals
from depth_anything_ros.distill.curves import (
    draw_curves, Measure, RANK_CORRELATION, TrainingLog)
from depth_anything_ros.distill.dataset import LabelledImage
from depth_anything_ros.distill.trainer import StepResult, Trainer
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.files import atomic_path
from depth_anything_ros.networks.depth_anything import DepthAnything
from depth_anything_ros.process import keep_freed_memory, TRAINING_BYTES
from depth_anything_ros.vision.agreement import rank_correlation
from depth_anything_ros.vision.transforms import (
    network_size, normalize, resize_depth, resize_for_network)
import numpy as np
import torch

_FACTS = 'training'
# Facts that states of earlier releases lack, with the value that they had.
_ADDED_FACTS = {'matching': 0}
_START_OVER = 'remove the file to start over'
_SAVE_EVERY_S = 300.0
# A validation during the training uses at most about this many images, to take a moment only.
_VALIDATION_IMAGES = 100
# Shares of the first weights that the result may have.
_FIRST_SHARES = tuple(tenths / 10 for tenths in range(7))
# The time per step is measured between these steps; the first ones take longer.
_TIMED_FROM, _TIMED_TO = 2, 12


@dataclass(frozen=True)
class RunFolder:
    """The files of a training in its folder."""

    folder: Path

    @property
    def state(self) -> Path:
        """Return the file from which the training resumes."""
        return self.folder / 'state.pth'

    @property
    def log(self) -> Path:
        """Return the file of the training log."""
        return self.folder / 'journal.jsonl'

    @property
    def curves(self) -> Path:
        """Return the figure of the training log."""
        return self.folder / 'curves.png'

    @property
    def best(self) -> Path:
        """Return the file with the best weights so far, where the measure keeps them."""
        return self.folder / 'best.pth'

    def clear(self) -> None:
        """Remove all of them."""
        for file in (self.state, self.log, self.curves, self.best):
            file.unlink(missing_ok=True)


Score = Callable[[DepthAnything, Sequence[LabelledImage]], float]


@dataclass(frozen=True)
class Validation:
    """How a network is validated: ``score`` returns the ``measure`` of some images."""

    measure: Measure
    score: Score


def train(run: RunFolder, trainer: Trainer, held_out: Sequence[LabelledImage],
          validate_every: int, report: Report, counting: Counting,
          validation: Validation | None = None) -> float:
    """
    Train to the last step and return the result of the validation on the held-out images.

    That is by default the mean rank correlation with the labels; where the measure keeps the best
    weights, the trainer's result has those. It is mixed with as much of the first weights as is
    best on held-out images: they know more of places that the training images do not show. The
    report has the result on the training images too: the difference shows whether more images or
    more steps would help. Ctrl-C and SIGTERM take effect after the present step, when its state is
    on disk. SettingsError if the depth is no longer finite.
    """
    validation = validation or Validation(RANK_CORRELATION, mean_rank_correlation)
    measure = validation.measure
    log = TrainingLog(run.log, trainer.step, measure)
    if trainer.step < trainer.recipe.steps and not trainer.processes.any_of(
            _is_over(log, measure)):
        # Each step needs the memory of the previous one again.
        keep_freed_memory(TRAINING_BYTES)
        _train(run, log, trainer, held_out, validate_every, report, counting, validation)
    earlier = {step: value for step, value in log.validations().items() if step < trainer.step}
    if measure.patience and earlier:
        last = _score(validation, trainer, trainer.result(), _subset(held_out))
        if last > min(earlier.values()):
            step = measure.best(earlier)
            report(f'      the weights of step {step} are the best on validation images')
            trainer.averaged.load_state_dict(_read_state(run.best))
    _mix(trainer, validation, _subset(held_out), report)
    network = trainer.result()
    found = _score(validation, trainer, network, held_out)
    on_training = _score(validation, trainer, network, _subset(trainer.images))
    report(f'      {measure.title}: {found:.4f} on validation images, {on_training:.4f} on '
           'training images')
    log.add_validation(trainer.step, found)
    draw_curves(run.log, run.curves, measure)
    return found


def follow(trainer: Trainer) -> None:
    """Train to the last step beside the leading process, which does everything else."""
    if trainer.step < trainer.recipe.steps and trainer.processes.any_of(False):
        # The leading process found that the training is over.
        return
    keep_freed_memory(TRAINING_BYTES)
    with deferred_signals(deliver=True) as stop:
        for _ in trainer.run():
            if trainer.processes.any_of(stop.is_set()):
                break


def resume(run: RunFolder, trainer: Trainer, force: bool) -> None:
    """
    Continue from the state in the folder, if there is one.

    CheckpointError says why that is impossible; with ``force`` the training starts over instead.
    """
    if not run.state.is_file():
        return
    try:
        load_state(run.state, trainer)
    except CheckpointError:
        if not force:
            raise
        run.clear()


def save_state(path: Path, trainer: Trainer) -> None:
    """Write the state of a training; a CheckpointError leaves an older file unchanged."""
    save_tensors(path, {_FACTS: _facts(trainer), **trainer.state_dict()})


def save_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of PyTorch; a CheckpointError leaves an older file unchanged."""
    try:
        with atomic_path(path) as staged, staged.open('wb') as file:
            torch.save(dict(content), file)
    except (OSError, RuntimeError) as error:
        # PyTorch raises a RuntimeError where the disk is full.
        raise CheckpointError(path, f'the file cannot be written ({error})',
                              'free some space or choose another folder') from error


def load_state(path: Path, trainer: Trainer) -> None:
    """
    Load a state that ``save_state`` wrote.

    CheckpointError if the file is damaged, or names what differs if it is from a training of
    another student, recipe or set of images.
    """
    state = _read_state(path)
    found, expected = state.get(_FACTS), _facts(trainer)
    if not isinstance(found, Mapping):
        raise CheckpointError(path, 'it is not the state of a training', _START_OVER)
    found = {**_ADDED_FACTS, **found}
    for name, value in expected.items():
        if found.get(name) != value:
            raise CheckpointError(
                path, f'the training in it has {name} {found.get(name)}, this one {value}',
                f'continue with its settings, or {_START_OVER}')
    step, steps = state.get('step'), trainer.recipe.steps
    if type(step) is not int or not 0 <= step <= steps:
        raise CheckpointError(path, f'its step is {step!r:.40}, not one from 0 to {steps}',
                              _START_OVER)
    try:
        trainer.load_state_dict(state)
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(path, f'its weights do not fit the student ({error})',
                              _START_OVER) from error


def mean_rank_correlation(network: DepthAnything, images: Sequence[LabelledImage],
                          input_size: int | None = None) -> float:
    """
    Return the mean rank correlation of a network with the labels of at least one image.

    ``input_size`` is the short side of the network's input [px], None for its default. Every
    second row and column at that size is compared. NaN for a network whose depth is not finite.
    """
    return fmean(_rank_correlation(network, image, input_size or network.input_spec.size)
                 for image in images)


def _rank_correlation(network: DepthAnything, image: LabelledImage, input_size: int) -> float:
    image_bgr, label = image.read()
    spec = network.input_spec
    network_hw = network_size(label.shape, input_size, spec.multiple)
    tensor = normalize(resize_for_network(image_bgr, network_hw), spec.mean_rgb, spec.std_rgb)
    with torch.inference_mode():
        output = network(torch.from_numpy(tensor))[0].numpy()
    if not np.isfinite(output).all():
        return math.nan
    depth = resize_depth(output, network_hw)
    return rank_correlation(depth[::2, ::2], resize_depth(label, network_hw)[::2, ::2])


def _score(validation: Validation, trainer: Trainer, network: DepthAnything,
           images: Sequence[LabelledImage]) -> float:
    found = validation.score(network, images)
    if not math.isfinite(found):
        raise trainer.diverged(f'after step {trainer.step} the depth is not finite')
    return found


def _train(run: RunFolder, log: TrainingLog, trainer: Trainer, held_out: Sequence[LabelledImage],
           validate_every: int, report: Report, counting: Counting,
           validation: Validation) -> None:
    measure = validation.measure
    steps, first = trainer.recipe.steps, trainer.step
    validation_images = _subset(held_out)
    saved, is_over = time.monotonic(), False

    def validate() -> bool:
        """Log the present weights and return whether the training is over."""
        found = _score(validation, trainer, trainer.result(), validation_images)
        if measure.patience and found < min(log.validations().values(), default=math.inf):
            save_tensors(run.best, trainer.averaged.state_dict())
        log.add_validation(trainer.step, found)
        report(f'      step {trainer.step}: {measure.name.replace("_", " ")} {found:.4f}')
        return _is_over(log, measure)

    if measure.patience and not first:
        # The first weights may be the best ones.
        validate()
    report_duration = _DurationReport(first, steps, report)
    with deferred_signals(deliver=True) as stop, counting('steps', steps, first) as advance:
        for result in trainer.run():
            log.add(result)
            report_duration(result)
            stops = trainer.processes.any_of(stop.is_set() or is_over)
            validates = result.step % validate_every == 0 or result.step == steps
            if validates or stops or time.monotonic() - saved > _SAVE_EVERY_S:
                save_state(run.state, trainer)
                saved = time.monotonic()
            if stops:
                break
            if validates and result.step < steps:
                is_over = validate()
                draw_curves(run.log, run.curves, measure)
                if is_over:
                    report('      the training ends early: '
                           f'{measure.patience} validations without an improvement')
            advance(f'loss {result.loss:.3f}')


def _mix(trainer: Trainer, validation: Validation, images: Sequence[LabelledImage],
         report: Report) -> None:
    """Give the result the share of the first weights that is best on validation images."""
    measure, found = validation.measure, dict[float, float]()
    for share in _FIRST_SHARES:
        trainer.first_share = share
        found[share] = _score(validation, trainer, trainer.result(), images)
    trainer.first_share = measure.best(found)
    if trainer.first_share:
        report(f'      mixed with {100 * trainer.first_share:.0f} % of the first weights, which '
               f'changes the {measure.title} from {found[0]:.4f} to '
               f'{found[trainer.first_share]:.4f}')


def _is_over(log: TrainingLog, measure: Measure) -> bool:
    """Return whether the last validations brought no improvement."""
    found, patience = list(log.validations().values()), measure.patience
    return 0 < patience < len(found) and min(found[-patience:]) >= min(found[:-patience])


def _subset(images: Sequence[LabelledImage]) -> Sequence[LabelledImage]:
    """Return every n-th image, at most ``_VALIDATION_IMAGES``."""
    return images[::-(-len(images) // _VALIDATION_IMAGES)]


class _DurationReport:
    """Reports once, after the first steps, how long the training will take."""

    def __init__(self, first: int, steps: int, report: Report) -> None:
        self._first, self._steps, self._report = first, steps, report
        self._start = 0.0

    def __call__(self, result: StepResult) -> None:
        done = result.step - self._first
        if done == _TIMED_FROM:
            self._start = time.monotonic()
        elif done == _TIMED_TO and result.step < self._steps:
            seconds = (time.monotonic() - self._start) / (_TIMED_TO - _TIMED_FROM)
            left = self._steps - result.step
            self._report(f'      {seconds:.2f} s per step, about {duration_text(left * seconds)} '
                         f'for the other {left}')


def _facts(trainer: Trainer) -> dict[str, Any]:
    """Return by name, for error messages, what must be the same to resume."""
    recipe = asdict(trainer.recipe)
    augmentation = recipe.pop('augmentation')
    names = '\n'.join(image.image.name for image in trainer.images)
    return {'student': trainer.student.name, **recipe, **augmentation,
            'number of images': len(trainer.images),
            'sha256 of the names of the images': hashlib.sha256(
                names.encode('utf-8', 'surrogateescape')).hexdigest()}


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except OSError as error:
        raise CheckpointError(path, f'it cannot be read ({error.strerror})',
                              _START_OVER) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError, KeyError, ValueError) as error:
        raise CheckpointError(path, f'it is damaged ({type(error).__name__})',
                              _START_OVER) from error
    if not isinstance(state, dict):
        raise CheckpointError(path, 'it is not the state of a training', _START_OVER)
    return state
