"""The roofline chart: the roof of the machine and the groups of layers below it."""

from collections.abc import Sequence
import math
from pathlib import Path
from typing import Any

from depth_anything_ros.benchmark.report import DPI, new_figure
import numpy as np
from tools.limit.roofline import GroupCost, Roof

# Area of a circle [points^2] for the whole inference, and of the smallest circle.
_AREA, _SMALLEST = 3500.0, 12.0
# Groups without products are left of all others, a factor apart from each other.
_STEP = 1.8
_LOWEST_REACH = 0.05
_MARGIN_PT, _AIR_PX = 3, 1
_TRIES, _FARTHER_PT = 12, 7
_TEXT: dict[str, Any] = {'textcoords': 'offset points', 'fontsize': 8}
_BEHIND_TEXT = {'facecolor': 'white', 'alpha': 0.75, 'linewidth': 0, 'pad': 0.5}
_LEADER = {'arrowstyle': '-', 'linewidth': 0.6, 'color': '0.4'}

Place = tuple[float, float]


def draw_roofline(groups: Sequence[GroupCost], whole: GroupCost, roof: Roof, precision: str,
                  path: Path) -> None:
    """
    Write a PNG: FLOP per byte against GFLOP/s; the area of a circle is its share of time.

    Groups without products are on the left; their distance below the slope shows their GB/s
    relative to the memory bandwidth. MissingDependencyError without matplotlib.
    """
    figure = new_figure(9, 5.5)
    axes = figure.subplots()
    places = _places(groups, roof)
    _draw_roof(axes, roof, places, precision)
    _draw_whole(axes, whole)
    axes.axvspan(axes.get_xlim()[0], _without_products_below(groups, roof), color='0.96',
                 zorder=0)
    areas = [max(_SMALLEST, _AREA * group.share) for group in groups]
    for number, (place, area) in enumerate(zip(places, areas, strict=True)):
        axes.scatter(*place, area, f'C{number}', alpha=0.65, edgecolors='black', linewidths=0.6,
                     zorder=3)
    figure.draw_without_rendering()
    occupied = [text.get_window_extent() for text in axes.texts]
    occupied += [_box(axes, place, area) for place, area in zip(places, areas, strict=True)]
    for group, place, area in zip(groups, places, areas, strict=True):
        text = f'{group.name}, {100 * group.share:.1f} %'
        occupied.append(_write(axes, text, place, area, occupied))
    figure.savefig(path, format='png')


def _places(groups: Sequence[GroupCost], roof: Roof) -> list[Place]:
    """Return FLOP per byte and GFLOP/s of each group; those without FLOP side by side."""
    x = _without_products_below(groups, roof)
    places = []
    for group in groups:
        if group.flop > 0:
            places.append((group.intensity, group.gflops))
        else:
            x /= _STEP
            places.append((x, max(group.gb_s, _LOWEST_REACH * roof.bandwidth_gb_s) * x))
    return places


def _without_products_below(groups: Sequence[GroupCost], roof: Roof) -> float:
    """Return the right end of the strip for groups without products [FLOP/byte]."""
    return min([roof.ridge, *(group.intensity for group in groups if group.flop > 0)]) / _STEP


def _draw_roof(axes: Any, roof: Roof, places: Sequence[Place], precision: str) -> None:
    from matplotlib.ticker import LogLocator
    left, right = min(x for x, _ in places) / 2, 4 * max(roof.ridge, *(x for x, _ in places))
    intensities = np.geomspace(left, right, 200)
    axes.plot(intensities, [roof.gflops_at(one) for one in intensities], color='black',
              linewidth=1.6)
    highest = max(roof.peak_gflops, *(y for _, y in places))
    axes.set(xscale='log', yscale='log', xlim=(left, right),
             ylim=(min(y for _, y in places) / 2, 2 * highest),
             xlabel='FLOP per byte (grey strip: no products, by GB/s relative to memory)',
             ylabel='GFLOP/s')
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter('{x:g}')
        axis.set_minor_formatter('')
    axes.set_title(f'{precision} peak {roof.peak_gflops:.0f} GFLOP/s, memory '
                   f'{roof.bandwidth_gb_s:.3g} GB/s; the area of a circle is its share of time',
                   fontsize=10)
    axes.grid(which='major', color='0.9')
    axes.set_axisbelow(True)


def _draw_whole(axes: Any, whole: GroupCost) -> None:
    axes.axhline(whole.gflops, color='0.45', linestyle=':', linewidth=1)
    axes.annotate(f'whole inference: {whole.gflops:.0f} GFLOP/s, '
                  f'{100 * whole.peak_fraction.median:.0f} % of the peak', (0.01, whole.gflops),
                  xycoords=('axes fraction', 'data'), xytext=(0, 3), color='0.35', **_TEXT)


def _box(axes: Any, place: Place, area: float) -> Any:
    """Return the square around a circle of this area [points^2], in pixels."""
    from matplotlib.transforms import Bbox
    x, y = axes.transData.transform(place)
    radius = math.sqrt(area / math.pi) * DPI / 72
    return Bbox.from_extents(x - radius, y - radius, x + radius, y + radius)


def _write(axes: Any, text: str, place: Place, area: float, occupied: Sequence[Any]) -> Any:
    """Write the text near the circle where it overlaps nothing; return its box."""
    from matplotlib.text import Text
    radius = math.sqrt(area / math.pi)
    label = axes.annotate(text, place, xytext=(0, 0), bbox=_BEHIND_TEXT, zorder=4, in_layout=False,
                          arrowprops={**_LEADER, 'shrinkA': 0, 'shrinkB': radius}, **_TEXT)
    inside, renderer = axes.get_window_extent(), axes.figure.canvas.get_renderer()
    box = None
    for steps in range(_TRIES):
        away = radius + _MARGIN_PT + steps * _FARTHER_PT
        for x, y, ha, va in ((away, 0, 'left', 'center'), (0, -away, 'center', 'top'),
                             (0, away, 'center', 'bottom'), (-away, 0, 'right', 'center')):
            label.set(position=(x, y), ha=ha, va=va)
            label.update_positions(renderer)
            # The extent of an annotation would include its leader line.
            box = Text.get_window_extent(label).padded(_AIR_PX)
            if _fits(box, inside, occupied):
                return box
    return box


def _fits(box: Any, inside: Any, occupied: Sequence[Any]) -> bool:
    return (inside.fully_containsx(box.x0) and inside.fully_containsx(box.x1)
            and inside.fully_containsy(box.y0) and inside.fully_containsy(box.y1)
            and not any(box.overlaps(other) for other in occupied))
