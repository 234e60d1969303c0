"""
Which files are pages of the site, and what their links mean there.

The pages are written for a reader of the repository: a link is a path relative to its file. On the
site a link to a page leads to that page, and a link to any other file offers the file.
"""

from collections import Counter
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
    'quality': ROOT / 'QUALITY_DECLARATION.md',
    'photographs': ROOT / 'resource' / 'photos' / 'README.md'}
# Files that a page replaces without being their text.
_REPLACED = {ROOT / 'README.md': 'index', ROOT / 'models' / 'README.md': 'choosing'}

# Fenced blocks, and code spans too: nothing in them is a link.
_FENCED = re.compile(r'^( *)```.*?^\1```$', re.DOTALL | re.MULTILINE)
_CODE = re.compile(rf'{_FENCED.pattern}|`[^`\n]*`', re.DOTALL | re.MULTILINE)
# The end of a link, with its text if that only repeats the name of a file.
_LINK = re.compile(r'(\[[\w./-]+\.md\]|\])\(([^)\s]+)')
_HEADING = re.compile(r'^#{1,6} +(.+?) *$', re.MULTILINE)
_TOCTREE = re.compile(r'^```\{toctree\}\n(.*?)^```$', re.DOTALL | re.MULTILINE)


def site_pages() -> dict[str, Path]:
    """Return the file with the text of each page, by the name of the page."""
    return {name: ELSEWHERE.get(name, path)
            for pattern in ('*.md', '*.rst', 'models/*.md') for path in sorted(DOCS.glob(pattern))
            for name in [path.relative_to(DOCS).with_suffix('').as_posix()]}


def listed_pages() -> list[str]:
    """Return the names in the tables of contents of all pages, in their order."""
    return [line.strip() for path in site_pages().values()
            for block in _TOCTREE.findall(path.read_text(encoding='utf-8'))
            for line in block.splitlines() if line.strip() and not line.startswith(':')]


def links(text: str) -> Iterator[str]:
    """Yield the targets of all links and pictures of a Markdown text outside of code."""
    for piece, is_code in _pieces(text):
        if not is_code:
            yield from (target for _, target in _LINK.findall(piece))


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings of a Markdown text, as GitHub and the site make them."""
    found: Counter[str] = Counter()
    # Headings may hold code spans, but none is in a fenced block.
    for heading in _HEADING.findall(_FENCED.sub('', text)):
        found[re.sub(r'[^\w\- ]', '', heading.lower()).strip().replace(' ', '-')] += 1
    return {f'{name}-{number}' if number else name for name, count in found.items()
            for number in range(count)}


def text_of(page: str, folder: Path) -> str:
    """Return the text of a page with links that hold for a copy of the site in ``folder``."""
    path = site_pages()[page]
    text = path.read_text(encoding='utf-8')
    if path.suffix != '.md':
        return text
    return _relinked(text, path.parent, folder, Path(page).parent)


def _relinked(text: str, written_in: Path, site: Path, room: Path) -> str:
    """Return ``text`` with links that hold in the folder ``room`` of ``site``."""
    names = {path: name for name, path in site_pages().items() if path.suffix == '.md'} | _REPLACED

    def relink(link: re.Match[str]) -> str:
        target, mark, anchor = link[2].partition('#')
        if not target or ':' in target:
            return link[0]
        path = Path(os.path.normpath(written_in / target))
        name = names.get(path)
        if name is None:
            return f'{link[1]}({os.path.relpath(path, site / room)}'
        # The site fills in the title of the page.
        page = os.path.relpath(f'{name}.md', room)
        return f'{"[]" if link[1] != "]" else "]"}({page}{mark}{anchor}'

    return ''.join(piece if is_code else _LINK.sub(relink, piece)
                   for piece, is_code in _pieces(text))


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Yield all pieces of a text, and whether each of them is code."""
    end = 0
    for code in _CODE.finditer(text):
        yield text[end:code.start()], False
        yield code[0], True
        end = code.end()
    yield text[end:], False
