"""Tables in Markdown."""

from collections.abc import Sequence


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, all columns but the first aligned to the right."""
    lines = [titles, ['---', *('--:' for _ in titles[1:])], *rows]
    return [f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in line)} |'
            for line in lines]
