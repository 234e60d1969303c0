"""Progress on a terminal and elsewhere."""

from collections.abc import Callable
import io
import re
import subprocess
import sys
import threading
import time

from depth_anything_ros.cli import progress
from depth_anything_ros.cli.progress import (
    count_in_lines, counting, duration_text, no_counting, Steps)
import pytest

rich_console = pytest.importorskip('rich.console')


@pytest.mark.parametrize(('total', 'shown'), [(40, '40/40'), (None, '40/?')])
def test_a_terminal_shows_a_bar_with_count_and_rate(total: int | None, shown: str) -> None:
    output = io.StringIO()
    console = rich_console.Console(file=output, force_terminal=True, width=100)
    with counting(console)('images', total, 0) as advance:
        for _ in range(40):
            time.sleep(0.001)
            advance()
    assert shown in output.getvalue()
    assert '/s' in output.getvalue()


@pytest.mark.parametrize(('total', 'pattern'), [
    (40, r'1 of 40 images, [\d.]+/s, [\w ]+ left'), (None, r'1 images, [\d.]+/s')])
def test_a_file_gets_a_plain_line_now_and_then(
        total: int | None, pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    console = rich_console.Console(file=output, width=100)
    with counting(console)('images', total, 0) as advance:
        advance()
    assert output.getvalue() == ''
    monkeypatch.setattr(progress, '_LINE_PERIOD_S', 0.0)
    with counting(console)('images', total, 0) as advance:
        advance()
        advance()
    lines = output.getvalue().splitlines()
    assert len(lines) == 2 and re.fullmatch(pattern, lines[0])


def test_the_lines_of_a_step_go_to_its_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, '_LINE_PERIOD_S', 0.0)
    lines: list[str] = []
    console = rich_console.Console(file=io.StringIO(), width=100)
    with counting(console, lines.append)('labels', 3, 1) as advance:
        advance('loss 0.5')
    assert len(lines) == 1
    assert lines[0].startswith('      2 of 3 labels, ') and lines[0].endswith('left, loss 0.5')


def test_counts_of_several_threads_are_all_counted() -> None:
    lines: list[str] = []

    def work(advance: Callable[[], None]) -> None:
        for _ in range(200):
            advance()

    with count_in_lines(lines.append, 'images', 800, period_s=0) as advance:
        threads = [threading.Thread(target=work, args=(advance,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert lines[-1].startswith('      800 of 800 images, ') and len(lines) == 800


def test_without_a_display_counting_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with no_counting('images', 2) as advance:
        advance()
        advance('a note')
    assert capsys.readouterr() == ('', '')


def test_steps_are_numbered_and_timed_unless_they_fail() -> None:
    lines: list[str] = []
    steps = Steps(lines.append, 2)
    with steps.step('reading'):
        pass
    steps.details(('kind: relative', 'encoder: vits'))
    with pytest.raises(ValueError), steps.step('writing'):
        raise ValueError
    assert lines[0] == '[1/2] reading' and re.fullmatch(r'      \d\.\d s', lines[1])
    assert lines[2:] == ['      kind: relative\n      encoder: vits', '[2/2] writing']


def test_the_plain_parts_need_no_rich() -> None:
    run = subprocess.run(
        [sys.executable, '-c', "import sys; sys.modules['rich'] = None\n"
         'from depth_anything_ros.cli.progress import count_in_lines, Steps\n'
         "with Steps(print, 1).step('work'), count_in_lines(print, 'images', 1) as advance:\n"
         '    advance()\n'], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith('[1/1] work\n')


@pytest.mark.parametrize(('seconds', 'text'), [
    (0.4, '0 s'), (89.4, '89 s'), (90.0, '2 min'), (3540.0, '59 min'), (3570.0, '1 h 00 min'),
    (11100.0, '3 h 05 min')])
def test_a_duration_is_told_in_one_or_two_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
