"""One training step after the other: stages, learning rate, losses, teacher's tokens, weights."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
import copy
from dataclasses import dataclass
import math
from typing import Any, Protocol

from depth_anything_ros.distill.batches import Batch, batches, normalized
from depth_anything_ros.distill.dataset import LabelledImage
from depth_anything_ros.distill.job import Recipe
from depth_anything_ros.distill.losses import (
    alignment_error, anchor_error, matching_error, mixed_depth_error)
from depth_anything_ros.distill.processes import ALONE, Processes
from depth_anything_ros.distill.students import Student
from depth_anything_ros.errors import line_of, SettingsError
from depth_anything_ros.inference.devices import has_bf16, is_bf16_slower
from depth_anything_ros.networks.depth_anything import DepthAnything
from depth_anything_ros.networks.drop_path import set_drop_path
import numpy as np
import torch
from torch import nn, Tensor

# The warm-up takes at most one in this many steps.
_MIN_STEPS_PER_WARMUP = 10
_ENCODER = 'pretrained.'


@dataclass(frozen=True)
class StepResult:
    """The number of a step, from 1, its loss, and the factor of its learning rates, 0 to 1."""

    step: int
    loss: float
    rate: float


class TrainingBatch(Protocol):
    """The images of one step, u8 [N, H, W, 3], BGR, and what its objective adds."""

    @property
    def images(self) -> Tensor: ...


class Objective(Protocol):
    """What a training learns from instead of the labels of its images."""

    def batches(self, first_step: int) -> Generator[TrainingBatch, None, None]:
        """Yield the batches from ``first_step`` on, each of which depends on its step alone."""

    def loss(self, batch: Any, predicted: Tensor) -> Tensor:
        """Return the loss of the network's maps [N, H, W], in f32, for one of the batches."""


class Trainer:
    """
    Trains a student step by step and can resume after a stop.

    With ``recipe.matching`` the first steps match the student's tokens to the teacher's and leave
    the head alone; then the labels are learned. Each stage has its own warm-up and cosine. It
    computes in f32 or bf16, see ``computes_in_bf16``. On one CPU the same recipe, images and first
    weights give the same weights bit for bit, with or without a stop, and on several ``processes``
    the same but for rounding: each computes its part of every batch, and all have the same
    weights. The result has the ``averaged`` weights, mixed with the ``first_share`` of the first
    ones, which is 0 until ``train`` chooses it; ``tokens`` is None if the recipe needs no tokens.
    Not thread-safe.
    """

    def __init__(self, student: Student, recipe: Recipe, images: Sequence[LabelledImage],
                 device: str = 'cpu', teacher: DepthAnything | None = None,
                 processes: Processes = ALONE, objective: Objective | None = None) -> None:
        """
        Prepare the training, which changes the weights of ``student`` in place.

        ``teacher`` is needed for matching and alignment of tokens only. ``objective`` replaces the
        labels of ``images``, whose names are then those of the training alone. SettingsError if
        the recipe does not suit the student or the number of processes.
        """
        _check_crop(recipe.crop_hw, student)
        processes.check_batch(recipe.batch)
        self.processes = processes
        self.student, self.recipe, self.images, self.device = student, recipe, images, device
        self.network = student.network.to(device, memory_format=torch.channels_last).train()
        if not (recipe.encoder_rate or recipe.matching):
            # Saves the backward pass through what stays as it is.
            self.network.pretrained.requires_grad_(False)
        set_drop_path(self.network, recipe.drop_path, processes.rank, processes.count)
        self.averaged = AveragedWeights(self.network, recipe.average)
        self.first_share = 0.0
        self._first = copied_weights(self.network)
        self.step = 0
        self.tokens = make_teacher_tokens(student, teacher, recipe, device)
        self._objective = objective or _Labels(images, recipe, processes)
        self._optimizer = torch.optim.AdamW(self._parameter_groups(),
                                            weight_decay=recipe.weight_decay, fused=True)

    def run(self) -> Iterator[StepResult]:
        """
        Train until the last step of the recipe and yield the result of each step.

        SettingsError if the loss is not finite, the weights are then those of the previous step,
        or if the memory is too small. ImageError or CheckpointError if an image or label cannot be
        read.
        """
        source = self._objective.batches(self.step)
        with closing(source):
            while self.step < self.recipe.steps:
                try:
                    result = self._train_step(next(source))
                except (MemoryError, torch.OutOfMemoryError) as error:
                    raise SettingsError('--batch', self.recipe.batch, 'smaller, or the crops: the '
                                        f'memory is too small ({line_of(error)})') from error
                yield result

    def result(self) -> DepthAnything:
        """
        Return a copy of the network with the weights of the result, on the CPU, for inference.

        Source of the mixture with the first weights: Wortsman et al., Robust fine-tuning of
        zero-shot models (2022).
        """
        network = copy.deepcopy(self.network)
        network.load_state_dict({name: value.lerp(self._first[name], self.first_share)
                                 for name, value in self.averaged.values.items()})
        return network.cpu().eval().requires_grad_(False)

    def diverged(self, fact: str) -> SettingsError:
        """Return the error of a training whose ``fact`` shows that its steps were too large."""
        return SettingsError('head_rate', self.recipe.head_rate,
                             f'lower, and encoder_rate with it: {fact}')

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a step changes."""
        state = {'step': self.step, 'network': self.network.state_dict(),
                 'averaged': self.averaged.state_dict(), 'first': self._first,
                 'optimizer': self._optimizer.state_dict()}
        if self.tokens is not None:
            state['bridges'] = self.tokens.bridges.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that ``state_dict`` returned."""
        self.network.load_state_dict(state['network'])
        self.averaged.load_state_dict(state['averaged'])
        # States of earlier releases lack them: the present ones stand in.
        load_weights(self._first, state.get('first', state['averaged']['values']))
        self._optimizer.load_state_dict(state['optimizer'])
        if self.tokens is not None:
            self.tokens.bridges.load_state_dict(state['bridges'])
        self.step = state['step']

    def _train_step(self, batch: TrainingBatch) -> StepResult:
        rate = self._learning_rate()
        for group in self._optimizer.param_groups:
            group['lr'] = group['full_rate'] * rate
        self._optimizer.zero_grad(set_to_none=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_step_seed(self.recipe.seed, self.step))
            loss = self._loss(batch)
        loss.backward()
        trained = [value for group in self._optimizer.param_groups for value in group['params']]
        mean_loss = self.processes.average_gradients(trained, loss)
        norm = nn.utils.clip_grad_norm_(trained, self.recipe.gradient_norm)
        self._check_finite(mean_loss, norm.item())
        self._optimizer.step()
        self.averaged.update(self.network)
        self.step += 1
        if self.step == self.recipe.matching:
            # The head begins to learn now: its first weights are to be forgotten.
            self.averaged.restart()
        return StepResult(self.step, mean_loss, rate)

    def _learning_rate(self) -> float:
        matching, steps, warmup = self.recipe.matching, self.recipe.steps, self.recipe.warmup
        if self.step < matching:
            return learning_rate(self.step, matching, warmup)
        return learning_rate(self.step - matching, steps - matching, warmup)

    def _check_finite(self, loss: float, gradient_norm: float) -> None:
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            raise self.diverged(
                f'at step {self.step + 1} the loss is {loss:g} and the norm of its gradient '
                f'{gradient_norm:g}; the weights are those of step {self.step}')

    def _loss(self, batch: TrainingBatch) -> Tensor:
        image = normalized(batch.images.to(self.device), self.student.input_spec)
        if self.tokens is not None and self.step < self.recipe.matching:
            with self._autocast():
                return self.tokens.matching_error(self.network.pretrained(image), image)
        with self._autocast():
            predicted, tokens = self.student.predict(image)
            token_error: Tensor | float = 0.0
            if self.tokens is not None and self.recipe.alignment_weight:
                token_error = self.tokens.alignment_error(tokens, image,
                                                          self.processes.average)
        return (self._objective.loss(batch, predicted.float())
                + self.recipe.alignment_weight * token_error)

    def _autocast(self) -> torch.autocast:
        return autocast(self.device)

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters by learning rate; vectors have no weight decay."""
        named = [(name.startswith(_ENCODER), value)
                 for name, value in self.network.named_parameters()]
        if self.tokens is not None:
            named += [(False, value) for value in self.tokens.bridges.parameters()]
        groups = []
        for encoder, rate in ((True, self.recipe.encoder_rate), (False, self.recipe.head_rate)):
            values = [value for inside, value in named if inside == encoder]
            groups += [
                {'params': [value for value in values if value.ndim > 1], 'full_rate': rate},
                {'params': [value for value in values if value.ndim <= 1], 'full_rate': rate,
                 'weight_decay': 0.0}]
        return groups


class _Labels:
    """Learns inverse depth from the labels of images."""

    def __init__(self, images: Sequence[LabelledImage], recipe: Recipe,
                 processes: Processes) -> None:
        self._images, self._recipe, self._processes = images, recipe, processes

    def batches(self, first_step: int) -> Generator[Batch, None, None]:
        recipe = self._recipe
        return batches(self._images, recipe.batch, recipe.crop_hw, recipe.augmentation,
                       recipe.seed, first_step, self._processes)

    def loss(self, batch: Any, predicted: Tensor) -> Tensor:
        labels, pasted = batch.labels.to(predicted.device), batch.pasted.to(predicted.device)
        return (mixed_depth_error(predicted, labels, pasted, self._recipe.gradient_weight,
                                  self._recipe.order_weight)
                + self._recipe.anchor_weight * anchor_error(predicted, labels))


def computes_in_bf16(device: str) -> bool:
    """Return whether a training uses bf16: on CUDA, and on CPUs that are faster in it."""
    return device != 'cpu' or (has_bf16() and not is_bf16_slower())


def autocast(device: str) -> torch.autocast:
    """Return the context in which a network computes in a training."""
    return torch.autocast(device, torch.bfloat16, enabled=computes_in_bf16(device))


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """
    Return the factor of the learning rates at ``step`` from 0: linear warm-up, then a cosine.

    The warm-up takes at most a tenth of all steps. Source: Loshchilov and Hutter, SGDR (2017).
    """
    warmup = min(warmup, steps // _MIN_STEPS_PER_WARMUP)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(steps - warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


class AveragedWeights:
    """
    The exponential moving average of a network's weights.

    Source: Polyak and Juditsky (1992). During the first steps the decay is smaller, so that the
    first weights are forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = copied_weights(network)
        self._steps = 0

    def update(self, network: nn.Module) -> None:
        """Add the present weights of the network to the average."""
        self._steps += 1
        decay = min(self.decay, (1 + self._steps) / (10 + self._steps))
        with torch.no_grad():
            for name, value in network.state_dict().items():
                self.values[name].lerp_(value, 1 - decay)

    def restart(self) -> None:
        """Forget the earlier weights as fast as at the start."""
        self._steps = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the values and the number of updates."""
        return {'steps': self._steps, 'values': self.values}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that ``state_dict`` returned, on the device of the values here."""
        self._steps = state['steps']
        load_weights(self.values, state['values'])


def copied_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the weights of a network by their name."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def load_weights(weights: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    """Give ``weights`` the values that are ``stored``, each on the device where it is."""
    for name, value in weights.items():
        value.copy_(stored[name])


def _step_seed(seed: int, step: int) -> int:
    """Return the seed of the network's random choices in a step, the same after a resume."""
    return int(np.random.default_rng((seed, step, 1)).integers(2 ** 63))


def _check_crop(crop_hw: tuple[int, int], student: Student) -> None:
    multiple = student.input_spec.multiple
    if any(side < multiple or side % multiple for side in crop_hw):
        raise SettingsError('crop', f'{crop_hw[0]}x{crop_hw[1]}',
                            f'multiples of {multiple} for the student {student.name}')


class TeacherTokens:
    """
    Compares the tokens of a student with those of a frozen teacher for the same small image.

    ``bridges`` map the student's tokens to the teacher's width, one for each block that the head
    reads, or for the last of them alone; tokens of the same width stay as they are. The bridges
    are trained with the student and are not part of the result.
    """

    def __init__(self, student_width: int, teacher: DepthAnything, blocks: int, seed: int,
                 device: str) -> None:
        """Prepare the comparison of the last ``blocks`` blocks that the head reads."""
        self._teacher = teacher.to(device).eval().requires_grad_(False)
        # The V1 head reads other blocks than that of every student.
        teacher.pretrained.blocks_read = teacher.spec.blocks_v2
        width = teacher.spec.width
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.bridges = nn.ModuleList(
                nn.Identity() if student_width == width else nn.Linear(student_width, width)
                for _ in range(blocks))
        self.bridges.to(device)

    def alignment_error(self, tokens: Tensor, image: Tensor,
                        average: Callable[[Tensor], Tensor] = ALONE.average) -> Tensor:
        """Return the alignment error of the last tokens [N, T, D] for an image [N, 3, H, W]."""
        return alignment_error(self.bridges[-1](tokens), self._read(image)[-1], average)

    def matching_error(self, tokens: Sequence[Tensor], image: Tensor) -> Tensor:
        """Return the mean matching error of the tokens [N, T, D] of all blocks for an image."""
        errors = [matching_error(bridge(one), target) for bridge, one, target in zip(
            self.bridges, tokens, self._read(image), strict=True)]
        return torch.stack(errors).mean()

    def _read(self, image: Tensor) -> list[Tensor]:
        with torch.no_grad():
            tokens: list[Tensor] = self._teacher.pretrained(image)
        return tokens


def make_teacher_tokens(student: Student, teacher: DepthAnything | None, recipe: Recipe,
                        device: str) -> TeacherTokens | None:
    """
    Return the tokens that a recipe needs, None where it neither matches nor aligns them.

    SettingsError if it needs some and there is no teacher.
    """
    if not (recipe.matching or recipe.alignment_weight):
        return None
    if teacher is None:
        name, value = (('matching', recipe.matching) if recipe.matching
                       else ('alignment_weight', recipe.alignment_weight))
        raise SettingsError(name, value, '0: there is no teacher as a PyTorch network')
    blocks = len(teacher.spec.blocks_v2) if recipe.matching else 1
    return TeacherTokens(student.network.spec.width, teacher, blocks, recipe.seed, device)
