"""The tokens of a vision transformer as a second thing to learn from: matching and alignment."""

from collections.abc import Sequence

from depth_anything_ros.distill.job import Recipe
from depth_anything_ros.distill.losses import alignment_error, matching_error
from depth_anything_ros.distill.students import Student
from depth_anything_ros.errors import SettingsError
from depth_anything_ros.networks.depth_anything import DepthAnything
import torch
from torch import nn, Tensor


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

    def alignment_error(self, tokens: Tensor, image: Tensor) -> Tensor:
        """Return the alignment error of the last tokens [N, T, D] for an image [N, 3, H, W]."""
        return alignment_error(self.bridges[-1](tokens), self._read(image)[-1])

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

    SettingsError if student or teacher have no tokens or take different images.
    """
    if not (recipe.matching or recipe.alignment_weight):
        return None
    problem = ''
    if not student.token_width:
        problem = f'the student {student.name} has no tokens'
    elif teacher is None:
        problem = 'there is no teacher as a PyTorch network'
    elif not teacher.input_spec.takes_images_of(student.input_spec):
        problem = f'the student {student.name} and its teacher take different images'
    if problem or teacher is None:
        name, value = (('matching', recipe.matching) if recipe.matching
                       else ('alignment_weight', recipe.alignment_weight))
        raise SettingsError(name, value, f'0: {problem}')
    blocks = len(teacher.spec.blocks_v2) if recipe.matching else 1
    return TeacherTokens(student.token_width, teacher, blocks, recipe.seed, device)
