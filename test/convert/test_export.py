"""ONNX files that other programs can use and that tell ours everything."""

from collections.abc import Callable
from functools import partial
import logging
import os
from pathlib import Path
import sys
from typing import Any

from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.inference.devices import open_core
from depth_anything_ros.networks.models import EncoderSpec
import pytest

torch = pytest.importorskip('torch')
openvino = pytest.importorskip('openvino')
for needed in ('onnx', 'onnxscript', 'onnxruntime'):
    pytest.importorskip(needed)

from checkpoints import PARITY_SIZES_HW  # noqa: E402, I100
from depth_anything_ros.convert.conversion import (  # noqa: E402
    Conversion, convert, export, ExportJob, Job)
from depth_anything_ros.convert.export import export_onnx, OnnxOptions  # noqa: E402
from depth_anything_ros.convert.parity.measure import card_input  # noqa: E402
from depth_anything_ros.convert.parity.runners import ir_runner, onnx_runner  # noqa: E402
from depth_anything_ros.convert.sources.identity import Overrides  # noqa: E402
from depth_anything_ros.convert.sources.onnx_files import read_onnx_file  # noqa: E402
from depth_anything_ros.networks.depth_anything import build_network  # noqa: E402
import onnx  # noqa: E402

SIZES_HW = PARITY_SIZES_HW[:2]
METRIC = Overrides('metric', 'v1', 20.0)
Table = tuple[EncoderSpec, ...]


@pytest.fixture
def exported(glu_export: Conversion) -> Conversion:
    """Return an ONNX file that is open in every size, with its weights apart."""
    return glu_export


@pytest.fixture(scope='module')
def single(tmp_path_factory: pytest.TempPathFactory, table: Table, tiny: EncoderSpec,
           make_weights: Callable[..., Any]) -> Conversion:
    """Return an ONNX file of one size, batch and file, of an older opset."""
    folder = tmp_path_factory.mktemp('onnx')
    torch.save(make_weights(tiny), folder / 'mine.pth')
    (folder / 'depth.onnx.data').write_text('of an older file')
    options = OnnxOptions(1, (70, 98), 18, external_data=False)
    return export(ExportJob(folder / 'mine.pth', folder / 'depth.onnx', options, METRIC, True),
                  table=table, report=lambda line: None)


def port(value: Any) -> tuple[str, list[Any]]:
    return value.name, [one.dim_value or one.dim_param for one in value.type.tensor_type.shape.dim]


def test_an_open_file_takes_every_size_and_batch(exported: Conversion) -> None:
    assert sorted(path.name for path in exported.path.parent.iterdir()) == [
        'depth.onnx', 'depth.onnx.data']
    graph = onnx.load(exported.path).graph
    (name, (batch, *rest)), (depth, sides) = port(graph.input[0]), port(graph.output[0])
    assert (name, depth) == ('image', 'depth')
    assert [type(side) for side in (batch, *rest)] == [str, int, str, str]
    assert len(sides) == 3 and sides[0] == batch
    assert [(row.name, row.size_hw) for row in exported.parity.rows] == [
        ('ONNX Runtime', size_hw) for size_hw in SIZES_HW]
    assert exported.parity.worst('ONNX Runtime') <= 1e-3


def test_a_file_of_one_size_is_one_file(single: Conversion) -> None:
    assert sorted(path.name for path in single.path.parent.iterdir()) == ['depth.onnx', 'mine.pth']
    graph = onnx.load(single.path).graph
    assert port(graph.input[0]) == ('image', [1, 3, 70, 98])
    assert port(graph.output[0]) == ('depth', [1, 70, 98])
    assert [row.size_hw for row in single.parity.rows] == [(70, 98)]


def test_the_file_contains_the_metadata(exported: Conversion, single: Conversion) -> None:
    for done, encoder, fixed, opset in ((exported, 'tiny_glu', None, None),
                                        (single, 'tiny', (70, 98), 18)):
        outside = read_onnx_file(done.path)
        assert outside.info == done.info
        assert outside.opset == opset or opset is None
        assert (done.info.encoder, done.info.kind, done.info.model_version) == (
            encoder, 'metric', 'v1')
        assert (done.info.max_depth_m, done.info.fixed_size_hw) == (20.0, fixed)
        assert done.info.source_name == 'mine.pth' and len(done.info.source_sha256) == 64


@pytest.fixture
def open_ir(glu_conversion: tuple[Conversion, list[str]]) -> Conversion:
    """Return the IR of the open file, converted without options."""
    return glu_conversion[0]


@pytest.fixture(scope='module')
def fixed_ir(glu_export: Conversion, tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """Return the IR of the open file with one size and batch."""
    output = tmp_path_factory.mktemp('fixed') / 'depth.xml'
    return convert(Job(glu_export.path, output, 'fp32', size_hw=(70, 98), batch=2),
                   report=lambda line: None)


@pytest.mark.parametrize(('name', 'precision', 'size_hw'), [
    ('open_ir', 'fp16', None), ('fixed_ir', 'fp32', (70, 98))])
def test_our_own_file_becomes_an_ir_without_its_facts_as_options(
        request: pytest.FixtureRequest, exported: Conversion, name: str, precision: str,
        size_hw: tuple[int, int] | None) -> None:
    done: Conversion = request.getfixturevalue(name)
    same = ('encoder', 'kind', 'model_version', 'max_depth_m', 'source_sha256', 'licence')
    assert all(getattr(done.info, name) == getattr(exported.info, name) for name in same)
    assert (done.info.precision, done.info.fixed_size_hw) == (precision, size_hw)
    assert done.info.self_check.size_hw == (size_hw or exported.info.self_check.size_hw)
    assert [row.size_hw for row in done.parity.rows] == [size_hw or SIZES_HW[0]]


def test_what_ovc_makes_of_our_file_becomes_an_ir_again(
        tmp_path: Path, single: Conversion) -> None:
    openvino.save_model(openvino.convert_model(single.path), tmp_path / 'plain.xml')
    done = convert(Job(tmp_path / 'plain.xml', tmp_path / 'depth.xml', overrides=METRIC),
                   report=lambda line: None)
    assert (done.info.precision, done.info.fixed_size_hw) == ('fp16', (70, 98))
    assert done.parity.worst('OpenVINO') < 1e-5


def test_an_ir_of_a_fixed_batch_goes_back_to_single_images(fixed_ir: Conversion) -> None:
    model = openvino.Core().read_model(fixed_ir.path)
    assert list(model.input(0).shape) == [2, 3, 70, 98]
    model.reshape([1, 3, 70, 98])
    compiled = open_core().compile_model(model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    image = card_input((70, 98))
    expected = ir_runner(fixed_ir.path).run(image)
    assert abs(compiled([image])[0][0] - expected).max() < 1e-4 * expected.std()


def test_impossible_exports_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    source = tmp_path / 'none.pth'
    for target, options, message in (
            ('depth.xml', OnnxOptions(), 'the name of an ONNX file ends in .onnx; write -o'),
            ('depth.onnx', OnnxOptions(batch=-2), 'a batch of -2')):
        with pytest.raises(CheckpointError, match=message):
            export(ExportJob(source, tmp_path / target, options))
    with pytest.raises(CheckpointError, match='it is not a checkpoint; give a .pth'):
        export(ExportJob(tmp_path / 'a.onnx', tmp_path / 'depth.onnx'))


def test_a_side_that_the_network_does_not_take_is_refused(
        tmp_path: Path, save_checkpoint: Callable[..., Path], table: Table) -> None:
    source = save_checkpoint('mine.pth')
    job = ExportJob(source, tmp_path / 'depth.onnx', OnnxOptions(size_hw=(0, 500)), METRIC)
    with pytest.raises(CheckpointError, match='a width of 500 is not a multiple of 14; give 490'):
        export(job, table=table, report=lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ['mine.pth']


def test_weights_that_one_file_cannot_hold_are_refused(
        tmp_path: Path, tiny: EncoderSpec, make_weights: Callable[..., Any]) -> None:
    network = build_network(tiny, 'v2', None, make_weights(tiny))
    network.pretrained.mask_token = torch.nn.Parameter(torch.zeros(1, device='meta').expand(2**30))
    with pytest.raises(CheckpointError, match='weights take 4.3 GB and one ONNX file holds 2 GB'):
        export_onnx(network, tmp_path / 'a.onnx', OnnxOptions(external_data=False))


@pytest.mark.parametrize('opset', [16, 99])
def test_an_opset_that_the_exporter_does_not_write_is_refused(
        tmp_path: Path, tiny: EncoderSpec, make_weights: Callable[..., Any], opset: int,
        caplog: pytest.LogCaptureFixture) -> None:
    network = build_network(tiny, 'v2', None, make_weights(tiny))
    with pytest.raises(CheckpointError, match=r'^depth\.onnx: torch \S+ writes opset 18, '
                       f'not {opset}; leave out --opset'):
        export_onnx(network, tmp_path / 'depth.onnx', OnnxOptions(1, (28, 28), opset))
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == 'darwin', reason='names are Unicode there')
def test_a_path_that_onnx_runtime_cannot_open_is_named(
        tmp_path: Path, tiny: EncoderSpec, make_weights: Callable[..., Any]) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b'/\xe9.onnx'))
    network = build_network(tiny, 'v2', None, make_weights(tiny))
    for use in (partial(export_onnx, network), onnx_runner):
        with pytest.raises(CheckpointError, match='only paths in UTF-8; rename the file or fold'):
            use(path)
