"""From a checkpoint to an IR that any runtime can use and that proves itself."""

from collections.abc import Callable
import hashlib
from pathlib import Path
from typing import Any

from depth_anything_ros.errors import CheckpointError, ParityError
from depth_anything_ros.inference.devices import open_core
from depth_anything_ros.model_info import ModelInfo, SECTION, WEIGHTS_SHA256
from depth_anything_ros.networks.models import EncoderSpec, MEAN_RGB, STD_RGB
from depth_anything_ros.vision.self_check import deviation, self_check_image
from depth_anything_ros.vision.transforms import normalize
import numpy as np
import pytest

torch = pytest.importorskip('torch')
openvino = pytest.importorskip('openvino')
for needed in ('onnx', 'onnxscript', 'onnxruntime'):
    pytest.importorskip(needed)

from checkpoints import PARITY_SIZES_HW  # noqa: E402, I100
from depth_anything_ros.convert import conversion  # noqa: E402
from depth_anything_ros.convert.conversion import (  # noqa: E402
    Conversion, convert, export, ExportJob, Job)
from depth_anything_ros.convert.export import OnnxOptions  # noqa: E402
from depth_anything_ros.convert.parity.measure import (  # noqa: E402
    conversion_limits, Limits, ParityReport, ParityRow)
from depth_anything_ros.convert.sources.identity import Overrides  # noqa: E402
from depth_anything_ros.networks.depth_anything import build_network  # noqa: E402
from tiny import write_weighted_sum  # noqa: E402

KINDS = {
    'relative_v2': ('tiny', 'fp32', Overrides('relative', 'v2')),
    'metric_v1_swiglu': ('tiny_glu', 'fp16', Overrides('metric', 'v1', 20.0)),
}
Converted = Callable[[str], tuple[Conversion, list[str]]]


@pytest.fixture(scope='module')
def converted(tiny_conversion: tuple[Conversion, list[str]],
              glu_conversion: tuple[Conversion, list[str]]) -> Converted:
    """Return a function that gives each kind, from a checkpoint or through an ONNX file."""
    return {'relative_v2': tiny_conversion, 'metric_v1_swiglu': glu_conversion}.__getitem__


def compiled_ir(path: Path, size_hw: tuple[int, int], **options: Any) -> Any:
    core = open_core()
    model = core.read_model(path)
    model.reshape([1, 3, *size_hw])
    return core.compile_model(model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32', **options})


def read_info(path: Path) -> ModelInfo:
    model = openvino.Core().read_model(path)
    entries = model.get_rt_info([SECTION]).value
    return ModelInfo.from_strings({
        name: model.get_rt_info([SECTION, name]).astype(str) for name in entries})


@pytest.mark.parametrize('kind', KINDS)
def test_each_kind_becomes_a_proven_ir_that_describes_itself(
        converted: Converted, table: tuple[EncoderSpec, ...], make_weights: Callable[..., Any],
        kind: str) -> None:
    done, lines = converted(kind)
    assert sorted(path.name for path in done.path.parent.iterdir()) == ['depth.bin', 'depth.xml']
    info = read_info(done.path)
    assert info == done.info
    name, precision, overrides = KINDS[kind]
    assert (info.encoder, info.kind, info.model_version, info.max_depth_m, info.precision) == (
        name, overrides.kind, overrides.model_version, overrides.max_depth_m, precision)

    image = normalize(self_check_image(), MEAN_RGB, STD_RGB)
    depth = compiled_ir(done.path, image.shape[2:])(image)['depth'][0]
    assert deviation(info.self_check, depth) < (1e-4 if precision == 'fp32' else 1e-2)
    spec = next(spec for spec in table if spec.name == name)
    network = build_network(spec, info.model_version, info.max_depth_m, make_weights(spec))
    expected = network(torch.from_numpy(image))[0].numpy()
    gate = 1e-3 if precision == 'fp32' else 2e-2
    assert np.abs(depth - expected).max() < gate * expected.std()

    assert 0 < done.parity.worst('OpenVINO') <= gate
    assert done.parity.table() in lines


@pytest.mark.parametrize('kind', KINDS)
def test_an_ir_knows_its_weights(converted: Converted, kind: str) -> None:
    """So that a damaged .bin is refused, however small the damage."""
    path = converted(kind)[0].path
    weights = hashlib.sha256(path.with_suffix('.bin').read_bytes()).hexdigest()
    assert openvino.Core().read_model(path).get_rt_info(
        [SECTION, WEIGHTS_SHA256]).astype(str) == weights


def test_parity_is_measured_at_every_size_with_both_runtimes(converted: Converted) -> None:
    done, _ = converted('relative_v2')
    assert [(row.name, row.size_hw) for row in done.parity.rows] == [
        (backend, size_hw) for size_hw in PARITY_SIZES_HW
        for backend in ('ONNX Runtime', 'OpenVINO')]
    assert 0 < done.parity.worst('ONNX Runtime') <= 1e-3


def test_a_conversion_reports_what_it_found_and_where_from(converted: Converted) -> None:
    _, lines = converted('relative_v2')
    shown = '\n'.join(lines)
    for text in ('encoder: tiny, from the shapes of the tensors', 'kind: relative, from --kind',
                 'licence: unknown', '[6/6]', 'OpenVINO fp32'):
        assert text in shown


@pytest.mark.parametrize(('kind', 'bytes_per_weight'), [
    ('relative_v2', 4), ('metric_v1_swiglu', 2)])
def test_weights_are_stored_in_the_chosen_precision(
        converted: Converted, table: tuple[EncoderSpec, ...], make_weights: Callable[..., Any],
        kind: str, bytes_per_weight: int) -> None:
    stored = converted(kind)[0].path.with_suffix('.bin').stat().st_size
    spec = next(spec for spec in table if spec.name == KINDS[kind][0])
    weights = sum(value.numel() for value in make_weights(spec).values())
    assert stored == pytest.approx(bytes_per_weight * weights, rel=0.1)


def test_attention_is_fused(converted: Converted, tiny: EncoderSpec) -> None:
    runtime = compiled_ir(converted('relative_v2')[0].path, (252, 336)).get_runtime_model()
    infos = [node.get_rt_info() for node in runtime.get_ops()]
    types = [info['layerType'].astype(str) for info in infos]
    fused = [info['originalLayersNames'].astype(str).lower() for info, kind in zip(infos, types)
             if kind in ('Subgraph', 'ScaledDotProductAttention')]
    assert sum('softmax' in names or 'scaled' in names for names in fused) == tiny.depth
    for left_over in ('IsNaN', 'Softmax', 'Where', 'Select', 'Range', 'ShapeOf'):
        assert left_over not in types


def test_positions_cost_nothing_once_the_size_is_known(
        converted: Converted, tiny: EncoderSpec) -> None:
    image = normalize(self_check_image((252, 336)), MEAN_RGB, STD_RGB)
    request = compiled_ir(converted('relative_v2')[0].path, (252, 336),
                          PERF_COUNT=True).create_infer_request()
    request.infer({'image': image})
    executed = [entry.node_type for entry in request.profiling_info]
    assert executed.count('FullyConnected') == 4 * tiny.depth
    assert executed.count('Concat') == 1


def test_height_width_and_batch_stay_open(converted: Converted) -> None:
    path = converted('relative_v2')[0].path
    model = openvino.Core().read_model(path)
    assert model.input('image').partial_shape == openvino.PartialShape([-1, 3, -1, -1])
    image = normalize(self_check_image((70, 98)), MEAN_RGB, STD_RGB)
    dynamic = open_core().compile_model(model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    both = dynamic(np.concatenate([image, image[..., ::-1]]))['depth']
    assert both.shape == (2, 70, 98)
    np.testing.assert_allclose(both[:1], compiled_ir(path, (70, 98))(image)['depth'], atol=1e-3)


def test_failed_parity_leaves_nothing_behind(
        tmp_path: Path, save_checkpoint: Callable[..., Path], table: tuple[EncoderSpec, ...],
        monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter writes another network: both runtimes compute R + 2 G + 4 B."""
    monkeypatch.setattr(conversion, 'export_onnx',
                        lambda network, path, *more: write_weighted_sum(path))
    checkpoint = save_checkpoint('mine.pth')
    overrides = Overrides('relative', 'v2')
    lines: list[str] = []
    with pytest.raises(ParityError, match='ONNX Runtime at 98x70 differs .* no file was written'):
        convert(Job(checkpoint, tmp_path / 'models' / 'depth.xml', overrides=overrides),
                table=table, sizes_hw=PARITY_SIZES_HW[:1], report=lines.append)
    assert [line.split()[0] for line in lines[-1].splitlines() if 'FAILED' in line] == [
        'ONNX', 'OpenVINO']
    with pytest.raises(ParityError, match='OpenVINO at 98x70 differs'):
        convert(Job(checkpoint, tmp_path / 'models' / 'depth.xml', overrides=overrides),
                table=table, sizes_hw=PARITY_SIZES_HW[:1], report=lines.append,
                limits={**conversion_limits('fp16'), 'ONNX Runtime': Limits(float('inf'))})
    with pytest.raises(ParityError, match='ONNX Runtime at 28x14'):
        export(ExportJob(checkpoint, tmp_path / 'models' / 'depth.onnx',
                         OnnxOptions(1, (14, 28)), overrides), table=table, report=lines.append)
    assert [path.name for path in tmp_path.iterdir()] == ['mine.pth']


@pytest.mark.parametrize('error', [float('inf'), float('nan'), None, 2e-3])
def test_an_error_above_the_gate_or_no_number_never_passes(error: float | None) -> None:
    good = ParityRow('ONNX Runtime', (14, 14), Limits(1e-3), 1e-5, 1e-6)
    bad = ParityRow('OpenVINO', (14, 28), Limits(1e-3), error, error)
    ParityReport('fp32', (good,)).require()
    with pytest.raises(ParityError, match='OpenVINO at 28x14'):
        ParityReport('fp32', (good, bad)).require()


@pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
def test_the_source_is_never_replaced_by_its_output(tmp_path: Path, suffix: str) -> None:
    """Also where it is the file with the weights, or behind a link."""
    folder = tmp_path / 'hub'
    folder.mkdir()
    source, link = folder / 'pytorch_model.bin', tmp_path / f'link{suffix}.data'
    source.write_bytes(b'mine')
    (link if suffix == '.onnx' else link.with_suffix('').with_suffix('.bin')).symlink_to(source)
    make, job_of = (export, ExportJob) if suffix == '.onnx' else (convert, Job)
    outputs = [tmp_path / f'link{suffix}']
    outputs += [folder / 'pytorch_model.xml'] * (suffix == '.xml')
    for output in outputs:
        for read in (source, folder):
            with pytest.raises(CheckpointError, match='that is the source, which would be lost'):
                make(job_of(read, output, overwrite=True), report=lambda line: None)
    assert source.read_bytes() == b'mine'


def spoil(change: str, weights: dict[str, Any]) -> dict[str, Any]:
    if change == 'another network':
        return {'conv1.weight': torch.zeros(8, 3, 7, 7), 'fc.bias': torch.zeros(10)}
    if change == 'missing':
        del weights['depth_head.scratch.output_conv1.bias']
    if change == 'wrong shape':
        weights['depth_head.projects.0.weight'] = torch.zeros(9, 48, 1, 1)
    if change == 'flat':
        weights['depth_head.scratch.output_conv2.2.weight'] *= 0
    if change == 'overflow':
        weights['depth_head.scratch.output_conv2.2.weight'] *= 3e38
    return weights


@pytest.mark.parametrize(('change', 'message'), [
    ('another network', 'not a Depth Anything .*starts with conv1.weight, fc.bias.*official'),
    ('missing', 'not those of tiny .missing: depth_head.scratch.output_conv1.bias'),
    ('wrong shape', r'depth_head.projects.0.weight is \[9, 48, 1, 1\] instead of \[8, 48'),
    ('flat', 'the same depth everywhere'),
    ('overflow', 'its depth is not finite')])
def test_unusable_weights_are_refused_before_anything_is_written(
        tmp_path: Path, tiny: EncoderSpec, table: tuple[EncoderSpec, ...],
        make_weights: Callable[..., dict[str, Any]], change: str, message: str) -> None:
    torch.save(spoil(change, make_weights(tiny)), tmp_path / 'mine.pth')
    with pytest.raises(CheckpointError, match=message):
        convert(Job(tmp_path / 'mine.pth', tmp_path / 'depth.xml',
                    overrides=Overrides('relative', 'v2')),
                table=table)
    assert [path.name for path in tmp_path.iterdir()] == ['mine.pth']
