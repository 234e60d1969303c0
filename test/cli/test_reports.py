"""Report files and tables."""

import io
import json
import math
from pathlib import Path

import pytest

pytest.importorskip('typer')
rich_console = pytest.importorskip('rich.console')

from depth_anything_ros.cli.reports import (  # noqa: E402, I100
    markdown_table, print_lines, print_table, ReportFiles, require_writable, to_json,
    write_report)


def test_json_holds_null_for_every_number_that_is_not_finite() -> None:
    text = to_json({'a': math.inf, 'b': [1.5, (math.nan, 'ü')], 'c': {'d': None, 'e': True}})
    assert json.loads(text) == {'a': None, 'b': [1.5, [None, 'ü']], 'c': {'d': None, 'e': True}}
    assert 'ü' in text and text.endswith('}\n')


def test_the_files_that_are_named_are_written(tmp_path: Path) -> None:
    files = ReportFiles(tmp_path / 'a.json', None, tmp_path / 'a.png')
    require_writable(files)
    write_report(files, {'a': 1}, '# a\n', lambda path: path.write_bytes(b'picture'))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.json', 'a.png']
    assert json.loads((tmp_path / 'a.json').read_text()) == {'a': 1}
    write_report(ReportFiles(None, tmp_path / 'a.md', None), {}, '# ü\n', pytest.fail)
    assert (tmp_path / 'a.md').read_text(encoding='utf-8') == '# ü\n'


def test_files_that_cannot_be_written_are_refused_before_the_work(tmp_path: Path) -> None:
    for files, message in [
            (ReportFiles(tmp_path / 'none' / 'a.json', None, None), 'a folder that exists'),
            (ReportFiles(None, tmp_path, None), 'a folder that exists'),
            (ReportFiles(None, Path('/proc/a.md'), None), '/proc cannot be written'),
            (ReportFiles(tmp_path / 'a', tmp_path / '..' / tmp_path.name / 'a', None),
             'a is named for two reports; name a file for each'),
            (ReportFiles(None, None, tmp_path / 'a.jpg'), 'let it end in .png')]:
        with pytest.raises(OSError, match=message):
            require_writable(files)


def test_a_markdown_table_keeps_its_cells() -> None:
    assert markdown_table(('a', 'b'), [('c|d\ne', '1')]) == [
        '| a | b |', '| --- | --: |', '| c\\|d e | 1 |']


def test_brackets_are_printed_unchanged() -> None:
    output = io.StringIO()
    console = rich_console.Console(file=output, width=40)
    print_lines(console, ['[bold]' + 60 * 'x'])
    print_table(console, ('RMSE [m]', '[b]'), [('[red]', '1')], '[title]')
    shown = output.getvalue()
    assert f'[bold]{60 * "x"}\n' in shown
    for part in ('RMSE [m]', '[b]', '[red]', '[title]'):
        assert part in shown
