"""What /diagnostics says about a depth node, as plain values and as HTML for the page."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from depth_anything_ros.ros.statuses import statuses_of

LEVELS = ('OK', 'WARN', 'ERROR', 'STALE')
_COLORS = {'OK': '#2b8a3e', 'WARN': '#b35c00', 'ERROR': '#c92a2a', 'STALE': '#868e96'}
# These are shown at once, the other values after a click.
_FIRST = ('lifecycle state', 'device', 'precision', 'images in [Hz]', 'depth out [Hz]',
          'latency p50 [ms]', 'latency p95 [ms]', 'alignment state')


@dataclass(frozen=True)
class CameraStatus:
    """
    The status of one camera: ``level`` is one of LEVELS, ``message`` a sentence.

    ``camera`` is '' for a node with one camera without a name.
    """

    camera: str
    level: str
    message: str
    values: Mapping[str, str]

    @property
    def image_topic(self) -> str:
        """Return the resolved topic of the images, '' if the status does not name it."""
        return self.values.get('image topic', '')

    @property
    def state(self) -> str:
        """Return the lifecycle state of the node, '' if the status does not name it."""
        return self.values.get('lifecycle state', '')


def camera_statuses(message: Any, node: str) -> dict[str, CameraStatus]:
    """
    Return the statuses in a DiagnosticArray by camera, {} if another node sent it.

    ``node`` is the full name of the depth node, such as /depth_anything.
    """
    return {camera: CameraStatus(
        camera, LEVELS[min(int.from_bytes(status.level, 'little'), len(LEVELS) - 1)],
        status.message, {entry.key: entry.value for entry in status.values})
        for camera, status in statuses_of(message, node).items()}


def statuses_html(statuses: Iterable[CameraStatus]) -> str:
    """Return the statuses as HTML, or a sentence if there is none."""
    return ''.join(map(_status_html, statuses)) or paragraph(
        'no status on /diagnostics; is the node running, and is its name right?')


def paragraph(text: str, style: str = '') -> str:
    """Return a text as an HTML paragraph in the size of the panel."""
    return f'<p style="font-size:0.85em;margin:0.4em 1em;{style}">{escape(text)}</p>'


def _status_html(status: CameraStatus) -> str:
    title = ' '.join(filter(None, (status.camera, status.level)))
    first = [(key, status.values[key]) for key in _FIRST if key in status.values]
    rest = [(key, value) for key, value in status.values.items() if key not in _FIRST]
    return (paragraph(f'{title}: {status.message}',
                      f'font-weight:600;color:{_COLORS[status.level]}')
            + _table(first)
            + f'<details style="font-size:0.85em;margin:0.4em 1em"><summary>more</summary>'
            f'{_table(rest)}</details>')


def _table(rows: Iterable[tuple[str, str]]) -> str:
    lines = ''.join(f'<tr><td style="padding-right:1em">{escape(key)}</td>'
                    f'<td>{escape(value)}</td></tr>' for key, value in rows)
    return f'<table style="font-size:0.85em;margin:0 1em">{lines}</table>'
