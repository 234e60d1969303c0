"""Scores of a model on a moving sequence with measured depth and poses: accuracy over time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
import math
from pathlib import Path
import statistics

from depth_anything_ros.arrays import F32, F64, U8
from depth_anything_ros.cli.progress import Counting, no_counting
from depth_anything_ros.errors import DatasetError, DepthAnythingError, ImageError
from depth_anything_ros.evaluate.gallery import Case, Gallery
from depth_anything_ros.evaluate.predictions import (
    model_facts, ModelOptions, open_model, Outcome, predict, Prediction)
from depth_anything_ros.evaluate.results import Evaluation, Failure, ImageScores, worst_of
from depth_anything_ros.evaluate.rgbd import depth_panels
from depth_anything_ros.evaluate.sequence_folder import CameraSequence
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.media.rgbd_folder import read_truth
from depth_anything_ros.model_info import Kind
from depth_anything_ros.vision.accuracy import align_metric, align_relative, score_depth
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.depth import (
    DepthRange, inverse_from_metric, metric_from_inverse, MetricCorrection, model_inverse_depth)
from depth_anything_ros.vision.geometry import Intrinsics
from depth_anything_ros.vision.stabilization import Stabilizer
from depth_anything_ros.vision.temporal import alignment_error, ClipFit, frame_scale
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np

SEQUENCE_HEADINGS = ('frame', 'prediction, one fit for the clip', 'measured',
                     "error |z' - z| / z: dark 0, bright 0.5")
OFF, STABILIZED, MEASURED = 'stabilization off', 'stabilization all', 'measured depth itself'


@dataclass(frozen=True)
class SequenceScores:
    """
    The scores of one frame, or their means over a clip.

    ``abs_rel`` and ``delta1`` are those under one fit for the clip, ``frame_abs_rel`` and
    ``frame_delta1`` those under a fit to each frame. ``tae`` is the temporal alignment error
    between a frame and the previous one, NaN without a previous one. ``scale`` is the median of
    predicted ÷ measured depth under the fit for the clip, ``scale_step`` |ln| of its change since
    the previous frame.
    """

    abs_rel: float
    delta1: float
    frame_abs_rel: float
    frame_delta1: float
    tae: float
    scale: float
    scale_step: float


@dataclass(frozen=True, eq=False)
class _Frame:
    """A computed frame: its index, the size of its image, and its map before and after."""

    index: int
    size_hw: tuple[int, int]
    depth: F32
    gain_offset: tuple[float, float]


def evaluate_sequence(model: Path, sequence: CameraSequence, options: ModelOptions | None = None,
                      counting: Counting | None = None,
                      gallery: Gallery | None = None) -> Evaluation[SequenceScores]:
    """
    Score a model on a sequence, without stabilization (``mean``, ``images``) and with it.

    A relative model is fitted to the clip by one scale and shift, least squares in disparity, and
    clipped at the maximum depth; metric depth, also by the focal length of the camera, is scored
    unchanged. The fit to each frame is that of ``evaluate_rgbd``, for metric depth the ratio of
    the medians. ``groups`` are the means of both and the TAE of the measured depth itself, which
    is that of a perfect model. The depth of all frames, at the size of the network, is kept in
    memory.

    ModelError or DeviceError if the model cannot run, ImageError or DatasetError if fewer than two
    frames could be scored or no two of them follow each other.
    """
    with open_model(model, options or ModelOptions()) as depth_model:
        by_focal = depth_model.info.focal_px is not None
        kind: Kind = 'metric' if by_focal else depth_model.info.kind
        files = [frame.pair.color for frame in sequence.frames]
        with (counting or no_counting)('frames', len(files), 0) as advance:
            clip = _Clip(sequence, kind, depth_model.info.kind)
            for index, outcome in enumerate(predict(depth_model, files, range(len(files)))):
                if by_focal and isinstance(outcome, Prediction):
                    size_hw = outcome.image_bgr.shape[0], outcome.image_bgr.shape[1]
                    outcome = replace(outcome, depth=outcome.depth * np.float32(
                        depth_model.focal_scale(sequence.config.camera(size_hw))))
                clip.add(index, outcome)
                advance()
        facts = model_facts(model, depth_model)
    off, stabilized, measured = (clip.score(way, gallery if way == OFF else None)
                                 for way in (OFF, STABILIZED, MEASURED))
    if all(math.isnan(one.scores.tae) for one in off):
        raise DatasetError(sequence.frames[0].pair.color.parent,
                           'no two frames that follow each other overlap',
                           'check the poses, and that they move the camera into the world')
    means = {OFF: _mean(off), STABILIZED: _mean(stabilized), MEASURED: _mean(measured)}
    return Evaluation(
        facts, _protocol(kind, sequence) + ('; metres by the focal length' if by_focal else ''),
        means[OFF], worst_of(off), off, tuple(clip.failed),
        means, unmatched=sequence.unmatched, stabilized=stabilized)


class _Clip:
    """
    The depth of the frames of one sequence.

    Maps of ``output`` relative are 1/z [1/m] if ``kind`` is metric. They become metres after they
    are resized, because what is infinitely far has no mean with what is near.
    """

    def __init__(self, sequence: CameraSequence, kind: Kind, output: Kind) -> None:
        self.failed: list[Failure] = []
        self._sequence = sequence
        self._kind: Kind = kind
        self._output: Kind = output
        self._frames: list[_Frame] = []
        self._fits = {OFF: ClipFit(), STABILIZED: ClipFit()}
        self._stabilizer = Stabilizer()

    def add(self, index: int, outcome: Outcome) -> None:
        """Add the depth of one frame, or the reason why it has none."""
        pair = self._sequence.frames[index].pair
        try:
            if isinstance(outcome, DepthAnythingError):
                raise outcome
            size_hw = outcome.image_bgr.shape[0], outcome.image_bgr.shape[1]
            if self._frames and size_hw != self._frames[0].size_hw:
                raise ImageError(f'{pair.color} is {size_hw[1]}x{size_hw[0]}, unlike the first '
                                 'frame; one camera has one size')
            truth_m = self._truth(index, size_hw)
            score_depth(truth_m, truth_m, self._limits)
            frame = _Frame(index, size_hw, outcome.depth, self._stabilizer.update(
                model_inverse_depth(outcome.depth, self._output, MetricCorrection())))
            for way, fit in self._fits.items():
                if self._kind == 'relative':
                    fit.add(self._full(frame, way), truth_m)
            self._frames.append(frame)
        except (DepthAnythingError, ValueError) as error:
            self.failed.append(Failure(pair.name, str(error)))

    def score(self, way: str, gallery: Gallery | None) -> tuple[ImageScores[SequenceScores], ...]:
        """Return the scores of all frames for OFF, STABILIZED or MEASURED."""
        if len(self._frames) < 2:
            first = f'; {self.failed[0].name}: {self.failed[0].reason}' if self.failed else ''
            raise ImageError(f'{len(self._frames)} of {len(self._sequence.frames)} frames could '
                             f'be evaluated, and a sequence needs two{first}')
        camera = self._sequence.config.camera(self._frames[0].size_hw)
        scored: list[ImageScores[SequenceScores]] = []
        previous: tuple[int, F32] | None = None
        for frame, predicted_m, own_m, truth_m in self._depths(way):
            pair = self._sequence.frames[frame.index].pair
            scores = self._scores(predicted_m, own_m, truth_m)
            if previous is not None and previous[0] == frame.index - 1:
                before = scored[-1].scores.scale
                scores = replace(
                    scores, scale_step=abs(math.log(scores.scale / before)),
                    tae=self._alignment_error(previous[1], predicted_m, frame.index, camera))
            scored.append(ImageScores(pair.name, scores))
            previous = frame.index, predicted_m
            if gallery is not None:
                gallery.offer(Case(pair.name, _caption(scores), scores.abs_rel,
                                   partial(_panels, pair.color, predicted_m, truth_m)))
        return tuple(scored)

    @property
    def _limits(self) -> DepthRange:
        return self._sequence.config.images.limits

    def _truth(self, index: int, size_hw: tuple[int, int]) -> F32:
        return read_truth(self._sequence.frames[index].pair, self._sequence.config.images, size_hw)

    def _full(self, frame: _Frame, way: str) -> F32:
        """Return depth of the kind at the size of the image, stabilized or not."""
        depth = frame.depth
        if way == STABILIZED:
            gain, offset = map(np.float32, frame.gain_offset)
            depth = model_inverse_depth(depth, self._output, MetricCorrection()) * gain + offset
            if self._output == 'metric':
                depth = inverse_from_metric(depth)
        depth = resize_depth(depth, frame.size_hw)
        return depth if self._kind == self._output else metric_from_inverse(
            depth, 1.0, 0.0, beyond=np.inf)

    def _depths(self, way: str) -> Iterator[tuple[_Frame, F32, F32, F32]]:
        """Yield each frame, its depth under the fit for the clip and its own, and the truth."""
        to_metres = self._clip_fit(way)
        for frame in self._frames:
            truth_m = self._truth(frame.index, frame.size_hw)
            if way == MEASURED:
                yield frame, truth_m, truth_m, truth_m
                continue
            depth = self._full(frame, way)
            own_m = (align_relative(depth, truth_m, self._limits) if self._kind == 'relative'
                     else align_metric(depth, truth_m, self._limits, median_scaling=True))
            yield frame, to_metres(depth), own_m, truth_m

    def _clip_fit(self, way: str) -> Callable[[F32], F32]:
        """Return the function that makes metres of the output of the model."""
        maximum_m = self._limits.maximum_m
        if self._kind == 'metric' or way == MEASURED:
            # Without a ratio of medians the measured depth does not matter.
            return lambda depth: align_metric(depth, depth, self._limits)
        scale, shift = self._fits[way].scale_shift()
        return lambda depth: (1 / np.maximum(depth * scale + shift, 1 / maximum_m)).astype(
            np.float32)

    def _scores(self, predicted_m: F32, own_m: F32, truth_m: F32) -> SequenceScores:
        clip, own = (score_depth(one, truth_m, self._limits) for one in (predicted_m, own_m))
        return SequenceScores(clip.abs_rel, clip.delta1, own.abs_rel, own.delta1, math.nan,
                              frame_scale(predicted_m, truth_m), math.nan)

    def _alignment_error(self, previous_m: F32, present_m: F32, index: int,
                         camera: Intrinsics) -> float:
        poses: list[F64] = [self._sequence.frames[one].pose for one in (index - 1, index)]
        return alignment_error(previous_m, present_m, camera,
                               np.linalg.inv(poses[1]) @ poses[0])


def _mean(images: tuple[ImageScores[SequenceScores], ...]) -> SequenceScores:
    """Return the mean of each figure over the frames that have it."""
    return SequenceScores(*(
        statistics.fmean([value for one in images
                          if not math.isnan(value := getattr(one.scores, entry.name))] or [
                              math.nan])
        for entry in fields(SequenceScores)))


def _caption(scores: SequenceScores) -> str:
    tae = '' if math.isnan(scores.tae) else f'  TAE {scores.tae:.4f}'
    return f'AbsRel {scores.abs_rel:.3f}  scale {scores.scale:.3f}{tae}'


def _panels(color: Path, predicted_m: F32, truth_m: F32) -> list[U8]:
    return depth_panels(to_bgr(read_picture(color)), predicted_m, truth_m)


def _protocol(kind: Kind, sequence: CameraSequence) -> str:
    how = ('one scale and shift for the clip by least squares in disparity, clipped at the '
           'maximum; frame AbsRel and frame δ1 with a scale and shift for each frame'
           if kind == 'relative' else
           'metric without alignment, clipped to the range; frame AbsRel and frame δ1 scaled to '
           'the measured median of each frame')
    limits = sequence.config.images.limits
    return (f'{how}; TAE: temporal alignment error of Video Depth Anything, as a share; scored '
            f'depth from {limits.minimum_m:g} to {limits.maximum_m:g} m; mean over '
            f'{len(sequence.frames)} frames')
