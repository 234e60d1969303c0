"""The result of an evaluation: scores per image, mean and worst; as tables, JSON, Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
import math
from pathlib import Path
import statistics
from typing import Any, Generic, TYPE_CHECKING, TypeVar

from depth_anything_ros.api import DepthModel
from depth_anything_ros.cli.progress import Counting, no_counting
from depth_anything_ros.cli.reports import markdown_table, print_lines, print_table
from depth_anything_ros.errors import DepthAnythingError, ImageError
from depth_anything_ros.evaluate.predictions import (
    compute_order, ModelFacts, predict, Prediction)

if TYPE_CHECKING:
    from rich.console import Console

# A frozen dataclass of numbers; images are ranked by its first field.
Scores = TypeVar('Scores', bound=Any)
# What a score is computed from: one prediction, or those of two models.
Predicted = TypeVar('Predicted')

_LARGER_IS_BETTER = ('accuracy', 'coverage', 'delta1', 'delta2', 'delta3', 'frame_delta1',
                     'pearson', 'rank_correlation')
# These are best at 1.
_RATIOS = ('scale',)
_TITLES = {
    'abs_rel': 'AbsRel', 'delta1': 'δ1', 'delta2': 'δ2', 'delta3': 'δ3', 'rmse_m': 'RMSE [m]',
    'rmse_log': 'RMSE log', 'log10': 'log10', 'silog': 'SILog', 'coverage': 'coverage',
    'pearson': 'Pearson', 'rank_correlation': 'rank correlation', 'accuracy': 'accuracy',
    'pairs': 'pairs', 'frame_abs_rel': 'frame AbsRel', 'frame_delta1': 'frame δ1', 'tae': 'TAE',
    'scale': 'scale', 'scale_step': 'scale step'}
_SHOWN_IMAGES, _SHOWN_FIGURES, _SHOWN_NAMES = 10, 2, 5


@dataclass(frozen=True)
class ImageScores(Generic[Scores]):
    """The scores of one image."""

    name: str
    scores: Scores


@dataclass(frozen=True)
class Failure:
    """An image without scores, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class Evaluation(Generic[Scores]):
    """
    The result of one evaluation.

    ``mean`` is the mean over images, or over pairs of points where pairs are counted. ``worst``
    takes each figure from the image where it is worst. ``images`` and ``failed`` are sorted by
    name, ``groups`` are the scores by kind of scene, or by variant of a sequence. ``reference`` is
    the second model of a comparison. ``unmatched`` are files without a counterpart, which were
    left out. ``stabilized`` are the frames of a sequence with stabilization.
    """

    model: ModelFacts
    protocol: str
    mean: Scores
    worst: Scores
    images: tuple[ImageScores[Scores], ...]
    failed: tuple[Failure, ...] = ()
    groups: Mapping[str, Scores] = field(default_factory=dict)
    reference: ModelFacts | None = None
    unmatched: tuple[str, ...] = ()
    stabilized: tuple[ImageScores[Scores], ...] = ()


ScoresAndFailures = tuple[tuple[ImageScores[Scores], ...], tuple[Failure, ...]]


def score_files(depth_model: DepthModel, files: Sequence[Path], names: Sequence[str],
                score: Callable[[int, Prediction], Scores],
                counting: Counting | None = None) -> ScoresAndFailures[Scores]:
    """Compute ``files`` and return the scores and the failures, as ``score_all``."""
    order = compute_order(files, depth_model)
    return score_all(names, order, predict(depth_model, files, order), score, counting)


def score_all(names: Sequence[str], order: Sequence[int],
              outcomes: Iterable[Predicted | Exception],
              score: Callable[[int, Predicted], Scores],
              counting: Counting | None = None) -> ScoresAndFailures[Scores]:
    """
    Score the outcomes, which come in ``order``, and return scores and failures sorted by name.

    ``score`` gets the index and the prediction. An outcome that is an exception is a failure, and
    so is one for which ``score`` raises ImageError or ValueError. ImageError if all failed.
    """
    scored: list[ImageScores[Scores]] = []
    failed: list[Failure] = []
    with (counting or no_counting)('images', len(order), 0) as advance:
        for index, outcome in zip(order, outcomes):
            try:
                if isinstance(outcome, Exception):
                    raise outcome
                scored.append(ImageScores(names[index], score(index, outcome)))
            except (DepthAnythingError, ValueError) as error:
                failed.append(Failure(names[index], str(error)))
            advance()
    if not scored:
        first = failed[0]
        raise ImageError(f'none of {len(failed)} images could be evaluated; {first.name}: '
                         f'{first.reason}')
    return (tuple(sorted(scored, key=lambda one: one.name)),
            tuple(sorted(failed, key=lambda one: one.name)))


def mean_of(images: Sequence[ImageScores[Scores]]) -> Scores:
    """Return the mean of each figure over the images."""
    return _combined(images, lambda name, values: statistics.fmean(values))


def worst_of(images: Sequence[ImageScores[Scores]]) -> Scores:
    """Return the worst value of each figure, each from the image where it occurs."""
    def worst(name: str, values: list[float]) -> float:
        known = [value for value in values if not math.isnan(value)] or values
        if name in _RATIOS:
            return max(known, key=lambda value: abs(math.log(value)) if value > 0 else math.inf)
        return min(known) if name in _LARGER_IS_BETTER else max(known)
    return _combined(images, worst)


def badness(scores: Any) -> float:
    """Return the figure that images are ranked by, larger is worse."""
    name = fields(scores)[0].name
    value = float(getattr(scores, name))
    return -value if name in _LARGER_IS_BETTER else value


def worst_first(images: Sequence[ImageScores[Scores]]) -> list[ImageScores[Scores]]:
    """Return the images from the worst to the best."""
    return sorted(images, key=lambda one: badness(one.scores), reverse=True)


def as_dict(evaluation: Evaluation[Any]) -> dict[str, Any]:
    """Return model, protocol, mean and worst figures, images and failures as plain values."""
    content: dict[str, Any] = {'model': asdict(evaluation.model)}
    if evaluation.reference is not None:
        content['reference'] = asdict(evaluation.reference)
    return content | {
        'protocol': evaluation.protocol, 'mean': asdict(evaluation.mean),
        'worst': asdict(evaluation.worst),
        'groups': {name: asdict(scores) for name, scores in evaluation.groups.items()},
        'images': _named(evaluation.images),
        'failed': [asdict(one) for one in evaluation.failed],
        'unmatched': list(evaluation.unmatched)} | (
            {'stabilized': _named(evaluation.stabilized)} if evaluation.stabilized else {})


def _named(images: Sequence[ImageScores[Any]]) -> list[dict[str, Any]]:
    return [{'name': one.name, **asdict(one.scores)} for one in images]


def to_markdown(evaluation: Evaluation[Any]) -> str:
    """Return a page with the facts, all figures as tables, and the failures."""
    titles = _titles(evaluation)
    rows = [('mean', evaluation.mean), ('worst', evaluation.worst), *evaluation.groups.items()]
    lines = [f'# {evaluation.model.file}', '', *(f'- {line}' for line in _facts(evaluation)), '',
             *markdown_table(['', *titles],
                             [[name, *_texts(scores)] for name, scores in rows]), '',
             *markdown_table(['image', *titles], [[one.name, *_texts(one.scores)]
                                                  for one in worst_first(evaluation.images)])]
    lines += [line for one in evaluation.failed
              for line in ('', f'Failed: {one.name}: {one.reason}')]
    return '\n'.join(lines) + '\n'


def print_report(evaluation: Evaluation[Any], console: 'Console') -> None:
    """Print the facts, mean and worst figures, groups and the worst images."""
    titles, images = _titles(evaluation), worst_first(evaluation.images)
    print_lines(console, _facts(evaluation))
    print_table(console, ('', 'mean', 'worst'),
                zip(titles, _texts(evaluation.mean), _texts(evaluation.worst)))
    if evaluation.groups:
        print_table(console, ('', *titles),
                    [(name, *_texts(scores)) for name, scores in evaluation.groups.items()])
    print_table(console, (f'worst of {len(images)} images', *titles[:_SHOWN_FIGURES]),
                [(one.name, *_texts(one.scores)[:_SHOWN_FIGURES])
                 for one in images[:_SHOWN_IMAGES]])


def _facts(evaluation: Evaluation[Any]) -> list[str]:
    facts = [f'model: {_sentence(evaluation.model)}']
    if evaluation.reference is not None:
        facts.append(f'reference: {_sentence(evaluation.reference)}')
    facts += [f'protocol: {evaluation.protocol}',
              f'images: {len(evaluation.images)}, failed: {len(evaluation.failed)}']
    if evaluation.unmatched:
        more = ', ...' if len(evaluation.unmatched) > _SHOWN_NAMES else ''
        facts.append(f'files without a counterpart: {len(evaluation.unmatched)} '
                     f'({", ".join(evaluation.unmatched[:_SHOWN_NAMES])}{more})')
    return facts


def _sentence(model: ModelFacts) -> str:
    return (f'{model.file}, {model.encoder} {model.kind}, {model.precision} weights, from '
            f'{model.source_name}; on {model.device} in {model.execution_precision}, input size '
            f'{model.input_size}')


def _titles(evaluation: Evaluation[Any]) -> list[str]:
    return [_TITLES[name] for name in asdict(evaluation.mean)]


def _texts(scores: Any) -> list[str]:
    return [str(value) if isinstance(value, int) else f'{value:.4f}'
            for value in asdict(scores).values()]


def _combined(images: Sequence[ImageScores[Scores]],
              combine: Callable[[str, list[float]], float]) -> Scores:
    first = images[0].scores
    combined: Scores = replace(first, **{
        one.name: combine(one.name, [getattr(image.scores, one.name) for image in images])
        for one in fields(first)})
    return combined
