"""
The settings of a distillation, and the check that a work folder was made with the same ones.

Field names of ``Recipe`` and ``Augmentation`` are stored in work folders and records; renaming one
makes existing work folders unusable.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
import json
from pathlib import Path
from typing import Any

from depth_anything_ros.convert.sources.identity import Overrides
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.files import atomic_path
from depth_anything_ros.fleet.cluster import FleetOptions
from depth_anything_ros.model_info import Precision

# Of --batch; a mistyped one would fill the memory until the system ends the program.
LARGEST_BATCH = 4096
_OPTIONS_FILE = 'options.json'


@dataclass(frozen=True)
class Augmentation:
    """
    How strongly training images are changed; each ``_chance`` is a probability from 0 to 1.

    ``area`` is the smallest share of an image that a crop shows, unless its shape does not fit
    into the image at that size, ``aspect`` the largest ratio of the two scales, ``tilt_deg`` the
    largest roll of the camera; ``low_chance`` is the probability of a crop from the lower half.
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


# STRONG follows the papers. A student that has seen each image only a few times learns faster
# with less of it.
STRONG = Augmentation()
MEDIUM = Augmentation(
    tilt_chance=0.2, jitter_chance=0.7, grey_chance=0.05, dark_chance=0.08, blur_chance=0.2,
    motion_chance=0.08, noise_chance=0.12, cutmix_chance=0.0)
MILD = Augmentation(
    area=0.4, tilt_chance=0.15, jitter_chance=0.5, grey_chance=0.03, dark_chance=0.05,
    blur_chance=0.15, motion_chance=0.05, noise_chance=0.1, cutmix_chance=0.1)
# The largest crop that fits, unchanged.
NO_AUGMENTATION = Augmentation(1.0, 1.0, **{
    name: 0.0 for name in Augmentation.__dataclass_fields__ if name.endswith('_chance')})


@dataclass(frozen=True)
class Recipe:
    """
    The hyperparameters of a training; the defaults suit tiny, see ``default_recipe``.

    - ``steps``, ``batch``, ``crop_hw``: optimizer steps, crops per step, pixels per crop.
    - ``encoder_rate``, ``head_rate``: peak learning rates of the encoder and of all other weights;
      they rise for ``warmup`` steps and fall to 0 at step ``steps``.
    - ``weight_decay``, ``gradient_norm``: of AdamW; the gradient is clipped to that norm.
    - ``drop_path``: share of images for which the deepest residual branch is skipped.
    - ``average``: decay of the averaged weights.
    - ``gradient_weight``, ``order_weight``, ``anchor_weight``, ``alignment_weight``: of the errors
      of gradients, order, unscaled map and tokens, beside 1 for the trimmed error.
    - ``seed``: of all random choices.
    - ``matching``: the first steps, which match the student's tokens to the teacher's.
    """

    steps: int
    batch: int = 8
    crop_hw: tuple[int, int] = (196, 266)
    encoder_rate: float = 2e-5
    head_rate: float = 1e-4
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
    matching: int = 0


def default_recipe(student: str, steps: int) -> Recipe:
    """
    Return a recipe with the crop and the learning rates for a student of that name.

    The encoder of tiny is a trained one, which larger steps would spoil.
    """
    recipe = Recipe(steps)
    if student == 'vitt':
        return replace(recipe, crop_hw=(196, 252), encoder_rate=1e-4, head_rate=5e-4)
    return recipe


@dataclass(frozen=True)
class Selection:
    """
    Which images of the data are used, and at which size.

    Every ``every``-th frame of videos and bags; ``topic`` chooses one image topic of a bag. Images
    whose short side is longer than ``short_side`` pixels are reduced to it.
    """

    every: int = 10
    topic: str | None = None
    short_side: int = 384


@dataclass(frozen=True)
class DistillJob:
    """
    One distillation: the teacher, the images, the student and where its files go.

    - ``data``: what ``media.open_images`` takes, or folders and lists of videos.
    - ``output``: an .xml; the checkpoint .pth goes beside it.
    - ``sizes``, ``flip``: as in ``TeacherOptions``.
    - ``hold_out``: images whose number is divisible by it are for validation only.
    - ``validate_every``: steps between two validations.
    - ``work``: the work folder, None for NAME.distill beside the output.
    - ``licence``: of the student, None for that of its teacher and its start.
    - ``start``: a checkpoint of the student to begin with, or, for tiny, one with its encoder.
    - ``overrides``: options that say what the teacher is.
    - ``force``: replace an output, and files in the work folder that another job left.
    - ``labels_only``: stop when the images are labelled.
    - ``shard``: (number from 1, count) of the part of the images to label.
    - ``fleet``: a Ray cluster that decodes and labels the images; None for this machine.
    - ``label_device``: 'auto', 'cpu' or 'cuda', for the machines of the fleet.
    """

    teacher: Path
    data: tuple[str, ...]
    output: Path
    recipe: Recipe
    student: str = 'tiny'
    selection: Selection = field(default_factory=Selection)
    sizes: tuple[int, ...] = ()
    flip: bool = False
    hold_out: int = 10
    validate_every: int = 500
    device: str = 'cpu'
    work: Path | None = None
    precision: Precision = 'fp16'
    licence: str | None = None
    start: Path | None = None
    overrides: Overrides = field(default_factory=Overrides)
    force: bool = False
    labels_only: bool = False
    shard: tuple[int, int] = (1, 1)
    fleet: FleetOptions | None = None
    label_device: str = 'auto'

    @property
    def folder(self) -> Path:
        """Return the work folder with images, labels and the state of the training."""
        return self.work or self.output.with_suffix('.distill')

    @property
    def checkpoint(self) -> Path:
        """Return the path of the student's weights."""
        return self.output.with_suffix('.pth')

    def options(self, teacher_sha256: str, start_sha256: str = '') -> dict[str, Any]:
        """Return by name the options that change the student; models count by their sha256."""
        recipe, selection, overrides = self.recipe, self.selection, self.overrides
        return {
            'TEACHER': teacher_sha256[:16],
            '--kind': overrides.kind, '--max-depth': overrides.max_depth_m,
            '--model-version': overrides.model_version,
            'DATA': sorted(str(Path(name).resolve()) for name in self.data),
            '--every': selection.every, '--topic': selection.topic,
            '--label-size': selection.short_side,
            '--sizes': list(self.sizes), '--flip': self.flip, '--hold-out': self.hold_out,
            '--student': self.student, '--steps': recipe.steps, '--batch': recipe.batch,
            '--crop': list(recipe.crop_hw), '--seed': recipe.seed,
            '--encoder-rate': recipe.encoder_rate, '--head-rate': recipe.head_rate,
            '--gradient-weight': recipe.gradient_weight,
            '--order-weight': recipe.order_weight,
            # None, as in folders of releases that did not match.
            '--matching': recipe.matching or None,
            '--weight-decay': recipe.weight_decay, '--drop-path': recipe.drop_path,
            '--augmentation': asdict(recipe.augmentation),
            '--start': start_sha256[:16] or None}


def has_options(folder: Path, options: Mapping[str, Any], force: bool) -> bool:
    """
    Return whether a work folder was made with these options; False if it stores none.

    CheckpointError names the first option that differs; with ``force`` the result is False
    instead.
    """
    stored = _read(folder / _OPTIONS_FILE)
    if stored is None:
        return False
    changed = [name for name in options if stored.get(name) != options[name]]
    if changed and not force:
        name = changed[0]
        raise CheckpointError(
            folder, f'the work folder was made with {name} {_text(stored.get(name))}, not '
            f'{_text(options[name])}', 'give the same options to continue, another --work, or '
            '--force to start over')
    return not changed


def store_options(folder: Path, options: Mapping[str, Any]) -> None:
    """Write the options that a work folder is made with into it."""
    with atomic_path(folder / _OPTIONS_FILE) as file:
        file.write_text(json.dumps(options, indent=2) + '\n', encoding='utf-8')


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
