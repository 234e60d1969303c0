"""The layers' operations are counted rightly and held against what the machine can do."""

from collections import Counter
from collections.abc import Callable
import json
from pathlib import Path
import sys
from typing import Any
import warnings

import cv2
from depth_anything_ros.benchmark.report import as_dict, Report, Spread
from depth_anything_ros.cli.reports import to_json
from depth_anything_ros.errors import MissingDependencyError, ModelError, SettingsError
from depth_anything_ros.inference.devices import open_core
from depth_anything_ros.inference.ir import build_graph
import numpy as np
import pytest
from tiny import TINY_INFO
from tools.limit.chart import draw_roofline
from tools.limit.layers import (
    graph_flop, group_nodes, GROUPS, Node, node_bytes, node_flop, Operand, read_nodes)
from tools.limit.machine_peak import (
    best_per_round, Execution, make_matmul, make_stream, ProfiledModel)
from tools.limit.measure import LimitOptions, measure_limit
from tools.limit.roofline import cost_groups, cost_whole, GroupCost, Roof
from tools.limit.table import describe_limit, limit_table

ov = pytest.importorskip('openvino')
op = pytest.importorskip('openvino.opset13')

WIDTH, DEPTH, HEADS, FEATURES = 48, 5, 3, 16
SIZE_HW = (112, 154)
TOKENS = 8 * 11 + 1
SPREAD = Spread(0.5, 0.4, 0.6)


def values(*shape: int) -> np.ndarray:
    """Return numbers without zeros."""
    return np.random.default_rng(0).uniform(0.1, 1, shape).astype(np.float32)


def compiled_nodes(model: Any) -> list[Node]:
    """Return the layers of ``model`` as the CPU runs them in f32."""
    return read_nodes(open_core().compile_model(
        model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'}), model)


def linear() -> Any:
    image = op.parameter([1, 8, 16], np.float32)
    return op.matmul(image, values(32, 16), False, True), [image]


def convolution() -> Any:
    image = op.parameter([1, 8, 20, 30], np.float32)
    return op.convolution(image, values(12, 8, 3, 3), [2, 2], [1, 1], [1, 1], [1, 1]), [image]


def grouped_convolution() -> Any:
    image = op.parameter([1, 8, 20, 30], np.float32)
    return op.group_convolution(
        image, values(2, 6, 4, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1]), [image]


def deconvolution() -> Any:
    image = op.parameter([1, 8, 20, 30], np.float32)
    return op.convolution_backprop_data(image, values(8, 12, 4, 4), [4, 4]), [image]


def product_of_activations() -> Any:
    first, second = (op.parameter([1, 2, rows, 16], np.float32) for rows in (50, 40))
    return op.matmul(first, second, False, True), [first, second]


def attention() -> Any:
    query, key, value = images = [op.parameter([1, 2, 50, 16], np.float32) for _ in range(3)]
    weights = op.softmax(op.matmul(query, key, False, True), -1)
    return op.matmul(weights, value, False, False), images


def scaled_attention() -> Any:
    images = [op.parameter([1, 2, 50, 16], np.float32) for _ in range(3)]
    return op.scaled_dot_product_attention(*images), images


BY_HAND = [
    (linear, 2 * 8 * 16 * 32),
    (convolution, 2 * 12 * 8 * 3 * 3 * 10 * 15),
    (grouped_convolution, 2 * 12 * 4 * 3 * 3 * 20 * 30),
    (deconvolution, 2 * 8 * 12 * 4 * 4 * 20 * 30),
    (product_of_activations, 2 * 2 * 50 * 16 * 40),
    (attention, 4 * 2 * 50 * 50 * 16),
    (scaled_attention, 4 * 2 * 50 * 50 * 16),
]


@pytest.mark.parametrize(('make', 'expected'), BY_HAND)
def test_operations_are_those_counted_by_hand(make: Callable[[], Any], expected: int) -> None:
    result, inputs = make()
    model = ov.Model([op.result(result)], inputs, 'one')
    assert graph_flop(model) == expected
    assert sum(map(node_flop, compiled_nodes(model))) == pytest.approx(expected)


def test_a_layer_reads_and_writes_its_operands_once() -> None:
    image = op.parameter([1, 8, 16], np.float32)
    model = ov.Model([op.result(op.matmul(image, values(32, 16), False, True))], [image], 'one')
    product = next(node for node in compiled_nodes(model) if node.kind == 'FullyConnected')
    assert node_bytes(product) == 4 * (8 * 16 + 32 * 16 + 8 * 32)


def test_what_is_computed_when_the_model_is_compiled_costs_nothing() -> None:
    image = op.parameter([1, 8, 32], np.float32)
    folded = op.matmul(op.constant(values(8, 64)), op.constant(values(64, 32)), False, False)
    model = ov.Model([op.result(op.add(image, folded))], [image], 'folded')
    assert graph_flop(model) == 0
    assert sum(map(node_flop, compiled_nodes(model))) == 0


@pytest.fixture(scope='module')
def network_ir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an IR of the real network, narrow and with random weights, without an ONNX file."""
    torch = pytest.importorskip('torch')
    from depth_anything_ros.convert.export import save_ir
    from depth_anything_ros.networks.depth_anything import build_network, DepthAnything
    from depth_anything_ros.networks.models import EncoderSpec
    spec = EncoderSpec('tiny', WIDTH, DEPTH, HEADS, FEATURES, (8, 12, 16, 24), (0, 1, 2, 4), '')
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.rand(value.shape, generator=generator) / value[0].numel() ** 0.5
               for name, value in DepthAnything(spec, 'v2').state_dict().items()}
    path = tmp_path_factory.mktemp('network') / 'tiny.xml'
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        model = ov.convert_model(build_network(spec, 'v2', None, weights),
                                 example_input=torch.zeros(1, 3, *SIZE_HW))
    save_ir(model, path, TINY_INFO)
    return path


def network_graph(path: Path) -> Any:
    """Return the network at SIZE_HW."""
    return build_graph(ov.Core().read_model(path), TINY_INFO, SIZE_HW)


def flop_by_group(nodes: list[Node]) -> Counter[str]:
    """Return the operations of each group that has layers."""
    groups = group_nodes(nodes)
    found: Counter[str] = Counter()
    for node in nodes:
        found[groups[node.name]] += node_flop(node)
    return found


def test_every_layer_of_the_network_has_its_group(network_ir: Path) -> None:
    graph = network_graph(network_ir)
    nodes = compiled_nodes(graph)
    groups = group_nodes(nodes)
    assert groups.keys() == {node.name for node in nodes}
    assert set(groups.values()) == set(GROUPS) - {'other'}
    found = flop_by_group(nodes)
    assert found['patch embedding'] == 2 * (TOKENS - 1) * 3 * 14 * 14 * WIDTH
    assert found['qkv and projection'] == pytest.approx(DEPTH * 2 * TOKENS * 4 * WIDTH * WIDTH)
    assert found['attention'] == DEPTH * 4 * TOKENS * TOKENS * WIDTH
    assert found['MLP'] == pytest.approx(DEPTH * 2 * TOKENS * 8 * WIDTH * WIDTH)
    assert found.total() == pytest.approx(graph_flop(graph))


def test_groups_do_not_depend_on_names(network_ir: Path) -> None:
    known, foreign = network_graph(network_ir), network_graph(network_ir)
    for number, operation in enumerate(foreign.get_ops()):
        operation.set_friendly_name(f'/m/{number}')
    assert flop_by_group(compiled_nodes(foreign)) == flop_by_group(compiled_nodes(known))
    assert Counter(group_nodes(compiled_nodes(foreign)).values()) == (
        Counter(group_nodes(compiled_nodes(known)).values()))


def test_a_layer_that_fits_nothing_is_shown() -> None:
    strange = Node('a', 'NonZero', 'f32', (Operand((4, 4), 4.0),), (Operand((2, 16), 4.0),))
    costs = cost_groups([strange], [[{'a': 0.002}]], [100.0], Roof(100.0, 10.0))
    assert [(cost.name, cost.layers, cost.share) for cost in costs] == [('other', 1, 1.0)]
    whole = cost_whole(costs, 0.002, 0.0, SPREAD)
    assert 'In no known group: 1 NonZero.' in describe_limit([strange], costs, whole,
                                                             Roof(100.0, 10.0))


def test_layers_take_the_time_of_the_inference(make_ir: Callable[..., Path]) -> None:
    model = make_ir(slow_layers=6)
    graph = build_graph(ov.Core().read_model(model), TINY_INFO, SIZE_HW)
    compiled = open_core().compile_model(graph, 'CPU', {'PERF_COUNT': 'YES'})
    profiled = ProfiledModel(compiled.create_infer_request(),
                             np.zeros((1, *SIZE_HW, 3), np.uint8), 2)
    seconds = profiled.run(5)
    profiled.run(3)
    assert [len(calls) for calls in profiled.rounds] == [5, 3]
    layers_s = sorted(sum(call.values()) for call in profiled.rounds[0])[2]
    assert 0.5 * seconds < layers_s < 1.5 * seconds
    names = {node.name for node in read_nodes(compiled, graph)}
    assert profiled.rounds[1][0].keys() <= names


def test_the_roof_is_the_lower_of_peak_and_slope() -> None:
    roof = Roof(100.0, 10.0)
    assert roof.ridge == 10
    assert (roof.gflops_at(2), roof.gflops_at(10), roof.gflops_at(1000)) == (20, 100, 100)
    assert roof.seconds(200e9, 1e9) == 2.0 and roof.seconds(1e9, 50e9) == 5.0


def test_the_machine_is_measured() -> None:
    execution = Execution('f32', 1)
    small = [make_matmul(rows, 128, execution, 0.01) for rows in (32, 128)]
    assert all(measure() > 0 for measure in small)
    assert make_stream(execution, 0.01, 1 << 20)() > 0
    assert best_per_round([[1.0, 5.0], [2.0, 4.0]]) == [2.0, 5.0]


def group(name: str, seconds: float, flop: float, size_bytes: float, roof: Roof) -> GroupCost:
    """Return a group of one layer whose share of the time is a half."""
    return GroupCost(name, seconds, 0.5, flop, size_bytes, roof.seconds(flop, size_bytes),
                     SPREAD, 1)


def test_the_note_names_what_has_the_most_time_above_its_roof() -> None:
    roof = Roof(100.0, 10.0)
    groups = [group('attention', 0.010, 0.4e9, 1e6, roof), group('MLP', 0.005, 0.5e9, 1e6, roof),
              group('head resizing', 0.003, 0.0, 1e7, roof)]
    whole = cost_whole(groups, 0.020, 0.9e9, SPREAD)
    note = describe_limit([], groups, whole, roof)
    for sentence in (
            'With every group at its roof the layers would take 10 ms instead of 18.',
            '75 % is attention, which computes with 50 % of the peak',
            '25 % is head resizing, which moves 3.33 GB/s where memory gives 10.',
            '10 % of the inference pass between the layers.'):
        assert sentence in note
    assert 'MLP' not in note and 'INT8' not in note
    rows = limit_table(groups, whole, roof, note).rows
    assert [(row[0], row[-2], row[-1]) for row in rows] == [
        ('attention', 'computing', '6'), ('MLP', 'computing', '0'),
        ('head resizing', 'memory', '2'), ('whole inference', 'computing', '10')]


def test_int8_layers_are_mentioned() -> None:
    operands = Operand((4, 8), 1.0), Operand((16, 8), 1.0, '', True)
    node = Node('a', 'FullyConnected', 'u8', operands, (Operand((4, 16), 4.0),))
    roof = Roof(100.0, 10.0)
    costs = cost_groups([node], [[{'a': 0.001}]], [100.0], roof)
    assert 'INT8' in describe_limit([node], costs, cost_whole(costs, 0.001, 1024.0, SPREAD), roof)


@pytest.fixture(scope='module')
def report(network_ir: Path) -> Report:
    """Return what was measured of the tiny network in f32, in one round."""
    lines: list[str] = []
    found = measure_limit(LimitOptions(network_ir, 112, 'f32', rounds=1), lines.append)
    assert any(line.startswith('round 1 of 1: model GFLOP/s') for line in lines)
    return found


def test_figures_are_shares_of_time_and_of_the_peak(report: Report) -> None:
    shares = [value for name, value in report.figures.items() if name.startswith('time_share_')]
    assert sum(shares) == pytest.approx(1) and min(shares) >= 0
    assert report.figures['peak_gflops'] > 0 and report.figures['bandwidth_gb_s'] > 0
    assert 0 < report.figures['peak_fraction'] < 1.5
    for name in ('attention', 'mlp', 'qkv_and_projection', 'head_convolutions'):
        assert report.figures[f'time_share_{name}'] > 0
        assert report.figures[f'peak_fraction_{name}'] > 0
    assert report.figures['peak_fraction_head_resizing'] == 0


def test_the_report_says_what_was_compared(report: Report) -> None:
    assert json.loads(to_json(as_dict(report))) == as_dict(report)
    assert report.settings['network'] == '154x112'
    assert 'fp32 weights, runs in f32' in report.settings['model']
    table, = report.tables
    assert table.rows[-1][0] == 'whole inference'
    assert {row[0] for row in table.rows[:-1]} == set(GROUPS) - {'other'}


def test_the_picture_is_written(report: Report, tmp_path: Path) -> None:
    pytest.importorskip('matplotlib')
    assert report.draw is not None
    report.draw(tmp_path / 'limit.png')
    picture = cv2.imread(str(tmp_path / 'limit.png'))
    assert picture is not None and min(picture.shape[:2]) >= 600
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_without_matplotlib_the_picture_says_how_to_get_it(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    roof = Roof(100.0, 10.0)
    cost = group('MLP', 0.005, 0.5e9, 1e6, roof)
    with pytest.raises(MissingDependencyError, match='matplotlib.*pip install'):
        draw_roofline([cost], cost, roof, 'f32', tmp_path / 'limit.png')


def test_bad_input_is_one_sentence(tmp_path: Path, tiny_ir: Path) -> None:
    with pytest.raises(SettingsError, match='rounds is 0'):
        LimitOptions(tiny_ir, rounds=0)
    with pytest.raises(ModelError, match='no such file'):
        measure_limit(LimitOptions(tmp_path / 'none.xml'), print)
    with pytest.raises(ModelError, match='CPU cannot compile it'):
        measure_limit(LimitOptions(tiny_ir, precision='f7'), print)
