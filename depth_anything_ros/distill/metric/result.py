"""What a training in metres has reached, compared with the relative model and fits to metres."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.distill.metric.objective import MetricPair, MetricScale
from depth_anything_ros.distill.metric.start import full_view_focal
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.networks.depth_anything import DepthAnything
from depth_anything_ros.vision.accuracy import align_relative, DepthScores, score_depth
from depth_anything_ros.vision.depth import DepthRange, limit_range, metric_from_inverse
from depth_anything_ros.vision.transforms import (
    network_size, normalize, resize_depth, resize_for_network)
import numpy as np
import torch

METRIC, DENSE, CONSTANT = 'metric', 'dense_fit', 'constant_fit'
TITLES = {METRIC: '(a) the new model, as it is',
          DENSE: '(b) the relative model, each image fitted to its depth',
          CONSTANT: '(c) the relative model, one fit for all images'}
# Ends of the bins of depth [m] in which the scale is judged.
_BINS_M = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, np.inf)


@dataclass(frozen=True)
class MethodScores:
    """
    The mean scores of one method over the held-out images.

    ``scale_errors`` are median z' / z - 1 of all pixels whose depth z is in a bin, by its name.
    """

    abs_rel: float
    delta1: float
    rmse_m: float
    scale_errors: dict[str, float]


@dataclass(frozen=True)
class Result:
    """The scores of each method by its name; what they say is in ``advice``."""

    scores: dict[str, MethodScores]

    @property
    def is_worth_it(self) -> bool:
        """Return whether the new model beats one fit for all images."""
        return self.scores[METRIC].abs_rel < self.scores[CONSTANT].abs_rel

    def require_gain(self, output: Path) -> None:
        """Raise CheckpointError unless the new model is worth being written to ``output``."""
        if not self.is_worth_it:
            raise CheckpointError(output, 'nothing was written, because one fit for all images is '
                                  'as good as the new model', 'record more places, train longer, '
                                  'or add --force to write it in spite of that')

    @property
    def advice(self) -> str:
        """Return the sentence that says what to deploy."""
        new, dense, constant = (self.scores[name].abs_rel for name in (METRIC, DENSE, CONSTANT))
        if not self.is_worth_it:
            return ('deploy the relative model with one fit (relative_scale, relative_shift): its '
                    f'AbsRel is {constant:.3f}, that of the new model {new:.3f}')
        if new <= dense:
            return (f'deploy the new model: its AbsRel is {new:.3f}, even a fit to the measured '
                    f'depth of each image has {dense:.3f}')
        return (f'deploy the new model on robots without a depth sensor: its AbsRel is {new:.3f}, '
                f'one fit has {constant:.3f}; where a sensor gives depth for each image, '
                f'alignment.source reaches about {dense:.3f}')

    def table(self) -> str:
        """Return the scores as lines of text."""
        width = max(map(len, TITLES.values()))
        lines = [f'{"":{width}} AbsRel  delta1  RMSE [m]  scale error by depth']
        for name, one in self.scores.items():
            bins = ', '.join(f'{bin_m} m {100 * error:+.0f} %'
                             for bin_m, error in one.scale_errors.items())
            lines.append(f'{TITLES[name]:{width}} {one.abs_rel:6.3f}  {one.delta1:6.3f}  '
                         f'{one.rmse_m:8.3f}  {bins}')
        return '\n'.join(lines)

    def figures(self) -> dict[str, object]:
        """Return everything as values for JSON."""
        return {name: asdict(one) for name, one in self.scores.items()}


def judge(network: DepthAnything, pairs: Sequence[MetricPair], scale: MetricScale,
          constant: tuple[float, float]) -> Result:
    """Return the scores of a network in metres and, with its labels, those of the fits."""
    limits, spec = scale.limits, network.input_spec
    found: dict[str, list[tuple[F32, F32]]] = {name: [] for name in TITLES}
    for pair in pairs:
        image_bgr, label = pair.labelled.read()
        truth_m = limit_range(pair.frame.read_depth(), limits.minimum_m, limits.maximum_m)
        ratio = full_view_focal(pair.frame.focal_xy, label.shape, spec) / scale.focal_px
        fitted = metric_from_inverse(label, constant[0] / ratio, constant[1] / ratio, np.inf)
        for name, depth_m in (
                (METRIC, predict_metres(network, image_bgr, pair.frame.focal_xy, scale)),
                (DENSE, align_relative(label, truth_m, limits)),
                (CONSTANT, _clipped(fitted, limits))):
            found[name].append((depth_m, truth_m))
    return Result({name: _scores(maps, limits) for name, maps in found.items()})


def mean_abs_rel(network: DepthAnything, pairs: Sequence[MetricPair], scale: MetricScale) -> float:
    """Return the mean AbsRel of a network in metres."""
    limits = scale.limits
    return fmean(score_depth(
        predict_metres(network, pair.labelled.read()[0], pair.frame.focal_xy, scale),
        pair.frame.read_depth(), limits).abs_rel for pair in pairs)


def predict_metres(network: DepthAnything, image_bgr: U8, focal_xy: tuple[float, float],
                   scale: MetricScale) -> F32:
    """Return the depth [m] of an image with these focal lengths, clipped to the range."""
    image_hw, spec = (image_bgr.shape[0], image_bgr.shape[1]), network.input_spec
    network_hw = network_size(image_hw, spec.size, spec.multiple)
    tensor = normalize(resize_for_network(image_bgr, network_hw), spec.mean_rgb, spec.std_rgb)
    with torch.inference_mode():
        inverse = network(torch.from_numpy(tensor))[0].numpy()
    ratio = full_view_focal(focal_xy, image_hw, spec) / scale.focal_px
    depth_m = metric_from_inverse(resize_depth(inverse, image_hw), 1 / ratio, 0.0, np.inf)
    return _clipped(depth_m, scale.limits)


def _clipped(depth_m: F32, limits: DepthRange) -> F32:
    return np.clip(depth_m, np.float32(limits.minimum_m), np.float32(limits.maximum_m))


def _scores(maps: Sequence[tuple[F32, F32]], limits: DepthRange) -> MethodScores:
    scores: list[DepthScores] = [score_depth(found, truth, limits) for found, truth in maps]
    return MethodScores(fmean(one.abs_rel for one in scores), fmean(one.delta1 for one in scores),
                        fmean(one.rmse_m for one in scores), _scale_errors(maps))


def _scale_errors(maps: Sequence[tuple[F32, F32]]) -> dict[str, float]:
    found, truth = (np.concatenate([pair[index][::4, ::4].ravel() for pair in maps])
                    for index in (0, 1))
    errors = {}
    for nearest, farthest in zip(_BINS_M, _BINS_M[1:]):
        inside = (truth >= nearest) & (truth < farthest) & np.isfinite(found)
        if inside.any():
            name = f'{nearest:g}-{farthest:g}' if np.isfinite(farthest) else f'> {nearest:g}'
            errors[name] = float(np.median(found[inside] / truth[inside]) - 1)
    return errors
