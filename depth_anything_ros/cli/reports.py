"""Reports of figures: JSON, Markdown and picture files, and the options that name them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
import json
import math
import os
from pathlib import Path
from typing import Annotated, Any, TYPE_CHECKING, TypeAlias

from depth_anything_ros.cli.program import complain
from depth_anything_ros.cli.progress import open_console
from depth_anything_ros.files import atomic_path, make_folder
from depth_anything_ros.foreign_files import printable
import typer

if TYPE_CHECKING:
    from rich.console import Console

Json: TypeAlias = Annotated[Path | None, typer.Option(
    '--json', metavar='FILE', help='Write all figures as JSON.', show_default=False)]
Markdown: TypeAlias = Annotated[Path | None, typer.Option(
    '--markdown', metavar='FILE', help='Write all figures as Markdown.', show_default=False)]


@dataclass(frozen=True)
class ReportFiles:
    """The files of a report; None: not written."""

    json: Path | None
    markdown: Path | None
    picture: Path | None


def require_writable(files: ReportFiles) -> None:
    """Raise OSError, before the work is done, for files that cannot be written after it."""
    named = [file for file in (files.json, files.markdown, files.picture) if file is not None]
    for index, file in enumerate(named):
        folder = file.absolute().parent
        if os.path.exists(file) and not file.is_file() or not folder.is_dir():
            raise OSError(f'{file} cannot be written; name a file in a folder that exists')
        if os.path.realpath(file) in map(os.path.realpath, named[:index]):
            raise OSError(f'{file} is named for two reports; name a file for each')
        make_folder(folder)
    if files.picture is not None and files.picture.suffix.lower() != '.png':
        raise OSError(f'{files.picture} is not the name of a PNG file; let it end in .png')


def finish_report(files: ReportFiles, content: object, markdown: str,
                  draw: Callable[[Path], object], show: Callable[['Console'], None],
                  failed: Sequence[str]) -> None:
    """
    Write the files as ``write_report``, and print the report by ``show``.

    Then exit status 1 with the sentences in ``failed``, if there are some.
    """
    # One must not prevent the other: the disk may be full, and `| head` closes stdout.
    try:
        write_report(files, content, markdown, draw)
    finally:
        show(open_console())
    for sentence in failed:
        complain(sentence)
    if failed:
        raise typer.Exit(1)


def write_report(files: ReportFiles, content: object, markdown: str,
                 draw: Callable[[Path], object]) -> None:
    """Write ``content`` as JSON, the Markdown page, and the picture by ``draw(path)``."""
    for file, text in ((files.json, to_json(content)), (files.markdown, markdown)):
        if file is not None:
            with atomic_path(file) as staged:
                staged.write_text(printable(text), encoding='utf-8')
    if files.picture is not None:
        with atomic_path(files.picture) as staged:
            draw(staged)


def to_json(content: object) -> str:
    """Return plain values as JSON text; a number that is not finite becomes null."""
    return json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False) + '\n'


def finite(content: Any) -> Any:
    """Return plain values with None for each number that is not finite."""
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {name: finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return content


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, all columns but the first aligned to the right."""
    lines = [titles, ['---', *('--:' for _ in titles[1:])], *rows]
    return [f'| {" | ".join(map(_cell, line))} |' for line in lines]


def _cell(text: str) -> str:
    return text.replace('|', '\\|').replace('\n', ' ')


def print_lines(console: 'Console', lines: Iterable[str]) -> None:
    """Print lines that may be longer than the terminal is wide, brackets unchanged."""
    from rich.text import Text
    for line in lines:
        console.print(Text(printable(line)), soft_wrap=True)


def print_table(console: 'Console', titles: Sequence[str], rows: Iterable[Sequence[str]],
                heading: str | None = None) -> None:
    """Print a table of texts, brackets unchanged."""
    from rich.table import Column, Table
    from rich.text import Text
    table = Table(*(Column(Text(title)) for title in titles),
                  title=None if heading is None else Text(heading))
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)
