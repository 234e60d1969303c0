"""
Reads and writes docs/figures/NAME.json, and updates the figures that pages quote.

A page quotes a figure as a link to the JSON file with the name of the figure as title, so that a
program can update the number and a test can check it.
"""

from collections.abc import Collection, Mapping
import json
from pathlib import Path
import re
from typing import Any

from depth_anything_ros.benchmark.machine import describe_machine

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'docs' / 'figures'
_QUOTE = re.compile(r'\[[^\]]*\](\((?:(?:\.\./)?docs/)?figures/(\w+)\.json "(\w+)"\))')


def write_figures(name: str, command: str, measured: Mapping[str, float],
                  reports: Mapping[str, object] | None = None,
                  kept: Collection[str] = ()) -> Path:
    """
    Write docs/figures/``name``.json, with the figures ``measured`` here, and return its path.

    The figures of the file that ``kept`` names stay unless they were measured again; those of
    another machine are listed with it under ``elsewhere``. ``reports`` holds further content for a
    page, by name.
    """
    path, here = FOLDER / f'{name}.json', describe_machine()
    path.parent.mkdir(parents=True, exist_ok=True)
    before: dict[str, Any] = read_content(name) if kept else {'machine': here, 'figures': {}}
    known = {figure: value for figure, value in before['figures'].items() if figure in kept}
    content: dict[str, object] = {'command': command, 'machine': here,
                                  'figures': {**known, **measured}}
    if elsewhere := _elsewhere(before, known.keys() - measured.keys(), here):
        content['elsewhere'] = elsewhere
    if reports is not None:
        content['reports'] = dict(reports)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + '\n', encoding='utf-8')
    return path


def _elsewhere(content: Mapping[str, Any], figures: Collection[str], here: str
               ) -> dict[str, list[str]]:
    """Return by machine which of ``figures`` of a file were measured on another one."""
    machines = {figure: machine for machine, names in content.get('elsewhere', {}).items()
                for figure in names}
    found: dict[str, list[str]] = {}
    for figure in sorted(figures):
        machine = machines.get(figure, content['machine'])
        if machine != here:
            found.setdefault(machine, []).append(figure)
    return found


def read_figures(name: str) -> dict[str, float]:
    """Return the figures of docs/figures/``name``.json, {} if there is no such file."""
    exists = (FOLDER / f'{name}.json').is_file()
    figures: dict[str, float] = read_content(name)['figures'] if exists else {}
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


def rounded(figures: Mapping[str, float]) -> dict[str, float]:
    """Return the figures with the four digits that docs/figures keeps."""
    return {name: float(f'{value:.4g}') for name, value in figures.items()}


def model_mib(model: Path) -> float:
    """Return MiB of an .xml and its .bin together."""
    return sum(file.stat().st_size for file in (model, model.with_suffix('.bin'))) / 2**20
