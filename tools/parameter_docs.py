"""
Write config/depth_anything.yaml and the table of docs/parameters.md from ``parameters.SPECS``.

Without ``--write`` it names the files that differ and exits with status 1.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
import sys
from textwrap import wrap

from depth_anything_ros.parameter_spec import Spec, Value
from depth_anything_ros.parameters import SPECS
from tools.structure import ROOT

COMMAND = 'python3 -m tools.parameter_docs --write'
WIDTH = 99
BEGIN, END = '<!-- parameters -->', '<!-- /parameters -->'
WHEN = {
    'start': 'at the start of the node, read-only',
    'configure': 'in configure',
    'activate': 'in activate',
    'runtime': 'with the next frame',
}


def value_text(value: Value) -> str:
    """Return a parameter value as YAML that is parsed to the same type."""
    if isinstance(value, tuple):
        return f'[{", ".join(map(value_text, value))}]'
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, str):
        return "'{}'".format(value.replace("'", "''"))
    if isinstance(value, int):
        return str(value)
    mantissa, exponent, power = repr(value).partition('e')
    return mantissa + ('' if '.' in mantissa else '.0') + exponent + power


def expected_text(spec: Spec) -> str:
    """Return the allowed values with their unit."""
    return f'{spec.expected} {spec.unit}'.strip()


def parameter_file() -> str:
    """Return the whole text of config/depth_anything.yaml."""
    lines = [
        '# Every parameter with its default, made from parameters.py by',
        f'#   {COMMAND}',
        '# Copy it, keep what you change, and give it to the launch file as params_file:=/path.',
        '/**:  # any namespace, any node name',
        '  ros__parameters:']
    for spec in SPECS:
        notes = (spec.description, f'{expected_text(spec)}; read {WHEN[spec.when]}')
        lines.append('')
        lines += [f'    # {line}' for note in notes
                  for line in wrap(note, WIDTH - len('    # '), break_on_hyphens=False)]
        lines.append(f'    {spec.name}: {value_text(spec.default)}')
    return '\n'.join(lines) + '\n'


def parameter_table() -> str:
    """Return the Markdown table of docs/parameters.md, one row per parameter."""
    rows = ['| parameter | default | values | read | what it does |', '|---|---|---|---|---|']
    for spec in SPECS:
        cells = (f'`{spec.name}`', f'`{value_text(spec.default)}`', expected_text(spec),
                 WHEN[spec.when], spec.description)
        # <NAME> in a description is no HTML.
        rows.append('| ' + ' | '.join(
            cell.replace('|', r'\|').replace('<', '&lt;') for cell in cells) + ' |')
    return '\n'.join(rows) + '\n'


def with_table(page: str) -> str:
    """Return the page with the table between its two markers; ValueError without markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f'docs/parameters.md needs the lines {BEGIN} and {END}')
    return f'{before}{BEGIN}\n\n{parameter_table()}\n{END}{after}'


def outdated(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file below ``root`` that differs from the parameters, and its new text."""
    texts: dict[str, Callable[[str], str]] = {
        'config/depth_anything.yaml': lambda _: parameter_file(),
        'docs/parameters.md': with_table,
    }
    for name, make in texts.items():
        path = root / name
        old = path.read_text(encoding='utf-8') if path.exists() else ''
        new = make(old)
        if new != old:
            yield path, new


def main(arguments: Sequence[str] | None = None, root: Path | None = None) -> int:
    """Check or rewrite both files; return the exit status."""
    parser = argparse.ArgumentParser(prog='python -m tools.parameter_docs', description=__doc__)
    parser.add_argument('--write', action='store_true', help='rewrite the files that differ')
    options = parser.parse_args(arguments)
    root = root or ROOT
    if not (root / 'config').is_dir():
        print(f'{root} is not a source tree of depth_anything_ros', file=sys.stderr)
        return 2
    found = list(outdated(root))
    for path, text in found:
        if options.write:
            path.write_text(text, encoding='utf-8')
            print(f'{path}: written')
        else:
            print(f'{path}: differs from parameters.py; run {COMMAND}', file=sys.stderr)
    return 1 if found and not options.write else 0


if __name__ == '__main__':
    sys.exit(main())
