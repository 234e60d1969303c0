"""The settings of a training in metres, and which of them a work folder must share."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from depth_anything_ros.convert.sources.identity import Overrides
from depth_anything_ros.distill.job import Recipe, STRONG
from depth_anything_ros.distill.metric.frames import FrameSelection
from depth_anything_ros.model_info import Precision
from depth_anything_ros.networks.models import InputSpec

# A crop that stretches one axis has no single focal length, and one of two cameras none at all.
# Small crops teach what a longer lens shows.
METRIC_AUGMENTATION = replace(STRONG, area=0.2, aspect=1.1, cutmix_chance=0.0)


@dataclass(frozen=True)
class MetricJob:
    """
    One training in metres: the relative model, the data and where its files go.

    - ``data``: descriptions of RGB-D folders (YAML) and bags; ``weights``: how often each is drawn
      in an epoch.
    - ``hold_out``: share of each, at its end, that only judges the result.
    - ``focal_px``: the canonical focal length, None for the median of the data.
    - ``companion``: weight of the relative model's loss where the sensor is blind.
    - ``tries``: trainings with seeds from that of the recipe on, of which the best is kept.
    - ``patience``: validations without an improvement after which the training ends.
    - ``trust_data``: train although depth and images do not seem to belong together.
    - ``check_only``: end when the data has been checked.
    - ``force``: replace an output, and write a model that does not beat one fit.
    """

    start: Path
    data: tuple[str, ...]
    output: Path
    recipe: Recipe
    selection: FrameSelection
    weights: tuple[int, ...]
    hold_out: float = 0.25
    focal_px: float | None = None
    companion: float = 0.1
    tries: int = 1
    validate_every: int = 50
    patience: int = 3
    device: str = 'cpu'
    work: Path | None = None
    precision: Precision = 'fp16'
    overrides: Overrides = field(default_factory=Overrides)
    trust_data: bool = False
    check_only: bool = False
    force: bool = False

    @property
    def folder(self) -> Path:
        """Return the work folder."""
        return self.work or self.output.with_suffix('.metric')

    @property
    def checkpoint(self) -> Path:
        """Return the path of the checkpoint."""
        return self.output.with_suffix('.pth')

    def options(self, start_sha256: str) -> dict[str, Any]:
        """Return by name the options that change the weights; the start counts by its sha256."""
        recipe, selection = self.recipe, self.selection
        return {
            'START': start_sha256[:16],
            'DATA': [str(Path(name).resolve()) for name in self.data],
            '--weights': list(self.weights), '--every': selection.every,
            '--short-side': selection.short_side, '--min-depth': selection.limits.minimum_m,
            '--max-depth': selection.limits.maximum_m, '--hold-out': self.hold_out,
            '--focal': self.focal_px, '--companion': self.companion,
            '--steps': recipe.steps, '--batch': recipe.batch, '--crop': list(recipe.crop_hw),
            '--encoder-rate': recipe.encoder_rate, '--head-rate': recipe.head_rate,
            '--gradient-weight': recipe.gradient_weight, '--seed': recipe.seed,
            '--look-every': self.validate_every, '--patience': self.patience}

    def record_recipe(self) -> dict[str, Any]:
        """Return the settings that the record of the model has."""
        return {**asdict(self.recipe), 'companion': self.companion, 'hold_out': self.hold_out,
                'weights': list(self.weights), 'tries': self.tries}


def metric_recipe(steps: int, input_spec: InputSpec) -> Recipe:
    """
    Return the recipe of a training in metres for a network with this input.

    The crops have the default size of the network for images of 4:3, because metres depend on it.
    The steps are small and no branch is skipped, because scale and shift of each image depend on
    the tokens.
    """
    return Recipe(steps, crop_hw=input_spec.sizes_hw[-1], encoder_rate=5e-6, head_rate=2e-5,
                  weight_decay=0.05, warmup=min(Recipe.warmup, steps // 10), average=0.99,
                  gradient_weight=0.5, order_weight=0.0, anchor_weight=0.0,
                  augmentation=METRIC_AUGMENTATION)
