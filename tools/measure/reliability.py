"""
Measure what the node survives, and write docs/figures/reliability.json.

``fuzz`` attacks a node with random messages, requests and damaged files; ``damage`` starts engines
on damaged models; ``images`` counts the images that arrive from another process; ``bomb`` and
``references`` measure what a JPEG with a wrong header and forgotten reference clouds cost. All of
them together take about six minutes on two idle cores.
"""

import argparse
from collections.abc import Callable, Sequence
import sys

from depth_anything_ros.cli.progress import counting, open_console
from tools.fuzz.attack import attack, Plan
from tools.measure.figures import read_figures, requote_pages, write_figures
from tools.measure.reliability_damage import blob_damage
from tools.measure.reliability_images import images_arrived
from tools.measure.reliability_memory import jpeg_bomb, reference_cycles

COMMAND = 'python -m tools.measure.reliability'
_SEED = 16


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return 0, or 1 if the node did not survive."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument('--only', choices=tuple(PARTS), help='measure one part')
    parser.add_argument('--messages', type=int, default=100_000, help='messages of the attack')
    parser.add_argument('--minutes', type=float, default=float('inf'),
                        help='the attack ends after this time')
    parser.add_argument('--damages', type=int, default=200, help='damages of models')
    parser.add_argument('--images', type=int, default=300, help='images per way to the node')
    parsed = parser.parse_args(arguments)
    figures: dict[str, float] = {}
    kept = read_figures('reliability') if parsed.only else ()
    for name in [parsed.only] if parsed.only else PARTS:
        figures |= PARTS[name](parsed)
        print(f'wrote {write_figures("reliability", COMMAND, figures, kept=kept)}')
    for name, value in figures.items():
        print(f'{name:28} {value:.4g}')
    if not parsed.only:
        requote_pages()
    return int(any(figures.get(f'fuzz_{fault}') for fault in ('deaths', 'tracebacks', 'silences')))


def _fuzz(parsed: argparse.Namespace) -> dict[str, float]:
    console = open_console(stderr=True)
    with counting(console)('messages', parsed.messages, 0) as advance:
        plan = Plan(_SEED, parsed.messages, minutes=parsed.minutes)
        report = attack(plan, advance, console.print)
    return {'fuzz_messages': float(report.sent), 'fuzz_images_handled': float(report.handled),
            'fuzz_deaths': float(report.deaths), 'fuzz_tracebacks': float(report.tracebacks),
            'fuzz_silences': float(report.silences), 'fuzz_rss_growth_mib': report.growth_mib}


def _damage(parsed: argparse.Namespace) -> dict[str, float]:
    return blob_damage(parsed.damages, print)


def _images(parsed: argparse.Namespace) -> dict[str, float]:
    return images_arrived(parsed.images)


def _bomb(parsed: argparse.Namespace) -> dict[str, float]:
    return jpeg_bomb()


def _references(parsed: argparse.Namespace) -> dict[str, float]:
    return reference_cycles(print)


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    'fuzz': _fuzz, 'damage': _damage, 'images': _images, 'bomb': _bomb,
    'references': _references}


if __name__ == '__main__':
    sys.exit(main())
