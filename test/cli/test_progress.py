"""Progress on a terminal and elsewhere."""

import io
import time

from depth_anything_ros.cli import progress
import pytest

rich_console = pytest.importorskip('rich.console')


@pytest.mark.parametrize(('total', 'shown'), [(40, '40/40'), (None, '40/?')])
def test_a_terminal_shows_a_bar_with_count_and_rate(total: int | None, shown: str) -> None:
    output = io.StringIO()
    console = rich_console.Console(file=output, force_terminal=True, width=100)
    with progress.progress(console, total) as advance:
        for _ in range(40):
            time.sleep(0.001)
            advance()
    assert shown in output.getvalue()
    assert '/s' in output.getvalue()


@pytest.mark.parametrize(('total', 'shown'), [(40, '1 of 40 images, '), (None, '1 images, ')])
def test_a_file_gets_a_plain_line_now_and_then(
        total: int | None, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    console = rich_console.Console(file=output, width=100)
    with progress.progress(console, total) as advance:
        advance()
    assert output.getvalue() == ''
    monkeypatch.setattr(progress, '_LINE_PERIOD_S', 0.0)
    with progress.progress(console, total) as advance:
        advance()
        advance()
    lines = output.getvalue().splitlines()
    assert len(lines) == 2 and lines[0].startswith(shown) and lines[0].endswith('/s')
