"""An evaluation as JSON, as Markdown and as tables on the terminal."""

from dataclasses import asdict
import json
import math
from typing import Any

from depth_anything_ros.cli.reports import markdown_table
from depth_anything_ros.evaluate.predictions import ModelFacts
from depth_anything_ros.evaluate.results import Evaluation, figures, worst_first
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_TITLES = {
    'abs_rel': 'AbsRel', 'delta1': 'δ1', 'delta2': 'δ2', 'delta3': 'δ3', 'rmse_m': 'RMSE [m]',
    'rmse_log': 'RMSE log', 'log10': 'log10', 'silog': 'SILog', 'coverage': 'coverage',
    'pearson': 'Pearson', 'rank_correlation': 'rank correlation', 'accuracy': 'accuracy',
    'pairs': 'pairs'}
_SHOWN_IMAGES, _SHOWN_FIGURES, _NAMED = 10, 2, 5


def to_json(evaluation: Evaluation[Any]) -> str:
    """
    Return one JSON object: model, protocol, mean and worst figures, images, failures.

    A figure that is not finite becomes null.
    """
    content: dict[str, Any] = {'model': asdict(evaluation.model)}
    if evaluation.reference is not None:
        content['reference'] = asdict(evaluation.reference)
    content |= {
        'protocol': evaluation.protocol, 'mean': _plain(evaluation.mean),
        'worst': _plain(evaluation.worst),
        'groups': {name: _plain(scores) for name, scores in evaluation.groups.items()},
        'images': [{'name': one.name, **_plain(one.scores)} for one in evaluation.images],
        'failed': [asdict(one) for one in evaluation.failed],
        'unmatched': list(evaluation.unmatched)}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + '\n'


def to_markdown(evaluation: Evaluation[Any]) -> str:
    """Return a page with the facts and the same figures as tables."""
    lines = [f'# {evaluation.model.file}', '', *(f'- {line}' for line in _facts(evaluation)), '',
             *markdown_table(['', *_titles(evaluation)], _summary_rows(evaluation)), '',
             *markdown_table(['image', *_titles(evaluation)],
                             [[one.name, *_texts(one.scores)]
                              for one in worst_first(evaluation.images)])]
    lines += [line for one in evaluation.failed
              for line in ('', f'Failed: {one.name}: {one.reason}')]
    return '\n'.join(lines) + '\n'


def print_report(evaluation: Evaluation[Any], console: Console) -> None:
    """Print facts, mean and worst figures, groups and the worst images."""
    for line in _facts(evaluation):
        console.print(escape(line), highlight=False, soft_wrap=True)
    table = Table('', 'mean', 'worst')
    for row in zip(titles := _titles(evaluation), _texts(evaluation.mean),
                   _texts(evaluation.worst)):
        table.add_row(*row)
    console.print(table)
    if evaluation.groups:
        console.print(_table('scene', titles, list(evaluation.groups.items())))
    images = worst_first(evaluation.images)
    console.print(_table(f'worst of {len(images)} images', titles[:_SHOWN_FIGURES],
                         [(one.name, one.scores) for one in images[:_SHOWN_IMAGES]]))


def _table(heading: str, titles: list[str], rows: list[tuple[str, Any]]) -> Table:
    table = Table(heading, *titles)
    for name, scores in rows:
        table.add_row(escape(name), *_texts(scores)[:len(titles)])
    return table


def _facts(evaluation: Evaluation[Any]) -> list[str]:
    facts = [f'model: {_sentence(evaluation.model)}']
    if evaluation.reference is not None:
        facts.append(f'reference: {_sentence(evaluation.reference)}')
    facts += [f'protocol: {evaluation.protocol}',
              f'images: {len(evaluation.images)}, failed: {len(evaluation.failed)}']
    if evaluation.unmatched:
        more = ', ...' if len(evaluation.unmatched) > _NAMED else ''
        facts.append(f'files without their other half: {len(evaluation.unmatched)} '
                     f'({", ".join(evaluation.unmatched[:_NAMED])}{more})')
    return facts


def _sentence(model: ModelFacts) -> str:
    return (f'{model.file}, {model.encoder} {model.kind}, {model.precision} weights, from '
            f'{model.source_name}; on {model.device} in {model.execution_precision}, input size '
            f'{model.input_size}')


def _summary_rows(evaluation: Evaluation[Any]) -> list[list[str]]:
    rows = [('mean', evaluation.mean), ('worst', evaluation.worst), *evaluation.groups.items()]
    return [[name, *_texts(scores)] for name, scores in rows]


def _titles(evaluation: Evaluation[Any]) -> list[str]:
    return [_TITLES[name] for name in figures(evaluation.mean)]


def _texts(scores: Any) -> list[str]:
    return [str(value) if isinstance(value, int) else f'{value:.4f}'
            for value in figures(scores).values()]


def _plain(scores: Any) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None
            for name, value in figures(scores).items()}
