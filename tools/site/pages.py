"""
Which files are pages of the site, and what their links mean there.

The pages are written for a reader of the repository: a link is a path relative to its file. On the
site a link to a page leads to that page, and a link to any other file offers the file.
"""

from collections.abc import Iterator, Mapping
import os
from pathlib import Path
import re

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / 'docs'
# Pages whose text is a file outside docs/; the file in docs/ only gives them a name.
ELSEWHERE: Mapping[str, Path] = {
    'changelog': ROOT / 'CHANGELOG.rst', 'contributing': ROOT / 'CONTRIBUTING.md',
    'model-card': ROOT / 'models' / 'depth_anything_tiny.md',
    'photographs': ROOT / 'resource' / 'photos' / 'README.md'}
# Files that a page replaces without being their text.
_REPLACED = {ROOT / 'README.md': 'index', ROOT / 'models' / 'README.md': 'choosing'}

# Fenced blocks and code spans, in which nothing is a link or a heading.
_CODE = re.compile(r'^( *)```.*?^\1```$|`[^`\n]*`', re.DOTALL | re.MULTILINE)
_LINK = re.compile(r'(?<=\]\()([^)\s]+)')
_HEADING = re.compile(r'^#{1,6} +(.+?) *$', re.MULTILINE)
_TOCTREE = re.compile(r'^```\{toctree\}\n(.*?)^```$', re.DOTALL | re.MULTILINE)


def site_pages() -> dict[str, Path]:
    """Return the file with the text of each page, by the name of the page."""
    return {path.stem: ELSEWHERE.get(path.stem, path)
            for pattern in ('*.md', '*.rst') for path in sorted(DOCS.glob(pattern))}


def listed_pages() -> list[str]:
    """Return the names in the tables of contents of all pages, in their order."""
    return [line.strip() for path in site_pages().values()
            for block in _TOCTREE.findall(path.read_text(encoding='utf-8'))
            for line in block.splitlines() if line.strip() and not line.startswith(':')]


def links(text: str) -> Iterator[str]:
    """Yield the targets of all links and pictures of a Markdown text outside of code."""
    for part in _plain_parts(text):
        yield from _LINK.findall(part)


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings of a Markdown text, as GitHub and the site make them."""
    found: set[str] = set()
    # Headings may hold code spans, but none is in a fenced block.
    for heading in _HEADING.findall(re.sub(r'(?ms)^( *)```.*?^\1```$', '', text)):
        name = re.sub(r'[^\w\- ]', '', re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading.lower()))
        anchor = name.strip().replace(' ', '-')
        number = 1
        while anchor in found:
            anchor = f'{anchor.rstrip("0123456789").rstrip("-")}-{number}'
            number += 1
        found.add(anchor)
    return found


def text_of(page: str, folder: Path) -> str:
    """Return the text of a page with links that hold for a copy of it in ``folder``."""
    path = site_pages()[page]
    text = path.read_text(encoding='utf-8')
    if path.suffix != '.md':
        return text
    return _relinked(text, path.parent, folder)


def _relinked(text: str, written_in: Path, folder: Path) -> str:
    names = {path: name for name, path in site_pages().items()} | _REPLACED

    def relink(link: re.Match[str]) -> str:
        target, mark, anchor = link[1].partition('#')
        if not target or ':' in target:
            return link[1]
        path = Path(os.path.normpath(written_in / target))
        name = names.get(path)
        if name is not None:
            return f'{name}.md{mark}{anchor}' if path.suffix == '.md' else f'{name}.rst'
        return os.path.relpath(path, folder)

    pieces, end = [], 0
    for code in _CODE.finditer(text):
        pieces += [_LINK.sub(relink, text[end:code.start()]), code[0]]
        end = code.end()
    return ''.join([*pieces, _LINK.sub(relink, text[end:])])


def _plain_parts(text: str) -> Iterator[str]:
    end = 0
    for code in _CODE.finditer(text):
        yield text[end:code.start()]
        end = code.end()
    yield text[end:]
