"""What is to be distilled, and the folder that remembers it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
import json
from pathlib import Path
from typing import Any

from depth_anything_ros.convert.distilling.pictures import Selection
from depth_anything_ros.convert.distilling.recipe import Recipe
from depth_anything_ros.convert.distilling.teacher import source_sha256
from depth_anything_ros.convert.reading.variants import Asked
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.media.writing import staged_file
from depth_anything_ros.model_info import Precision

_FILE = 'options.json'


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
    asked: Asked = field(default_factory=Asked)
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
        recipe, how, asked = self.recipe, self.selection, self.asked
        return {
            'TEACHER': teacher_sha256[:16],
            '--kind': asked.kind, '--max-depth': asked.max_depth_m,
            '--model-version': asked.model_version,
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
    with staged_file(folder / _FILE) as staged:
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
