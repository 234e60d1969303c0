#!/usr/bin/env python3
"""
Tell from /diagnostics whether a depth node works: the health check of the container.

The exit status is 0 if every camera of the node reports OK or a warning, and 1 if one reports an
error or the node says nothing within the time. With --strict a warning counts as an error.
"""

import argparse
from collections.abc import Sequence
import sys
from typing import Any

from depth_anything_ros.ros.observer import Observer
from depth_anything_ros.ros.statuses import statuses_of
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

_LEVELS = {DiagnosticStatus.OK: 'OK', DiagnosticStatus.WARN: 'warning',
           DiagnosticStatus.ERROR: 'error'}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the status of the node and return the exit status."""
    parser = argparse.ArgumentParser(prog='health.py', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--node', default='depth_anything', metavar='NAME',
                        help='name of the node with its namespace (default: depth_anything)')
    parser.add_argument('--timeout', type=float, default=15.0, metavar='S',
                        help='time to wait for a message (default: 15)')
    parser.add_argument('--strict', action='store_true', help='a warning counts as an error')
    options = parser.parse_args(arguments)
    node = options.node.lstrip('/')
    found: list[Any] = []

    observer = Observer('depth_anything_health', node)
    try:
        observer.listen(DiagnosticArray, '/diagnostics',
                        lambda message: found.extend(statuses_of(message, node).values()))
        observer.spin_until(lambda: bool(found), options.timeout)
    finally:
        observer.close()
    if not found:
        print(f'{node} sends nothing on /diagnostics; is it running, with this '
              'ROS_DOMAIN_ID and user?')
        return 1
    for status in found:
        print(f'{status.name}: {_LEVELS.get(status.level, "unknown")}: {status.message}')
    worst = max(status.level for status in found)
    return int(worst > (DiagnosticStatus.OK if options.strict else DiagnosticStatus.WARN))


if __name__ == '__main__':
    sys.exit(main())
