"""
The structure of the package in numbers: which file imports which, circles, sizes, trails.

``python -m tools.structure`` writes docs/figures/structure.json.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

NAME = 'depth_anything_ros'
ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / NAME

Graph = Mapping[str, frozenset[str]]


def module_name(path: Path, root: Path = ROOT) -> str:
    """Return the dotted name of a file below ``root``."""
    parts = path.relative_to(root).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def modules_below(folder: Path, root: Path = ROOT) -> dict[str, Path]:
    """Return every Python file below a folder by its dotted name."""
    return {module_name(path, root): path for path in sorted(folder.rglob('*.py'))}


def imports_of(path: Path) -> Iterator[str]:
    """
    Yield the dotted name of everything that a file imports.

    Imports inside functions and under TYPE_CHECKING count; ``from a import b`` yields ``a.b``.
    ValueError for a relative import and for one that importlib makes, which nobody can follow.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f'{path}:{node.lineno} is a relative import')
            yield from (f'{node.module}.{alias.name}' for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ('import_module', '__import__')):
            raise ValueError(f'{path}:{node.lineno} imports by a name made at run time')


def import_graph(modules: Mapping[str, Path]) -> Graph:
    """Return which of the modules each of them imports."""
    graph = {}
    for module, path in modules.items():
        found = {name if name in modules else name.rpartition('.')[0] for name in imports_of(path)}
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
