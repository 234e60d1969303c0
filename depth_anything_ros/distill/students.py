"""
The student networks: their first weights, and what a trainer has to know about each of them.

The student tiny begins as its teacher: it has the teacher's weights, with fewer neurons in the
feed-forward parts.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from depth_anything_ros.cli.progress import Counting, no_counting, Report
from depth_anything_ros.convert.sources.checkpoints import read_checkpoint
from depth_anything_ros.convert.sources.graphs import is_graph
from depth_anything_ros.convert.sources.ir_weights import read_ir_weights
from depth_anything_ros.distill.batches import batches, normalized
from depth_anything_ros.distill.dataset import LabelledImage
from depth_anything_ros.distill.job import NO_AUGMENTATION
from depth_anything_ros.errors import CheckpointError, SettingsError
from depth_anything_ros.networks.depth_anything import (
    build_network, DepthAnything, state_dict_problem)
from depth_anything_ros.networks.models import EncoderSpec, find_encoder, InputSpec, MODELS
from depth_anything_ros.networks.narrowing import narrow_feed_forward
from depth_anything_ros.networks.vit import LayerScale
import torch
from torch import nn, Tensor
from torch.nn import functional

STUDENTS = ('tiny', 'vitt')
_BEGINS_AS_TEACHER = 'tiny'
# Images that show which neurons of a teacher matter.
_NARROWING_IMAGES = 256
_LAYER_SCALE = 0.1


@dataclass(frozen=True)
class Student:
    """
    A network to train.

    ``begins_as_teacher``: its first weights are those of a teacher; ``wide`` is that teacher until
    ``narrow_student`` has taken them.
    """

    name: str
    network: DepthAnything
    begins_as_teacher: bool = False
    wide: DepthAnything | None = None

    @property
    def input_spec(self) -> InputSpec:
        """Return the image that the network takes."""
        return self.network.input_spec

    def predict(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """
        Return inverse depth [N, H, W] and the last tokens [N, T, D] of an image [N, 3, H, W].

        The image is normalised. The depth has its size, and in training it may be negative.
        """
        tokens = self.network.pretrained(image)
        return self.depth_of(tokens, (image.shape[-2], image.shape[-1])), tokens[-1]

    def depth_of(self, tokens: Sequence[Tensor], size_hw: tuple[int, int]) -> Tensor:
        """Return the depth [N, H, W] of an image of ``size_hw`` with these tokens."""
        rows, columns = (side // self.input_spec.multiple for side in size_hw)
        depth = self.network.depth_head(tokens, rows, columns)[0]
        if depth.shape[-2:] != size_hw:
            # As the host does it.
            depth = functional.interpolate(depth, size=size_hw, mode='bilinear',
                                           align_corners=True)
        return depth.squeeze(1)


def make_student(name: str, start: Path | None = None, seed: int = 0, *,
                 teacher: Path | None = None, table: tuple[EncoderSpec, ...] = MODELS) -> Student:
    """
    Return the student of that name with its first weights, or with those in the file ``start``.

    For tiny the checkpoint ``teacher``, or another ViT-S in ``start``, becomes its ``wide``.
    Random weights depend on ``seed`` alone. ``table`` is searched for the student before
    ``MODELS``. SettingsError lists the students, CheckpointError or ModelError say why a file does
    not fit.
    """
    if name not in STUDENTS:
        raise SettingsError('student', name, ' or '.join(STUDENTS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = vit_student(find_encoder(name, (*table, *MODELS)), name == _BEGINS_AS_TEACHER)
    if start is not None:
        return _load(student, start, table)
    if student.begins_as_teacher and teacher is not None:
        return _begin_as(student, teacher, table)
    return student


def narrow_student(student: Student, images: Sequence[LabelledImage], crop_hw: tuple[int, int],
                   seed: int, report: Report = print, counting: Counting = no_counting) -> None:
    """
    Give the student the weights of its wide teacher, with the neurons that ``images`` need most.

    It takes minutes for the student of a ViT-S. Does nothing for a student without a wide teacher.
    ImageError or CheckpointError name an image or label that cannot be read.
    """
    if student.wide is None:
        return
    with closing(batches(images, _NARROWING_IMAGES, crop_hw, NO_AUGMENTATION, seed)) as source:
        batch = next(source)
    spec = student.network.spec
    report(f'first weights: those of the teacher, with {spec.hidden_width} of its '
           f'{student.wide.spec.hidden_width} hidden neurons, '
           f'chosen with {_NARROWING_IMAGES} crops')
    with counting('blocks', spec.depth, 0) as advance:
        narrow_feed_forward(student.wide, student.network.eval(),
                            normalized(batch.images, student.input_spec), advance)


def vit_student(spec: EncoderSpec, begins_as_teacher: bool = False) -> Student:
    """Return a Depth Anything with this encoder and random weights."""
    network = DepthAnything(spec, 'v2')
    network.depth_head.scratch.output_conv2[-1] = EvalRelu()
    _initialize(network)
    return Student(spec.name, network, begins_as_teacher)


class EvalRelu(nn.Module):
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


def _load(student: Student, start: Path, table: tuple[EncoderSpec, ...]) -> Student:
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
    other = ', or a checkpoint or IR of ViT-S' if student.begins_as_teacher else ''
    raise CheckpointError(start, f'it does not fit the student {student.name} ({problem})',
                          f'give the .pth or IR that a distillation of this student wrote{other}')


def _begin_as(student: Student, teacher: Path, table: tuple[EncoderSpec, ...]) -> Student:
    remedy = ('give a checkpoint of ViT-S as the teacher, or begin with one: '
              '--start NAME.pth or NAME.xml')
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
    spec = replace(student.network.spec, hidden=None)
    return replace(student, wide=build_network(spec, 'v2', None, tensors))
