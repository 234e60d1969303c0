"""Which model is best for the time that an inference may take: figures and a chart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from depth_anything_ros.benchmark.bare_model import BareModel
from depth_anything_ros.benchmark.ladder_accuracy import make_reference, rank_to, score_on
from depth_anything_ros.benchmark.ladder_steps import Config
from depth_anything_ros.benchmark.report import DPI, interleaved, Log, ratio
from depth_anything_ros.media.rgbd_folder import RgbdDataset

_ROUNDS, _PHASE_S = 5, 0.7
_LABELS = (('rank', 'rank correlation with the teacher'), ('absrel', 'AbsRel on measured depth'))


@dataclass(frozen=True)
class Point:
    """
    A model in one precision at one input size.

    ``time`` is that of an inference for 640x480 relative to the reference, ``rank`` the mean rank
    correlation with the teacher, ``absrel`` that on measured depth.
    """

    line: str
    size: int
    time: float
    rank: float
    absrel: float


def measure_front(configs: Sequence[Config], reference: Config, teacher: Config,
                  photographs: Sequence[Path], measured: RgbdDataset, log: Log) -> list[Point]:
    """Measure all configurations in one run; times are relative to that of ``reference``."""
    labels = make_reference(teacher, photographs)
    log(f'{len(photographs)} photographs labelled by the teacher')
    accuracy = {}
    for config in configs:
        accuracy[config] = rank_to(labels, config), score_on(measured, config).abs_rel
        log(f'{config}: rank {accuracy[config][0]:.3f}, AbsRel {accuracy[config][1]:.3f}')
    models = {str(config): BareModel(config.model, config.size, config.precision)
              for config in dict.fromkeys((reference, *configs))}
    rates = interleaved({name: partial(model.rate, _PHASE_S) for name, model in models.items()},
                        _ROUNDS, log)
    times = {config: ratio(rates[str(reference)], rates[str(config)]).median
             for config in configs}
    return [Point(config.line, config.size, times[config], *accuracy[config])
            for config in configs]


def draw_front(points: Sequence[Point], time_of: str, path: Path) -> None:
    """Write the chart; ``time_of`` names the reference of the times."""
    from matplotlib.figure import Figure

    lines: dict[str, list[Point]] = {}
    for point in sorted(points, key=lambda one: (one.line, one.time)):
        lines.setdefault(point.line, []).append(point)
    figure = Figure(figsize=(11, 4.5), layout='constrained')
    for axes, (name, label) in zip(figure.subplots(1, 2), _LABELS):
        for line, found in lines.items():
            axes.plot([one.time for one in found], [getattr(one, name) for one in found],
                      marker='o', label=line)
            for one in found:
                axes.annotate(str(one.size), (one.time, getattr(one, name)), fontsize=7,
                              textcoords='offset points', xytext=(3, 4))
        axes.set(xscale='log', xlabel=f'time of an inference ÷ {time_of}', ylabel=label)
        axes.grid(alpha=0.3, which='both')
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)


def as_rows(points: Sequence[Point]) -> list[Mapping[str, float | str]]:
    """Return the points for JSON, rounded."""
    return [{'line': one.line, 'size': one.size, 'time': float(f'{one.time:.3g}'),
             'rank': float(f'{one.rank:.4g}'), 'absrel': float(f'{one.absrel:.4g}')}
            for one in points]
