"""The groups of layers compared with the roof: a table and sentences about it."""

from collections import Counter
from collections.abc import Sequence

from depth_anything_ros.benchmark.report import Spread, Table
from tools.limit.layers import group_nodes, Node, node_flop, OTHER
from tools.limit.roofline import GroupCost, Roof

_COLUMNS = ('group', 'layers', 'ms', 'share of time', 'GFLOP', 'GFLOP/s', 'share of peak',
            'FLOP/byte', 'GB/s', 'bound by', 'ms above its roof')
_HOW_TO_READ = (
    'FLOP are those of products, convolutions and attention; bytes are the inputs and outputs of '
    'a layer, once each. The roof is the lower of the measured peak and FLOP/byte times the '
    'memory bandwidth; data in a cache can be faster than that.')
_INT8 = ('Some layers run in INT8, whose peak is higher; the shares are relative to the peak in '
         'the precision of the other layers.')
_NAMED, _WORTH_NAMING = 3, 0.02
# A smaller share of counted FLOP, or a larger share between the layers, gets a sentence.
_COUNTED, _BETWEEN = 0.99, 0.03


def limit_table(groups: Sequence[GroupCost], whole: GroupCost, roof: Roof, note: str) -> Table:
    """Return one row per group and one for the whole inference."""
    rows = [_row(group, roof) for group in (*groups, whole)]
    return Table('Where the time goes', _COLUMNS, tuple(rows), note)


def describe_limit(nodes: Sequence[Node], groups: Sequence[GroupCost], whole: GroupCost,
                   roof: Roof) -> str:
    """Return sentences about the time above the roof and its causes."""
    total = sum(group.seconds_above_roof for group in groups)
    above = sorted((group for group in groups
                    if group.seconds_above_roof > _WORTH_NAMING * total),
                   key=lambda group: -group.seconds_above_roof)
    layers_s = sum(group.seconds for group in groups)
    sentences = [f'With every group at its roof the layers would take {_ms(layers_s - total)} ms '
                 f'instead of {_ms(layers_s)}.']
    if above:
        sentences.append('Of the difference ' + '; '.join(
            f'{_percent(group.seconds_above_roof / total)} is {group.name}, which '
            f'{_reached(group, roof)}' for group in above[:_NAMED]) + '.')
    between = 1 - layers_s / whole.seconds
    if between > _BETWEEN:
        sentences.append(f'{_percent(between)} of the inference pass between the layers.')
    counted = sum(group.flop for group in groups) / max(whole.flop, 1.0)
    if not _COUNTED < counted < 1 / _COUNTED:
        sentences.append(f"The layers' FLOP are {_percent(counted)} of those of the model.")
    sentences += _unknown_layers(nodes)
    if any(node.precision in ('i8', 'u8') and node_flop(node) > 0 for node in nodes):
        sentences.append(_INT8)
    return ' '.join([*sentences, _HOW_TO_READ])


def _reached(group: GroupCost, roof: Roof) -> str:
    if group.intensity >= roof.ridge:
        return f'computes with {_percent(group.peak_fraction.median)} of the peak'
    return f'moves {group.gb_s:.3g} GB/s where memory gives {roof.bandwidth_gb_s:.3g}'


def _unknown_layers(nodes: Sequence[Node]) -> list[str]:
    groups = group_nodes(nodes)
    kinds = Counter(node.kind for node in nodes if groups[node.name] == OTHER)
    listed = ', '.join(f'{count} {kind}' for kind, count in kinds.most_common())
    return [f'In no known group: {listed}.'] if kinds else []


def _row(group: GroupCost, roof: Roof) -> tuple[str, ...]:
    computes = group.flop > 0
    return (group.name, str(group.layers), _ms(group.seconds), _percent(group.share, 1),
            _number(group.flop / 1e9) if computes else '',
            _number(group.gflops) if computes else '',
            _spread(group.peak_fraction) if computes else '',
            _number(group.intensity) if computes else '', _number(group.gb_s),
            'computing' if group.intensity >= roof.ridge else 'memory',
            _ms(group.seconds_above_roof))


def _spread(fraction: Spread) -> str:
    low, high = 100 * fraction.low, 100 * fraction.high
    return f'{_percent(fraction.median, 1)} ({low:.1f} to {high:.1f})'


def _percent(share: float, digits: int = 0) -> str:
    return f'{100 * share:.{digits}f} %'


def _ms(seconds: float) -> str:
    return _number(1e3 * seconds)


def _number(value: float) -> str:
    return f'{value:.3g}' if value < 999.5 else f'{value:.0f}'
