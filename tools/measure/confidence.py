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
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
import statistics
import sys
import tempfile
import time

import cv2
from depth_anything_ros.api import load_model
from depth_anything_ros.arrays import F32, F64, U8
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.parameters import Settings
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.confidence import (
    confidence, disagreement, mirror, ONE_LOOK, TWO_LOOKS, TYPICAL_RESIDUAL)
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np
from tools.measure.box_model_figures import open_frames, TEACHER_SIZE
from tools.measure.confidence_chart import draw_chart
from tools.measure.confidence_looks import AGES, look, Looked, Picture, read_pictures
from tools.measure.figures import requote_pages, ROOT, rounded, write_figures
from tools.measure.sparsification import (
    ause, Bin, calibration_error, fit_logistic, reliability)
from tools.shared_data import CHECKPOINT_OVERRIDES, IMAGES, require_data

COMMAND = 'python -m tools.measure.confidence'
PICTURE = ROOT / 'docs' / 'images' / 'confidence.png'
THRESHOLDS = (0.5, 0.7)
_LABELS = {'rgbd': 'RGB-D', 'moving': 'flight', 'sequence': 'living room'}
# Of the measurement of time, where the values of the maps do not matter.
_TIMED, _SCALE_SHIFT = 15, (0.1, 0.1)
# Every eighth scored pixel is enough to fit a few weights.
_FITTED = 8
# The place of the residual in the inputs.
_RESIDUAL = 2
# The weights of the package may differ by this much from a new fit.
_SAME = 0.02

Figures = dict[str, float]


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
                     + ('' if same else f'; in the package {shipped}'))
    typical = statistics.fmean(_by_scene(looked, [
        float(np.exp(one.one_look[0, _RESIDUAL])) for one in looked]).values())
    lines.append(f'TYPICAL_RESIDUAL = {typical:.3f}; in the package {TYPICAL_RESIDUAL}')
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.exit(main())
