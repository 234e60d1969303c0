"""The files that a program writes its report to, and the options that name them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from depth_anything_ros.files import atomic_file
import typer

Json: TypeAlias = Annotated[Path | None, typer.Option(
    '--json', metavar='FILE', help='Write all figures as JSON.', show_default=False)]
Markdown: TypeAlias = Annotated[Path | None, typer.Option(
    '--markdown', metavar='FILE', help='Write all figures as Markdown.', show_default=False)]


@dataclass(frozen=True)
class ReportFiles:
    """Where to write what was found; None: nowhere."""

    json: Path | None
    markdown: Path | None
    picture: Path | None


def require_writable(files: ReportFiles) -> None:
    """Raise OSError, before the work is done, for a file that cannot be written after it."""
    for file in (files.json, files.markdown, files.picture):
        if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
            raise OSError(f'{file} cannot be written; name a file in a folder that exists')
    if files.picture is not None and files.picture.suffix.lower() != '.png':
        raise OSError(f'{files.picture} is no name of a picture; let it end in .png')


def write_report(files: ReportFiles, json: str, markdown: str,
                 draw: Callable[[Path], object]) -> None:
    """Write what is asked for; ``draw`` writes the picture to the path that it is given."""
    for file, text in ((files.json, json), (files.markdown, markdown)):
        if file is not None:
            with atomic_file(file) as staged:
                staged.write_text(text, encoding='utf-8')
    if files.picture is not None:
        with atomic_file(files.picture) as staged:
            draw(staged)


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, all columns but the first aligned to the right."""
    lines = [titles, ['---', *('--:' for _ in titles[1:])], *rows]
    return [f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in line)} |'
            for line in lines]
