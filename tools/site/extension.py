"""The Sphinx extension: pages from elsewhere, and what programs print for ``--help``."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
import os
from pathlib import Path
import re
import subprocess
import sys
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from tools.site.pages import ROOT, site_pages, text_of

_PROGRAM = re.compile(r"'(depth_anything_\w+) = ([\w.]+):main'")
# A node: it reads ROS arguments only, and starts.
_WITHOUT_HELP = {'depth_anything_node'}
_SUBCOMMAND = re.compile(r'^  ([a-z-]+)  ', re.MULTILINE)
_WIDTH = '88'


def register(app: Any) -> None:
    """Add the directive and the handler to a Sphinx application."""
    app.add_directive('program-help', ProgramHelp)
    app.connect('source-read', _on_source_read)


def programs() -> dict[str, str]:
    """Return the module of each program of setup.py that answers to ``--help``."""
    found = dict(_PROGRAM.findall((ROOT / 'setup.py').read_text(encoding='utf-8')))
    return {name: module for name, module in found.items() if name not in _WITHOUT_HELP}


def help_text(module: str, *subcommand: str) -> str:
    """Return what a program prints for ``--help``; RuntimeError with its reason if it fails."""
    environment = {**os.environ, 'COLUMNS': _WIDTH, 'NO_COLOR': '1', 'TERM': 'dumb',
                   'PYTHONPATH': str(ROOT)}
    done = subprocess.run([sys.executable, '-m', module, *subcommand, '--help'],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
                          env=environment, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f'{module} --help failed: {done.stderr.strip()}')
    return done.stdout.strip()


def subcommands(text: str) -> list[str]:
    """Return the subcommands that a help text lists."""
    return _SUBCOMMAND.findall(text.partition('\nCommands:\n')[2])


class ProgramHelp(Directive):
    """A section for each program, with what it and its subcommands print for ``--help``."""

    def run(self) -> Sequence[nodes.Node]:
        """Return the sections."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return [self._section(name, module, text, pool) for (name, module), text in zip(
                programs().items(), pool.map(help_text, programs().values()))]

    def _section(self, name: str, module: str, text: str,
                 pool: ThreadPoolExecutor) -> nodes.section:
        names = subcommands(text)
        section = self._titled(name, text)
        section += [self._titled(f'{name} {one}', more) for one, more in zip(
            names, pool.map(lambda one: help_text(module, one), names))]
        return section

    def _titled(self, title: str, text: str) -> nodes.section:
        section = nodes.section('', nodes.title('', title), ids=[nodes.make_id(title)])
        section += nodes.literal_block(text, text, language='none')
        self.state.document.note_implicit_target(section)
        return section


def _on_source_read(app: Any, page: str, source: list[str]) -> None:
    if page in site_pages():
        source[0] = text_of(page, Path(app.srcdir))
