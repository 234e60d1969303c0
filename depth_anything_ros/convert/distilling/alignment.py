"""The alignment of a student's tokens with those of a frozen teacher."""

from depth_anything_ros.convert.distilling.losses import alignment_error
from depth_anything_ros.convert.distilling.recipe import Recipe
from depth_anything_ros.convert.distilling.students import Student
from depth_anything_ros.convert.network.depth_anything import DepthAnything
from depth_anything_ros.errors import SettingsError
import torch
from torch import nn, Tensor


class Alignment:
    """
    A frozen teacher and ``bridge``, a learned map of the student's tokens to the teacher's width.

    The bridge learns with the student and is no part of it.
    """

    def __init__(self, student_width: int, teacher: DepthAnything, seed: int,
                 device: str) -> None:
        self._teacher = teacher.to(device).eval().requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.bridge = nn.Linear(student_width, teacher.pretrained.norm.weight.numel())
        self.bridge.to(device)

    def error(self, tokens: Tensor, image: Tensor) -> Tensor:
        """Return how far tokens [N, T, D] are from those that the teacher has of ``image``."""
        with torch.no_grad():
            target = self._teacher.pretrained(image)[-1]
        return alignment_error(self.bridge(tokens), target)


def make_alignment(student: Student, teacher: DepthAnything | None, recipe: Recipe,
                   device: str) -> Alignment | None:
    """
    Return the alignment that a recipe asks for, none where its weight is 0.

    SettingsError where student or teacher cannot do it.
    """
    if recipe.alignment_weight == 0:
        return None
    problem = ''
    if not student.token_width:
        problem = f'the student {student.name} has no tokens'
    elif teacher is None:
        problem = 'there is no teacher as a PyTorch network'
    elif teacher.input != student.input:
        problem = f'the student {student.name} does not take the images that its teacher takes'
    if problem or teacher is None:
        raise SettingsError('alignment_weight', recipe.alignment_weight, f'0: {problem}')
    return Alignment(student.token_width, teacher, recipe.seed, device)
