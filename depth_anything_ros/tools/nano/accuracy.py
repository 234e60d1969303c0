"""How near the small model comes to the one that taught it, and to measured depth."""

from collections.abc import Sequence
from pathlib import Path
import statistics

from depth_anything_ros.errors import ImageError
from depth_anything_ros.tools.benchmarking.ladder_accuracy import open_truth, score_on
from depth_anything_ros.tools.benchmarking.ladder_rungs import Rung
from depth_anything_ros.tools.benchmarking.results import Say
from depth_anything_ros.tools.evaluation.parity import compare_models
from depth_anything_ros.tools.evaluation.predictions import RunOptions
import numpy as np

# Beside the model's own.
RGBD_SIZES = (224, 384, 480)
_TEACHER_SIZE, _SAID_EVERY = 518, 25

Figures = dict[str, float]


def teacher_figures(model: Path, teacher: Path, held_out: Sequence[Path],
                    learned: Sequence[Path], say: Say) -> Figures:
    """
    Return mean and 10th percentile of the rank correlation with the teacher over ``held_out``.

    Beside them the mean over photographs that the model ``learned`` from: what lies between is
    what more photographs would give, the rest what a larger model or a longer training would. The
    model runs at its own input size, the teacher at 518, both in the precision that the device
    prefers. ImageError names a photograph that fails, or says that there are none.
    """
    if not (held_out and learned):
        raise ImageError('the corpus lacks images/*.jpg whose number is divisible by ten, or '
                         'others; name its folder with --corpus')
    ranks = _ranks(model, teacher, held_out, say)
    known = _ranks(model, teacher, learned, say)
    return {'rank_corr_teacher': statistics.fmean(ranks),
            'rank_corr_teacher_p10': float(np.percentile(ranks, 10)),
            'rank_corr_images': float(len(ranks)),
            'rank_corr_learned': statistics.fmean(known),
            'rank_corr_learned_images': float(len(known))}


def _ranks(model: Path, teacher: Path, photographs: Sequence[Path], say: Say) -> list[float]:
    def progress(done: int, total: int) -> None:
        if done % _SAID_EVERY == 0 or done == total:
            say(f'compared {done} of {total} photographs')

    found = compare_models(model, teacher, photographs, RunOptions(), RunOptions(_TEACHER_SIZE),
                           progress)
    if found.failed:
        raise ImageError(f'{found.failed[0].name}: {found.failed[0].reason}')
    return [one.scores.rank_correlation for one in found.images]


def rgbd_figures(model: Path, folder: Path, say: Say,
                 sizes: Sequence[int] = RGBD_SIZES) -> Figures:
    """
    Return AbsRel and delta1 on measured depth at the model's own input size and at ``sizes``.

    DatasetError if ``folder`` holds no pairs, ImageError names a file that fails.
    """
    dataset, figures = open_truth(folder), {}
    for size in (0, *sizes):
        scores = score_on(dataset, Rung('nano', size, model, 'auto'))
        end = f'_{size}' if size else ''
        figures[f'rgbd_absrel{end}'] = scores.abs_rel
        figures[f'rgbd_delta1{end}'] = scores.delta1
        say(f'measured depth at {size or "its own size"}: AbsRel {scores.abs_rel:.3f}, delta1 '
            f'{scores.delta1:.3f}')
    return figures
