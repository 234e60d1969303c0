"""What an evaluation found: scores per image, their mean and worst, and what failed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
import statistics
from typing import Any, Generic, TypeVar

from depth_anything_ros.errors import DepthAnythingError, ImageError
from depth_anything_ros.evaluate.predictions import ModelFacts, Progress

# A frozen dataclass of numbers whose first field is the figure that images are ranked by.
Scores = TypeVar('Scores', bound=Any)
Seen = TypeVar('Seen')

_LARGER_IS_BETTER = ('accuracy', 'coverage', 'delta1', 'delta2', 'delta3', 'pearson',
                     'rank_correlation')


@dataclass(frozen=True)
class ImageScores(Generic[Scores]):
    """The scores of one image."""

    name: str
    scores: Scores


@dataclass(frozen=True)
class Failure:
    """An image that has no scores, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Evaluation(Generic[Scores]):
    """
    The result of one run.

    ``mean`` is over images, or over pairs of points where these are counted; ``worst`` takes each
    figure from the image where it is worst. ``images`` stand in the order of their names,
    ``groups`` hold the scores by kind of scene. ``reference`` is the other model of a comparison.
    ``unmatched`` are files that took no part because their other half is missing.
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


def score_all(names: Sequence[str], order: Sequence[int], outcomes: Iterable[Seen | Exception],
              score: Callable[[int, Seen], Scores], progress: Progress | None = None,
              ) -> tuple[tuple[ImageScores[Scores], ...], tuple[Failure, ...]]:
    """
    Score the outcomes, which come in ``order``, and return scores and failures by name.

    An outcome that is an exception fails, and so does one for which ``score`` raises ImageError
    or ValueError. DepthAnythingError if nothing is left.
    """
    scored: list[ImageScores[Scores]] = []
    failed: list[Failure] = []
    for done, (index, outcome) in enumerate(zip(order, outcomes), start=1):
        try:
            if isinstance(outcome, Exception):
                raise outcome
            scored.append(ImageScores(names[index], score(index, outcome)))
        except (DepthAnythingError, ValueError) as error:
            failed.append(Failure(names[index], str(error)))
        if progress is not None:
            progress(done, len(order))
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
    return _combined(images, lambda name, values:
                     min(values) if name in _LARGER_IS_BETTER else max(values))


def badness(scores: Any) -> float:
    """Return the figure that images are ranked by, larger is worse."""
    name = fields(scores)[0].name
    value = float(getattr(scores, name))
    return -value if name in _LARGER_IS_BETTER else value


def worst_first(images: Sequence[ImageScores[Scores]]) -> list[ImageScores[Scores]]:
    """Return the images from the worst to the best."""
    return sorted(images, key=lambda one: badness(one.scores), reverse=True)


def figures(scores: Any) -> dict[str, float]:
    """Return the figures of a set of scores by name."""
    return asdict(scores)


def _combined(images: Sequence[ImageScores[Scores]],
              combine: Callable[[str, list[float]], float]) -> Scores:
    first = images[0].scores
    combined: Scores = replace(first, **{
        one.name: combine(one.name, [getattr(image.scores, one.name) for image in images])
        for one in fields(first)})
    return combined
