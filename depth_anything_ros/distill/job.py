"""Every choice of a training in one place: what a run can be repeated with."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
import json
from pathlib import Path
from typing import Any

from depth_anything_ros.convert.sources.identity import Overrides
from depth_anything_ros.distill.dataset import Selection
from depth_anything_ros.distill.teacher import source_sha256
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.files import atomic_file
from depth_anything_ros.model_info import Precision

_FILE = 'options.json'


@dataclass(frozen=True)
class Augmentation:
    """
    How strongly images are changed; the ``_chance`` of each change is between 0 and 1.

    ``area`` is the smallest share of an image that a crop shows, unless its shape does not fit
    into the image at that size, ``aspect`` the largest ratio of the two scales, ``tilt_deg`` the
    largest roll of the camera; ``low_chance`` is that of a part from the lower half.
    """

    area: float = 0.3
    aspect: float = 1.25
    flip_chance: float = 0.5
    tilt_chance: float = 0.3
    tilt_deg: float = 12.0
    low_chance: float = 0.2
    jitter_chance: float = 0.8
    grey_chance: float = 0.1
    dark_chance: float = 0.15
    blur_chance: float = 0.3
    motion_chance: float = 0.15
    noise_chance: float = 0.2
    cutmix_chance: float = 0.5


# As the papers do it; and less of it, from which a student learns faster as long as it has seen
# little.
STRONG = Augmentation()
MEDIUM = Augmentation(
    tilt_chance=0.2, jitter_chance=0.7, grey_chance=0.05, dark_chance=0.08, blur_chance=0.2,
    motion_chance=0.08, noise_chance=0.12, cutmix_chance=0.0)
MILD = Augmentation(
    area=0.4, tilt_chance=0.15, jitter_chance=0.5, grey_chance=0.03, dark_chance=0.05,
    blur_chance=0.15, motion_chance=0.05, noise_chance=0.1, cutmix_chance=0.1)
# The largest part of a crop's shape that an image holds, as it is.
NO_AUGMENTATION = Augmentation(1.0, 1.0, **{
    name: 0.0 for name in Augmentation.__dataclass_fields__ if name.endswith('_chance')})


@dataclass(frozen=True)
class Recipe:
    """
    How a student learns.

    ``batch`` images per step, each a crop of ``crop_hw`` pixels; the learning rates of the
    pretrained encoder and of everything else rise for ``warmup`` steps and fall to 0 at step
    ``steps``. ``average`` is the decay of the averaged weights, ``drop_path`` the share of images
    for which the deepest residual branch of the encoder is left out. To the trimmed error of a map
    ``gradient_weight`` times that of its gradients is added, ``order_weight`` times that of its
    order, ``anchor_weight`` times that of the map as it is and ``alignment_weight`` times that of
    the tokens.
    """

    steps: int
    batch: int = 8
    crop_hw: tuple[int, int] = (192, 256)
    encoder_rate: float = 1e-4
    head_rate: float = 5e-4
    weight_decay: float = 0.02
    drop_path: float = 0.0
    warmup: int = 200
    average: float = 0.999
    gradient_norm: float = 5.0
    gradient_weight: float = 2.0
    order_weight: float = 2.0
    anchor_weight: float = 0.1
    alignment_weight: float = 0.0
    seed: int = 0
    augmentation: Augmentation = MILD


@dataclass(frozen=True)
class DistillJob:
    """
    Which teacher teaches which student on what, and where the student goes.

    ``data`` are what ``media.open_images`` takes, or folders and lists of videos. ``output`` is an
    .xml; the checkpoint goes beside it. ``sizes`` and ``flip`` are those of ``TeacherOptions``.
    Of the pictures every ``hold_out``-th is not learned from; ``look_every`` steps the student is
    compared with the teacher on some of them. ``licence`` None is the teacher's. ``start`` is a
    checkpoint or an IR of the student to go on from. ``force`` replaces an output and what
    ``work`` holds of another job.
    """

    teacher: Path
    data: tuple[str, ...]
    output: Path
    recipe: Recipe
    student: str = 'nano'
    selection: Selection = field(default_factory=Selection)
    sizes: tuple[int, ...] = ()
    flip: bool = False
    hold_out: int = 10
    look_every: int = 500
    device: str = 'cpu'
    work: Path | None = None
    precision: Precision = 'fp16'
    licence: str | None = None
    start: Path | None = None
    overrides: Overrides = field(default_factory=Overrides)
    force: bool = False

    @property
    def folder(self) -> Path:
        """Return where pictures, labels and the state of the training are kept."""
        return self.work or self.output.with_suffix('.distill')

    @property
    def checkpoint(self) -> Path:
        """Return where the student's weights go."""
        return self.output.with_suffix('.pth')

    def options(self, teacher_sha256: str) -> dict[str, Any]:
        """Return by their names the options that make another student when they differ."""
        recipe, how, overrides = self.recipe, self.selection, self.overrides
        return {
            'TEACHER': teacher_sha256[:16],
            '--kind': overrides.kind, '--max-depth': overrides.max_depth_m,
            '--model-version': overrides.model_version,
            'DATA': sorted(str(Path(name).resolve()) for name in self.data),
            '--every': how.every, '--topic': how.topic, '--label-size': how.short_side,
            '--sizes': list(self.sizes), '--flip': self.flip, '--hold-out': self.hold_out,
            '--student': self.student, '--steps': recipe.steps, '--batch': recipe.batch,
            '--crop': list(recipe.crop_hw), '--seed': recipe.seed,
            '--encoder-rate': recipe.encoder_rate, '--head-rate': recipe.head_rate,
            '--gradient-weight': recipe.gradient_weight,
            '--order-weight': recipe.order_weight,
            '--weight-decay': recipe.weight_decay, '--drop-path': recipe.drop_path,
            '--augmentation': asdict(recipe.augmentation),
            '--start': self.start and source_sha256(self.start)[:16]}


def same_as_before(folder: Path, options: Mapping[str, Any], force: bool) -> bool:
    """
    Return whether ``folder`` remembers these options, false where it remembers none.

    Others raise a CheckpointError that names the first one, unless ``force`` gives them up.
    """
    before = _read(folder / _FILE)
    if before is None:
        return False
    changed = [name for name in options if before.get(name) != options[name]]
    if changed and not force:
        name = changed[0]
        raise CheckpointError(
            folder, f'it was begun with {name} {_text(before.get(name))}, not '
            f'{_text(options[name])}', 'give the same options to go on, another --work, or '
            '--force to begin anew')
    return not changed


def remember(folder: Path, options: Mapping[str, Any]) -> None:
    """Write down the options that ``folder`` was begun with."""
    with atomic_file(folder / _FILE) as staged:
        staged.write_text(json.dumps(options, indent=2) + '\n', encoding='utf-8')


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _text(value: object) -> str:
    if isinstance(value, list):
        return ', '.join(map(str, value)) or 'none'
    if isinstance(value, bool):
        return 'on' if value else 'off'
    return 'none' if value is None else str(value)
