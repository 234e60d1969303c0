"""
The structure of the code in numbers: import circles, file sizes, files to open per feature.

``python -m tools.structure`` writes docs/figures/structure.json; with ``--root FOLDER`` it prints
the same figures for another checkout, also an older one, and writes nothing.

- ``circles``: groups of files of the package and of tools/ that import each other.
- ``files_installed``, ``lines_installed``: all .py files of the package, ``__init__`` included.
- ``files_under_60``, ``median_lines``: the same files without ``__init__``.
- ``trail_NAME``: files that a reader opens to understand a feature, without ``__init__``. They are
  the files reached by imports from its entries, followed inside its own rooms only, and the files
  of the package whose code names one of its symbols. Imports of shared floors are not followed,
  because a reader of the feature need not open them. ``--trails`` lists the files.
"""

import argparse
import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
import statistics
import sys

NAME = 'depth_anything_ros'
ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / NAME
COMMAND = 'python -m tools.structure'
_SHORT = 60

Graph = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Trail:
    """
    The entries, rooms and symbols of a feature, separated by spaces.

    Entries and rooms (files or folders) are dotted names without ``depth_anything_ros``. Names
    after a | are those of older checkouts; names that a checkout does not have are skipped.
    ``others`` are folders in these rooms that are features of their own.
    """

    entries: str
    rooms: str
    symbols: str = ''
    others: str = ''


TRAILS = {
    'distill': Trail(
        'distill.main | convert.distill',
        'distill | convert.distill convert.distilling convert.network.imagenet_weights',
        others='distill.metric'),
    'metric': Trail('distill.metric.command', 'distill.metric'),
    'peers': Trail(
        'tools.peers.__main__ tools.peers.process '
        '| tools.benchmarking.peers tools.benchmarking.peer_worker',
        'tools.peers tools.transformers_parity benchmark.commands benchmark.report '
        'benchmark.machine benchmark.bare_model '
        '| tools.benchmarking tools.bare_model tools.benchmark',
        'PeersOptions'),
    'identity': Trail(
        'convert.sources.identity | convert.reading.variants convert.reading.evidence',
        'convert.sources.identity convert.sources.records networks.models '
        '| convert.reading.variants convert.reading.evidence convert.reading.digests '
        'convert.distilling.record convert.fetching.records convert.network.members '
        'convert.network.encoders',
        'Evidence read_record | Stated'),
    'points': Trail(
        'node.aligner | ros.aligner',
        'node.aligner node.reference ros.messages alignment '
        '| ros.aligner ros.reference ros.frames ros.decode_reference alignment_settings '
        'vision.alignment vision.alignment_tracker vision.references vision.ground',
        'Aligner AlignmentSettings'),
    'target_rate': Trail(
        'inference.rate_engine | inference.paced',
        'inference.rate_engine inference.rate_control '
        '| inference.paced inference.rungs inference.rate_choice inference.rate_policy '
        'inference.background',
        'target_rate RateControlledEngine | PacedEngine'),
}


def module_name(path: Path, root: Path = ROOT) -> str:
    """Return the dotted name of a file below ``root``."""
    parts = path.relative_to(root).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def modules_below(folder: Path, root: Path = ROOT) -> dict[str, Path]:
    """Return every Python file below a folder by its dotted name."""
    return {module_name(path, root): path for path in sorted(folder.rglob('*.py'))}


def imports_of(path: Path, strict: bool = True) -> Iterator[str]:
    """
    Yield the dotted name of everything that a file imports.

    Imports inside functions and under TYPE_CHECKING count; ``from a import b`` yields ``a.b``.
    ValueError for a relative import, and for an import of a name that is made at run time. If not
    ``strict``, the latter yields ``TEXT.*`` for each string of the file.
    """
    nodes = list(ast.walk(ast.parse(path.read_text(encoding='utf-8'))))
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f'{path}:{node.lineno} is a relative import')
            yield from (f'{node.module}.{alias.name}' for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ('import_module', '__import__')):
            if strict:
                raise ValueError(f'{path}:{node.lineno} imports by a name made at run time')
            yield from (f'{text}.*' for text in _texts(nodes))


def import_graph(modules: Mapping[str, Path], strict: bool = True) -> Graph:
    """
    Return the modules that each module imports, of those given.

    If not ``strict``, a file that imports a name made at run time counts as importing all modules
    of each package whose name is a string of the file.
    """
    graph = {}
    for module, path in modules.items():
        found = set()
        for name in imports_of(path, strict):
            above, _, last = name.rpartition('.')
            if last == '*':
                found |= {one for one in modules if one.rpartition('.')[0] == above}
            else:
                found.add(name if name in modules else above)
        graph[module] = frozenset(found & set(modules) - {module})
    return graph


def reached_from(module: str, graph: Graph) -> set[str]:
    """Return the modules that a module imports, directly or through others."""
    reached: set[str] = set()
    waiting = list(graph[module])
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += graph[name]
    return reached


def circles(graph: Graph) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others."""
    reached = {module: reached_from(module, graph) for module in graph}
    found = {tuple(sorted({module} | {other for other in reached[module]
                                      if module in reached[other]}))
             for module in graph if module in reached[module]}
    return [list(group) for group in sorted(found)]


def trail_files(trail: Trail, modules: Mapping[str, Path], graph: Graph) -> list[str]:
    """Return the files to open for a feature, without ``depth_anything_ros`` in their names."""
    short = {module.removeprefix(f'{NAME}.'): module for module in modules}
    rooms = _names(trail.rooms)
    others = tuple(f'{room}.' for room in _names(trail.others))
    inside = {name for name in short if not name.startswith(others)
              and any(name == room or name.startswith(f'{room}.') for room in rooms)}
    found: set[str] = set()
    waiting = [name for name in _names(trail.entries) if name in short]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += {one.removeprefix(f'{NAME}.') for one in graph[short[name]]} & inside
    symbols = set(_names(trail.symbols))
    found |= {name for name, module in short.items()
              if (name in inside or not name.startswith('tools'))
              and symbols & names_in(modules[module])}
    return sorted(name for name in found if modules[short[name]].name != '__init__.py')


def names_in(path: Path) -> set[str]:
    """Return the identifiers and the strings in the code of a file, without comments."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding='utf-8'))))
    found = set(_texts(nodes))
    for node in nodes:
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.alias):
            found.add(node.name)
        elif isinstance(node, ast.keyword | ast.arg):
            found.add(node.arg or '')
    return found


def figures_of(root: Path) -> dict[str, float]:
    """Return the figures of the checkout at ``root``."""
    installed, graph = _read(root)
    lines = {path: len(path.read_text(encoding='utf-8').splitlines())
             for path in (root / NAME).rglob('*.py')}
    counted = [count for path, count in lines.items() if path.name != '__init__.py']
    figures = {
        'circles': len(circles(graph)), 'files_installed': len(lines),
        'lines_installed': sum(lines.values()),
        'files_under_60': sum(count < _SHORT for count in counted),
        'median_lines': statistics.median(counted),
        **{f'trail_{name}': len(trail_files(trail, installed, graph))
           for name, trail in TRAILS.items()}}
    return {name: float(value) for name, value in figures.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures and write those of this checkout; return 0."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--root', type=Path, metavar='FOLDER',
                        help='another checkout; its figures are printed only')
    parser.add_argument('--trails', action='store_true', help='list the files of each feature')
    options = parser.parse_args(arguments)
    root = (options.root or ROOT).resolve()
    if not (root / NAME).is_dir():
        print(f'error: {root} is not a checkout of {NAME}', file=sys.stderr)
        return 1
    figures = figures_of(root)
    for name, value in figures.items():
        print(f'{name:20} {value:g}')
    if options.trails:
        modules, graph = _read(root)
        for name, trail in TRAILS.items():
            print(f'{name}: {" ".join(trail_files(trail, modules, graph))}')
    if options.root is None:
        from tools.measure.figures import write_figures
        print(f'wrote {write_figures("structure", COMMAND, figures)}')
    return 0


def _read(root: Path) -> tuple[dict[str, Path], Graph]:
    """Return the modules of the package and of tools/, and what they import."""
    modules = {**modules_below(root / NAME, root), **modules_below(root / 'tools', root)}
    return modules, import_graph(modules, strict=False)


def _names(text: str) -> list[str]:
    return [name for name in text.split() if name != '|']


def _texts(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


if __name__ == '__main__':
    sys.exit(main())
