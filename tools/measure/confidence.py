"""
Measure how well the confidence orders the errors of depth; write docs/figures/confidence.json.

``python -m tools.measure.confidence`` needs ../shared/images and a checkpoint in ../shared/weights
and takes three minutes on two idle cores. ``--box`` measures the model of the package only and
writes nothing. docs/images/confidence.png is drawn with it.

Each image is fitted to its true depth as ``alignment.source: depth`` does, and the error of a
pixel is |z' - z| / z. Weights are fitted on two scenes and judged on the third. Figures are means
over the scenes of the means over their images.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import statistics
import sys
import tempfile
import time

import cv2
from depth_anything_ros.alignment.fit import fit_alignment
from depth_anything_ros.alignment.references import samples_from_depth
from depth_anything_ros.api import DepthModel, load_model
from depth_anything_ros.arrays import Bools, F32, F64, U8
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.media.rgbd_folder import read_truth, RgbdPair
from depth_anything_ros.parameters import Settings
from depth_anything_ros.vision.color_image import ColorImage, to_bgr
from depth_anything_ros.vision.confidence import (
    confidence, disagreement, log_measures, mirror, ONE_LOOK, TWO_LOOKS,
    TYPICAL_RESIDUAL, WITHIN)
from depth_anything_ros.vision.depth import DepthRange, inverse_depth_jumps
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np
from tools.measure.box_model_figures import Frames, open_frames, TEACHER_SIZE
from tools.measure.confidence_chart import draw_chart
from tools.measure.figures import requote_pages, ROOT, rounded, write_figures
from tools.measure.sparsification import (
    ause, Bin, calibration_error, fit_logistic, reliability)
from tools.shared_data import CHECKPOINT_OVERRIDES, IMAGES, require_data

COMMAND = 'python -m tools.measure.confidence'
PICTURE = ROOT / 'docs' / 'images' / 'confidence.png'
# How many images ago the image was that has a second look.
AGES = (0, 1, 2, 4)
THRESHOLDS = (0.5, 0.7)
SIZES = {'three_quarters': 0.75, 'half': 0.5}
_LABELS = {'rgbd': 'RGB-D', 'moving': 'flight', 'sequence': 'living room'}
_STRIDE, _TEXTURE_PX = 4, 15
# Of the measurement of time, where the values of the maps do not matter.
_TIMED, _SCALE_SHIFT = 15, (0.1, 0.1)
# Every eighth scored pixel is enough to fit a few weights.
_FITTED = 8
# The place of the residual in the inputs.
_RESIDUAL = 2
# The weights of the package may differ by this much from a new fit.
_SAME = 0.02

Figures = dict[str, float]


@dataclass(frozen=True)
class Picture:
    """An image with its true depth [m], NaN where none, and earlier images by their age."""

    scene: str
    image: U8
    truth_m: F32
    limits: DepthRange
    earlier: Mapping[int, U8]


@dataclass(frozen=True)
class Looked:
    """
    The scored pixels of an image: errors [N], and measures [N], larger is less certain.

    ``one_look`` [N, n] and ``two_looks`` [N, n + 1], by the age of the second look, are the inputs
    of the regressions.
    """

    scene: str
    errors: F64
    measures: Mapping[str, F64]
    one_look: F64
    two_looks: Mapping[int, F64]

    @property
    def within(self) -> Bools:
        """Return where the error is within the limit that the confidence is about."""
        found: Bools = self.errors <= WITHIN
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return 0, or 1 with a sentence if data is missing."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument('--box', action='store_true',
                        help='measure the model of the package only and write nothing')
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    try:
        checkpoint = require_data()
        pictures = list(read_pictures(open_frames(IMAGES)))
        looked = look(pictures, None)
        figures = confidence_figures(looked) | cost_figures(pictures[0].image)
        if not options.box:
            figures |= large_figures(pictures, checkpoint)
    except (DepthAnythingError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    figures = rounded(figures)
    for name, value in figures.items():
        print(f'{name:44} {value:g}')
    print(weights_report(looked))
    if not options.box:
        draw_chart(PICTURE, drawn(looked),
                   {_LABELS[scene]: bins for scene, bins in scene_bins(
                       looked, held_out_confidence(looked, two_looks)).items()})
        print(f'wrote {write_figures("confidence", COMMAND, figures)} and {PICTURE}')
        requote_pages()
    return 0


def read_pictures(frames: Frames) -> Iterator[Picture]:
    """Yield the images with true depth, with the images before them where a camera moves."""
    for scene, dataset in frames.items():
        for pair in dataset.pairs:
            image = _read(pair.color)
            yield Picture(scene, image, read_truth(pair, dataset.config, image.shape[:2]),
                          dataset.config.limits, _earlier(pair))


def _earlier(pair: RgbdPair) -> dict[int, U8]:
    # The frames of a moving camera have numbers of five digits.
    if len(pair.key) != 5:
        return {}
    files = {age: pair.color.with_name(f'rgb_{int(pair.key) - age:05d}.jpg') for age in AGES[1:]}
    return {age: _read(file) for age, file in files.items() if file.is_file()}


def _read(file: Path) -> U8:
    return to_bgr(read_picture(file))


def look(pictures: Sequence[Picture], model: Path | None, input_size: int = 0,
         sizes: Mapping[str, float] | None = None) -> list[Looked]:
    """Compute all looks of a model at all pictures; return the pixels that are scored."""
    with load_model(model, input_size=input_size, hint='LATENCY') as depth_model:
        looks = [{age: _both(depth_model, image)
                  for age, image in {0: one.image, **one.earlier}.items()} for one in pictures]
        size = depth_model.state.input_size
    smaller: list[dict[str, F32]] = [{} for _ in pictures]
    for name, share in (SIZES if sizes is None else sizes).items():
        with load_model(model, input_size=round(size * share), hint='LATENCY') as depth_model:
            for found, one in zip(smaller, pictures):
                found[name] = depth_model.infer(one.image, output_size='native')
    return [_scored(*one) for one in zip(pictures, looks, smaller)]


def _both(depth_model: DepthModel, image: U8) -> tuple[F32, F32]:
    first, second = (depth_model.infer(one, output_size='native')
                     for one in (image, mirror(ColorImage(image, 'bgr')).pixels))
    return first, second


def _scored(picture: Picture, looks: Mapping[int, tuple[F32, F32]],
            smaller: Mapping[str, F32]) -> Looked:
    """Return the pixels of every fourth row and column that have a true depth."""
    inverse_depth, limits, truth_m = looks[0][0], picture.limits, picture.truth_m
    fit = fit_alignment(samples_from_depth(inverse_depth, truth_m, limits, truth_m.size), True)
    scale_shift = fit.scale, fit.shift
    scored = np.isfinite(truth_m)[::_STRIDE, ::_STRIDE]

    def pixels(values: F32) -> F64:
        full = resize_depth(values, (truth_m.shape[0], truth_m.shape[1]))
        return full[::_STRIDE, ::_STRIDE][scored].astype(np.float64)

    native, image_size = (
        np.maximum(one * np.float32(fit.scale) + np.float32(fit.shift),
                   np.float32(1 / limits.maximum_m))
        for one in (inverse_depth, resize_depth(inverse_depth, picture.image.shape[:2])))
    changes = {age: disagreement(*both, scale_shift) for age, both in looks.items()}
    measures = {'edge_filter': pixels(inverse_depth_jumps(image_size) / image_size),
                'distance': pixels(1 / image_size), 'texture': pixels(_texture(picture.image)),
                'mirrored': pixels(changes[0])}
    for name, other in smaller.items():
        # ``disagreement`` mirrors it back.
        measures[name] = pixels(disagreement(inverse_depth, other[:, ::-1], scale_shift))

    def inputs(change: F32 | None) -> F64:
        return np.stack([pixels(values) for values in
                         log_measures(native, fit.residual, change)], axis=1)

    found_m, true_m = 1 / pixels(image_size), pixels(truth_m)
    return Looked(picture.scene, np.abs(found_m - true_m) / true_m, measures, inputs(None),
                  {age: inputs(change) for age, change in changes.items()})


def _texture(image_bgr: U8) -> F32:
    """Return the standard deviation of the brightness around each pixel."""
    gray = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY).astype(np.float32)
    window = (_TEXTURE_PX, _TEXTURE_PX)
    variance = cv2.blur(gray * gray, window) - cv2.blur(gray, window) ** 2
    found: F32 = np.sqrt(np.maximum(variance, 0))
    return found


def scenes(looked: Sequence[Looked]) -> list[str]:
    """Return the names of the scenes in their order."""
    return list(dict.fromkeys(one.scene for one in looked))


def fitted_weights(looked: Sequence[Looked], inputs: Callable[[Looked], F64]) -> F64:
    """Return the weights of a regression to which each scene counts the same."""
    counts = {scene: sum(one.errors.size for one in looked if one.scene == scene)
              for scene in scenes(looked)}
    return fit_logistic(*(np.concatenate(rows)[::_FITTED] for rows in (
        [inputs(one) for one in looked], [one.within for one in looked],
        [np.full(one.errors.size, 1 / counts[one.scene]) for one in looked])))


def held_out_confidence(looked: Sequence[Looked], inputs: Callable[[Looked], F64],
                        judged: Callable[[Looked], F64] | None = None) -> list[F64]:
    """
    Return the confidence of the pixels of each image by weights of the other scenes.

    ``judged`` gives the inputs of the judged images if they differ from those of the fit.
    """
    weights = {scene: fitted_weights([one for one in looked if one.scene != scene], inputs)
               for scene in scenes(looked)}
    return [chance((judged or inputs)(one), weights[one.scene]) for one in looked]


def chance(rows: F64, weights: Sequence[float] | F64) -> F64:
    """Return the confidence [N] for inputs [N, n]."""
    found: F64 = 1 / (1 + np.exp(-(weights[0] + rows @ np.asarray(weights[1:]))))
    return found


def one_look(one: Looked) -> F64:
    """Return the inputs without a second look."""
    return one.one_look


def two_looks(one: Looked) -> F64:
    """Return the inputs with a second look at the same image."""
    return one.two_looks[0]


def drawn(looked: Sequence[Looked]) -> list[tuple[F64, dict[str, F64]]]:
    """Return the errors of each image and its uncertainties by their label."""
    return [(one.errors, {'jump (edge filter)': one.measures['edge_filter'],
                          'distance': one.measures['distance'],
                          'confidence, one look': 1 - single,
                          'confidence, two looks': 1 - double})
            for one, single, double in zip(looked, held_out_confidence(looked, one_look),
                                           held_out_confidence(looked, two_looks))]


def confidence_figures(looked: Sequence[Looked]) -> Figures:
    """
    Return the AUSE of each measure and of the confidence, their ratios, and the calibration.

    ``confidence_ause_ratio_age_N`` is the ratio to the edge filter's measure with a second look at
    the N-th image before, over the images of a moving camera that have all earlier ones.
    """
    both = held_out_confidence(looked, two_looks)
    found = {f'ause_{name}': ause_by_scene(looked, [one.measures[name] for one in looked])
             for name in looked[0].measures}
    found['ause_random'] = ause_by_scene(looked, [np.zeros(one.errors.size) for one in looked])
    found['ause_one_look'] = ause_by_scene(
        looked, [1 - values for values in held_out_confidence(looked, one_look)])
    found['ause'] = ause_by_scene(looked, [1 - values for values in both])
    figures = {f'confidence_{name}': statistics.fmean(means.values())
               for name, means in found.items()}
    for name, upper, lower in (('', 'ause', 'ause_edge_filter'),
                               ('_distance', 'ause', 'ause_distance'),
                               ('_one_look', 'ause_one_look', 'ause_edge_filter')):
        figures[f'confidence_ause_ratio{name}'] = (
            figures[f'confidence_{upper}'] / figures[f'confidence_{lower}'])
        figures |= {f'confidence_ause_ratio{name}_{scene}': value / found[lower][scene]
                    for scene, value in found[upper].items()}
    figures |= {f'confidence_calibration_error_{scene}': calibration_error(bins)
                for scene, bins in scene_bins(looked, both).items()}
    return figures | threshold_figures(looked, both) | age_figures(looked)


def age_figures(looked: Sequence[Looked]) -> Figures:
    """Return the figures ``confidence_ause_ratio_age_N``."""
    moving = [number for number, one in enumerate(looked) if len(one.two_looks) == len(AGES)]
    images = [looked[number] for number in moving]

    def mean(uncertainties: Sequence[F64]) -> float:
        return statistics.fmean(ause_by_scene(images, uncertainties).values())

    jumps = mean([one.measures['edge_filter'] for one in images])
    figures = {}
    for age in AGES:
        # The weights come from all scenes, also from those without earlier images.
        found = held_out_confidence(looked, two_looks, partial(_aged, age))
        figures[f'confidence_ause_ratio_age_{age}'] = mean(
            [1 - found[number] for number in moving]) / jumps
    return figures


def _aged(age: int, one: Looked) -> F64:
    return one.two_looks.get(age, one.two_looks[0])


def ause_by_scene(looked: Sequence[Looked], uncertainties: Sequence[F64]) -> dict[str, float]:
    """Return the mean AUSE of the images of each scene."""
    return _by_scene(looked, [ause(one.errors, values)
                              for one, values in zip(looked, uncertainties)])


def _by_scene(looked: Sequence[Looked], scores: Sequence[float]) -> dict[str, float]:
    return {scene: statistics.fmean(score for one, score in zip(looked, scores)
                                    if one.scene == scene) for scene in scenes(looked)}


def threshold_figures(looked: Sequence[Looked], confidences: Sequence[F64]) -> Figures:
    """
    Return the share of pixels that ``confidence_min`` keeps, and of these within the limit.

    ``_edge_filter`` is that after as many pixels with the largest jumps are removed instead.
    """
    def mean(scores: Sequence[float]) -> float:
        return statistics.fmean(_by_scene(looked, scores).values())

    figures = {'confidence_within': mean([float(one.within.mean()) for one in looked])}
    for limit in THRESHOLDS:
        kept: list[float] = []
        within: list[float] = []
        edge: list[float] = []
        for one, values in zip(looked, confidences):
            inside = values >= limit
            count = max(1, np.count_nonzero(inside))
            kept.append(float(inside.mean()))
            for scores, order in ((within, -values), (edge, one.measures['edge_filter'])):
                scores.append(float(one.within[np.argsort(order)[:count]].mean()))
        for name, scores in (('kept', kept), ('within', within), ('within_edge_filter', edge)):
            figures[f'confidence_{name}_{round(100 * limit)}'] = mean(scores)
    return figures


def scene_bins(looked: Sequence[Looked], confidences: Sequence[F64]) -> dict[str, list[Bin]]:
    """Return the reliability of the confidence in each scene."""
    found = {}
    for scene in scenes(looked):
        inside = [number for number, one in enumerate(looked) if one.scene == scene]
        found[scene] = reliability(np.concatenate([confidences[number] for number in inside]),
                                   np.concatenate([looked[number].within for number in inside]))
    return found


def large_figures(pictures: Sequence[Picture], checkpoint: Path) -> Figures:
    """Return figures of ViT-S at 518 with the weights of the package, fitted to another model."""
    from depth_anything_ros.convert.conversion import convert, Job
    with tempfile.TemporaryDirectory() as folder:
        model = convert(Job(checkpoint, Path(folder) / 'fp16.xml', 'fp16',
                            CHECKPOINT_OVERRIDES)).path
        looked = look([Picture(one.scene, one.image, one.truth_m, one.limits, {})
                       for one in pictures], model, TEACHER_SIZE, {})
    both = [chance(two_looks(one), TWO_LOOKS) for one in looked]
    found = {name: statistics.fmean(ause_by_scene(looked, values).values()) for name, values in (
        ('edge_filter', [one.measures['edge_filter'] for one in looked]),
        ('distance', [one.measures['distance'] for one in looked]),
        ('one_look', [1 - chance(one.one_look, ONE_LOOK) for one in looked]),
        ('two_looks', [1 - values for values in both]))}
    figures = {f'confidence_large_ause_{name}': value for name, value in found.items()}
    figures['confidence_large_ause_ratio'] = found['two_looks'] / found['edge_filter']
    return figures | {f'confidence_large_calibration_error_{scene}': calibration_error(bins)
                      for scene, bins in scene_bins(looked, both).items()}


def cost_figures(image_bgr: U8) -> Figures:
    """
    Return the median milliseconds of the map of the confidence, and the rate that is left.

    ``confidence_rate_ratio`` is the rate of images that have a confidence, by the default
    ``confidence_every``, divided by that of images without, one after the other.
    """
    every, size_hw = Settings().confidence_every, (image_bgr.shape[0], image_bgr.shape[1])
    image = ColorImage(image_bgr, 'bgr')
    with load_model(hint='LATENCY') as depth_model:
        def infer(seen: ColorImage) -> F32:
            return depth_model.infer(seen.pixels, output_size='native')

        first, second = infer(image), infer(mirror(image))
        change = disagreement(first, second, _SCALE_SHIFT)

        def compare() -> F32:
            return disagreement(first, infer(mirror(image)), _SCALE_SHIFT)

        def add_map() -> F32:
            return resize_depth(confidence(first, 0.05, change), size_hw)

        def without() -> None:
            for _ in range(every):
                resize_depth(infer(image), size_hw)

        def with_confidence() -> None:
            for _ in range(every):
                resize_depth(infer(image), size_hw)
                add_map()
            compare()

        rounds = [(_ms(without), _ms(with_confidence)) for _ in range(_TIMED)]
        return {'confidence_map_ms': statistics.median(_ms(add_map) for _ in range(_TIMED)),
                'confidence_rate_ratio': statistics.median(
                    before / after for before, after in rounds)}


def _ms(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - started)


def weights_report(looked: Sequence[Looked]) -> str:
    """Return the weights of all scenes, and whether they are those of the package."""
    lines = []
    for name, inputs, shipped in (('ONE_LOOK', one_look, ONE_LOOK),
                                  ('TWO_LOOKS', two_looks, TWO_LOOKS)):
        found = fitted_weights(looked, inputs)
        same = np.abs(found - np.asarray(shipped)).max() <= _SAME
        lines.append(f'{name} = ({", ".join(f"{one:.3f}" for one in found)})'
                     + ('' if same else ', which vision/confidence.py should contain'))
    typical = statistics.fmean(_by_scene(looked, [
        float(np.exp(one.one_look[0, _RESIDUAL])) for one in looked]).values())
    lines.append(f'TYPICAL_RESIDUAL = {typical:.3f}; in the package {TYPICAL_RESIDUAL}')
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.exit(main())
