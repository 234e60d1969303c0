"""
Reads and writes docs/figures/NAME.json, and updates the figures that pages quote.

A page quotes a figure as a link to the JSON file with the name of the figure as title, so that a
program can update the number and a test can check it.
"""

from collections.abc import Mapping
import json
from pathlib import Path
import re
from typing import Any

from depth_anything_ros.benchmark.machine import describe_machine

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'docs' / 'figures'
_QUOTE = re.compile(r'\[[^\]]*\](\((?:(?:\.\./)?docs/)?figures/(\w+)\.json "(\w+)"\))')


def write_figures(name: str, command: str, figures: Mapping[str, float],
                  reports: Mapping[str, object] | None = None) -> Path:
    """
    Write docs/figures/``name``.json and return its path.

    ``reports`` holds further content for a page, by name.
    """
    path = FOLDER / f'{name}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, object] = {'command': command, 'machine': describe_machine(),
                                  'figures': dict(figures)}
    if reports is not None:
        content['reports'] = dict(reports)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + '\n', encoding='utf-8')
    return path


def read_figures(name: str) -> dict[str, float]:
    """Return the figures of docs/figures/``name``.json."""
    figures: dict[str, float] = read_content(name)['figures']
    return figures


def read_content(name: str) -> dict[str, Any]:
    """Return everything in docs/figures/``name``.json."""
    content: dict[str, Any] = json.loads((FOLDER / f'{name}.json').read_text(encoding='utf-8'))
    return content


def requote(page: str, folder: Path | None = None) -> str:
    """Return the page with every quoted figure from ``folder``, by default docs/figures."""
    def current(quote: re.Match[str]) -> str:
        content = json.loads(((folder or FOLDER) / f'{quote[2]}.json').read_text(encoding='utf-8'))
        return f'[{content["figures"][quote[3]]:.3g}]{quote[1]}'
    return _QUOTE.sub(current, page)


def pages() -> list[Path]:
    """Return the pages that may quote figures."""
    return [ROOT / 'README.md', *(path for folder in ('docs', 'models')
                                  for path in sorted((ROOT / folder).glob('*.md')))]


def requote_pages() -> None:
    """
    Update the quoted figures in README.md, docs/ and the model card.

    KeyError names a figure that was not measured yet; then no page has changed.
    """
    current = {page: requote(page.read_text(encoding='utf-8')) for page in pages()}
    for page, text in current.items():
        page.write_text(text, encoding='utf-8')


def model_mib(model: Path) -> float:
    """Return MiB of an .xml and its .bin together."""
    return sum(file.stat().st_size for file in (model, model.with_suffix('.bin'))) / 2**20
