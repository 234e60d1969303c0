"""
Attack the node with random messages, requests and damaged files.

Exits with 1 if the node died, raised what nothing expects, fell silent, gave a wrong depth, or
grew. ``python -m tools.fuzz --messages 100000`` takes about a quarter of an hour.
"""

import argparse
from collections.abc import Sequence
import sys

from depth_anything_ros.cli.progress import counting, open_console
from depth_anything_ros.errors import DepthAnythingError
from tools.fuzz.attack import attack, GROWTH_LIMIT_MIB, KINDS, Plan

COMMAND = 'python -m tools.fuzz'


def main(arguments: Sequence[str] | None = None) -> int:
    """Attack and print what was found; return 0, or 1 if anything was."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument('--seed', type=int, default=0, help='another seed, other messages')
    parser.add_argument('--messages', type=int, default=2000, help='how many; 2000 by default')
    parser.add_argument('--only', choices=tuple(KINDS), default='', help='one kind of attack')
    parser.add_argument('--first', type=int, default=0, help='number of the first message')
    parser.add_argument('--minutes', type=float, default=float('inf'), help='end after this time')
    parsed = parser.parse_args(arguments)
    plan = Plan(parsed.seed, parsed.messages, parsed.only, parsed.first, parsed.minutes)
    console = open_console(stderr=True)
    try:
        with counting(console)('messages', plan.messages, 0) as advance:
            report = attack(plan, advance, console.print)
    except DepthAnythingError as error:
        print(f'error: the node did not come up: {error}', file=sys.stderr)
        return 1
    print(f'{report.sent} messages sent, {report.handled} images handled: {report.deaths} deaths, '
          f'{report.tracebacks} tracebacks, {report.silences} silences, memory '
          f'{report.growth_mib:+.1f} MiB (at most {GROWTH_LIMIT_MIB:g})')
    return int(report.failed)


if __name__ == '__main__':
    sys.exit(main())
