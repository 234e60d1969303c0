"""ONNX files and IRs that others made become IRs of this package, or are refused with a reason."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from depth_anything_ros.errors import CheckpointError, ModelError, ParityError
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.vision.color_image import ColorImage
import numpy as np
import pytest
from waiting import Outcomes

torch = pytest.importorskip('torch')
onnx = pytest.importorskip('onnx')
openvino = pytest.importorskip('openvino')
pytest.importorskip('onnxruntime')

from depth_anything_ros.convert.conversion import Conversion, convert, Job  # noqa: E402, I100
from depth_anything_ros.convert.parity.measure import (  # noqa: E402
    card_input, conversion_limits, Limits)
from depth_anything_ros.convert.parity.runners import ir_runner  # noqa: E402
from depth_anything_ros.convert.sources.identity import Overrides  # noqa: E402
from depth_anything_ros.inference.engine import Engine, EngineOptions  # noqa: E402
from depth_anything_ros.inference.ir import read_ir  # noqa: E402

KERNEL = (1.0, 2.0, 4.0)
SIZES_HW = ((70, 98), (56, 42))
OVERRIDES = Overrides('relative', 'v2')
OPEN = ('N', 3, 'H', 'W')
# What is done to the output [N,1,H,W] of a convolution.
FORMS = {'[N,H,W]': [1], '[N,1,H,W]': [], '[H,W]': [0, 1]}


def write_onnx(path: Path, *, given: str = 'image', output: str = 'depth',
               shape: tuple[Any, ...] = OPEN, form: str = '[N,H,W]', element: str = 'FLOAT',
               channels: int = 3, stride: int = 1, inputs: int = 1, outputs: int = 1,
               external: bool = False) -> Path:
    """Write a network that gives R + 2 G + 4 B of the normalised image."""
    helper, kind = onnx.helper, onnx.TensorProto.DataType.Value(element)
    kernel = np.array(KERNEL[:channels], onnx.helper.tensor_dtype_to_np_dtype(kind))
    stored = [onnx.numpy_helper.from_array(kernel.reshape(1, channels, 1, 1), 'kernel')]
    nodes = [helper.make_node('Conv', [given, 'kernel'], ['summed'], strides=[stride, stride])]
    if FORMS[form]:
        stored.append(onnx.numpy_helper.from_array(np.array(FORMS[form]), 'axes'))
        nodes.append(helper.make_node('Squeeze', ['summed', 'axes'], [output]))
    else:
        nodes.append(helper.make_node('Identity', ['summed'], [output]))
    names = [given, 'second'][:inputs], [output, 'summed'][:outputs]
    graph = helper.make_graph(
        nodes, 'little', [helper.make_tensor_value_info(one, kind, shape) for one in names[0]],
        [helper.make_tensor_value_info(one, kind, None) for one in names[1]], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=9)
    onnx.save(model, path, save_as_external_data=external, location=f'{path.name}.data',
              size_threshold=0)
    return path


def converted(source: Path, **options: Any) -> Conversion:
    """Return what becomes of a source with the options of a Job."""
    job = Job(source, source.parent / 'out' / 'depth.xml', **{'overrides': OVERRIDES, **options})
    return convert(job, sizes_hw=SIZES_HW, report=lambda line: None)


def written_info(done: Conversion) -> ModelInfo | None:
    return read_ir(openvino.Core(), done.path)[1]


def ovc(source: Path, target: Path, compress: bool) -> Path:
    """Do what ``ovc SOURCE.onnx`` does."""
    openvino.save_model(openvino.convert_model(source), target, compress_to_fp16=compress)
    return target


def run_in_engine(path: Path, pixels: np.ndarray, **options: Any) -> np.ndarray:
    """Return what the runtime computes of an 8-bit BGR image."""
    engine = Engine(path, EngineOptions(precision='f32', image_hw=(56, 70), **options))
    try:
        outcomes = Outcomes()
        engine.submit(ColorImage(pixels, 'bgr'), outcomes)
        depth: np.ndarray = outcomes.first(1)[0]
        return depth
    finally:
        engine.close()


def expected(size_hw: tuple[int, int]) -> np.ndarray:
    image = card_input(size_hw)[0]
    return sum(weight * image[channel] for channel, weight in enumerate(KERNEL))


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('given', ['pixel_values', 'l_x_'])
def test_other_names_and_shapes_of_the_output_become_those_of_this_package(
        tmp_path: Path, form: str, given: str) -> None:
    done = converted(write_onnx(tmp_path / 'a.onnx', given=given, output='select_36', form=form))
    model = openvino.Core().read_model(done.path)
    assert model.input('image').partial_shape[1:] == openvino.PartialShape([3, -1, -1])
    assert model.output('depth').partial_shape.rank.get_length() == 3
    found = ir_runner(done.path).run(card_input((70, 98)))
    np.testing.assert_allclose(found, expected((70, 98)), atol=2e-3)
    assert (done.parity.against, done.info.precision) == ('ONNX Runtime', 'fp16')
    assert [row.size_hw for row in done.parity.rows] == list(SIZES_HW)


def test_the_runtime_takes_what_was_made_of_an_onnx_file(tmp_path: Path) -> None:
    done = converted(write_onnx(tmp_path / 'a.onnx', given='input', form='[N,1,H,W]'),
                     precision='fp32')
    pixels = np.random.default_rng(0).integers(0, 256, (56, 70, 3), np.uint8)
    mean, std = np.float32(done.info.mean_rgb), np.float32(done.info.std_rgb)
    rgb = (pixels[..., ::-1].astype(np.float32) / 255 - mean) / std
    found = run_in_engine(done.path, pixels, input_size=56)
    np.testing.assert_allclose(found, rgb @ np.float32(KERNEL), atol=1e-4)


def test_an_onnx_file_of_one_size_stays_of_that_size(tmp_path: Path) -> None:
    done = converted(write_onnx(tmp_path / 'a.onnx', shape=(1, 3, 70, 98)))
    assert done.info.fixed_size_hw == done.info.self_check.size_hw == (70, 98)
    assert [row.size_hw for row in done.parity.rows] == [(70, 98)]
    assert written_info(done) == done.info
    assert run_in_engine(done.path, np.zeros((100, 50, 3), np.uint8)).shape == (70, 98)


def test_an_onnx_file_of_one_batch_still_takes_single_images(tmp_path: Path) -> None:
    done = converted(write_onnx(tmp_path / 'a.onnx', shape=(4, 3, 'H', 'W')))
    assert str(openvino.Core().read_model(done.path).input(0).partial_shape) == '[4,3,?,?]'
    assert run_in_engine(done.path, np.zeros((56, 70, 3), np.uint8), input_size=56).ndim == 2


def test_half_precision_stays_and_takes_images_in_f32(tmp_path: Path) -> None:
    done = converted(write_onnx(tmp_path / 'a.onnx', element='FLOAT16'))
    model = openvino.Core().read_model(done.path)
    assert model.input('image').element_type == openvino.Type.f32
    assert model.output('depth').element_type == openvino.Type.f32
    assert done.info.precision == 'fp16'


@pytest.mark.parametrize(('name', 'facts'), [
    ('depth_anything_v2_vits.onnx', ('vits', 'relative', 'v2', None, 'Apache-2.0')),
    ('depth_anything_v2_vitl_dynamic.onnx', ('vitl', 'relative', 'v2', None, 'CC-BY-NC-4.0')),
    ('depth_anything_v2_vitb_indoor_dynamic.onnx',
     ('vitb', 'metric', 'v2', 20, 'CC-BY-NC-4.0')),
    ('depth_anything_v2_vits_outdoor_518x518.onnx', ('vits', 'metric', 'v2', 80, 'Apache-2.0')),
    ('depth_anything_vitb14.onnx', ('vitb', 'relative', 'v1', None, 'Apache-2.0'))])
def test_official_names_state_what_the_network_is(
        tmp_path: Path, name: str, facts: tuple[Any, ...]) -> None:
    info = converted(write_onnx(tmp_path / name), overrides=Overrides()).info
    assert (info.encoder, info.kind, info.model_version, info.max_depth_m, info.licence) == facts
    assert info.source_name == name


def test_unknown_facts_need_options_and_only_the_encoder_may_stay_unknown(
        tmp_path: Path) -> None:
    source = write_onnx(tmp_path / 'model.onnx')
    with pytest.raises(CheckpointError, match='its kind is unknown: .*neither its metadata.*add'):
        converted(source, overrides=Overrides())
    with pytest.raises(CheckpointError, match='its model version is unknown.*add --model-version'):
        converted(source, overrides=Overrides('relative'))
    info = converted(source, overrides=Overrides('metric', 'v2', 10.0)).info
    assert (info.encoder, info.kind, info.max_depth_m) == ('unknown', 'metric', 10.0)
    done = converted(source, overrides=replace(OVERRIDES, encoder='vits'), overwrite=True)
    assert done.info.encoder == 'vits'


@pytest.mark.parametrize(('options', 'message'), [
    ({'inputs': 2}, 'it has 2 inputs and 1 outputs; give a network that maps one image'),
    ({'outputs': 2}, 'it has 1 inputs and 2 outputs'),
    ({'element': 'DOUBLE'}, 'its input is f64'),
    ({'shape': (1, 1, 70, 98), 'channels': 1}, r'\[1,1,70,98\], not 3 channels of multiples'),
    ({'shape': (1, 3, 64, 98)}, r'\[1,3,64,98\], not 3 channels of multiples of 14'),
    ({'shape': (1, 3, 70, 'W')}, 'one side is fixed and one is free'),
    ({'stride': 14}, r'its output is \[1, 14, 18\] for images \[1,3,196,252\]'),
    ({'shape': (4, 3, 70, 98), 'form': '[N,1,H,W]', 'stride': 7}, 'its output is')])
def test_a_graph_of_another_kind_is_refused(
        tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        converted(write_onnx(tmp_path / 'a.onnx', **options))
    assert [path.name for path in tmp_path.iterdir()] == ['a.onnx']


def test_files_that_are_no_onnx_are_named(tmp_path: Path) -> None:
    whole = write_onnx(tmp_path / 'whole.onnx').read_bytes()
    for name, content in (('text', b'no model'), ('empty', b''), ('torn', whole[:-40])):
        path = tmp_path / f'{name}.onnx'
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=f'{name}.onnx: it is truncated or not an'):
            converted(path)
    with pytest.raises(CheckpointError, match='none.onnx: there is no such file'):
        converted(tmp_path / 'none.onnx')


def test_a_file_with_weights_that_is_missing_or_torn_is_named(tmp_path: Path) -> None:
    source = write_onnx(tmp_path / 'a.onnx', external=True, form='[N,1,H,W]')
    weights = tmp_path / 'a.onnx.data'
    assert converted(source).info.source_sha256 != converted(
        write_onnx(tmp_path / 'b.onnx'), overwrite=True).info.source_sha256
    weights.write_bytes(weights.read_bytes()[:5])
    with pytest.raises(CheckpointError, match=r'a.onnx.data: it is truncated: 5 bytes of \d+'):
        converted(source, overwrite=True)
    weights.unlink()
    with pytest.raises(CheckpointError, match='a.onnx.data: this file with weights of a.onnx is'):
        converted(source, overwrite=True)


@pytest.mark.parametrize('compress', [True, False])
def test_an_ir_without_metadata_keeps_its_precision_and_gets_what_it_lacks(
        tmp_path: Path, compress: bool) -> None:
    source = ovc(write_onnx(tmp_path / 'a.onnx', form='[N,1,H,W]'), tmp_path / 'plain.xml',
                 compress)
    done = converted(source)
    assert done.info.precision == ('fp16' if compress else 'fp32')
    assert done.info.self_check.std > 0
    assert done.parity.against == 'OpenVINO'
    assert done.parity.worst('OpenVINO') < 1e-6
    assert written_info(done) == done.info


def test_an_ir_in_f32_can_be_compressed_and_never_the_other_way(tmp_path: Path) -> None:
    source = ovc(write_onnx(tmp_path / 'a.onnx'), tmp_path / 'plain.xml', compress=False)
    half = converted(source, precision='fp16')
    assert half.info.precision == 'fp16'
    with pytest.raises(CheckpointError, match='weights are fp16 and cannot become fp32; leave'):
        converted(half.path, precision='fp32')


def test_weights_of_8_bit_stay_and_become_nothing_else(tmp_path: Path) -> None:
    from openvino import opset13 as op
    image = op.parameter([-1, 3, -1, -1], np.float32, name='image')
    kernel = np.random.default_rng(0).integers(-9, 9, (1, 3, 41, 41)).astype(np.int8)
    weights = op.multiply(op.convert(op.constant(kernel), 'f32'), np.float32(0.01))
    blurred = op.convolution(image, weights, [1, 1], [20, 20], [20, 20], [1, 1])
    depth = op.result(op.squeeze(blurred, np.int64([1])), name='depth')
    openvino.save_model(openvino.Model([depth], [image]), tmp_path / 'plain.xml')
    done = converted(tmp_path / 'plain.xml')
    assert done.info.precision == 'int8'
    assert done.parity.worst('OpenVINO') < 1e-5
    with pytest.raises(CheckpointError, match='weights are int8 and cannot become fp16'):
        converted(tmp_path / 'plain.xml', precision='fp16', overwrite=True)


def test_metadata_stays_except_for_the_overrides(
        tmp_path: Path, make_ir: Callable[..., Path]) -> None:
    source = make_ir(source_name='first.pth', licence='MIT')
    before = read_ir(openvino.Core(), source)[1]
    assert before is not None
    done = convert(Job(source, tmp_path / 'same.xml'), sizes_hw=SIZES_HW, report=lambda line: None)
    assert done.info == before
    overrides = Overrides('metric', None, 5.0, 'vitb')
    done = convert(Job(source, tmp_path / 'metric.xml', overrides=overrides), sizes_hw=SIZES_HW,
                   report=lambda line: None)
    assert done.info == replace(before, kind='metric', max_depth_m=5.0, encoder='vitb')
    assert written_info(done) == done.info


@pytest.mark.parametrize('overwrite', [False, True])
def test_an_ir_is_never_replaced_by_itself(tmp_path: Path, overwrite: bool) -> None:
    source = ovc(write_onnx(tmp_path / 'a.onnx'), tmp_path / 'depth.xml', compress=False)
    before = source.read_bytes()
    with pytest.raises(CheckpointError, match='depth.xml: that is the source, which'):
        convert(Job(source, source, overrides=OVERRIDES, overwrite=overwrite))
    assert source.read_bytes() == before


@pytest.mark.parametrize(('damage', 'message'), [
    (lambda xml: xml.with_suffix('.bin').unlink(), 'plain.bin: there is no such file'),
    (lambda xml: xml.with_suffix('.bin').write_bytes(b'12'), 'plain.bin: it is truncated: 2 byte'),
    (lambda xml: xml.write_text(xml.read_text()[:300]), 'plain.xml: it is truncated or not XML'),
    (lambda xml: xml.write_text('<html/>'), 'plain.xml: it is XML but not an OpenVINO IR')])
def test_a_damaged_ir_is_named(
        tmp_path: Path, damage: Callable[[Path], Any], message: str) -> None:
    source = ovc(write_onnx(tmp_path / 'a.onnx'), tmp_path / 'plain.xml', compress=False)
    damage(source)
    with pytest.raises(ModelError, match=message):
        converted(source)


def test_size_and_batch_can_be_fixed(tmp_path: Path) -> None:
    done = converted(write_onnx(tmp_path / 'a.onnx'), size_hw=(56, 84), batch=3)
    model = openvino.Core().read_model(done.path)
    assert list(model.input('image').shape) == [3, 3, 56, 84]
    assert list(model.output('depth').shape) == [3, 56, 84]
    assert done.info.fixed_size_hw == done.info.self_check.size_hw == (56, 84)
    assert [row.size_hw for row in done.parity.rows] == [(56, 84)]
    assert run_in_engine(done.path, np.zeros((100, 50, 3), np.uint8)).shape == (56, 84)


@pytest.mark.parametrize(('size_hw', 'batch', 'message'), [
    ((500, 518), 0, 'a height of 500 is not a multiple of 14; give 490 or 504'),
    ((518, 5), 0, 'a width of 5 is not a multiple of 14; give 14 or 28'),
    ((-14, 14), 0, 'a height of -14'),
    ((518, 0), 0, 'only one of height and width is fixed; give --height and --width'),
    ((98, 98), 0, 'its height is fixed to 70, 98 is impossible; leave out'),
    (None, 2, 'its batch is fixed to 1, 2 is impossible'),
    (None, -1, 'a batch of -1 images is impossible')])
def test_sizes_that_cannot_be_fixed_are_refused(
        tmp_path: Path, size_hw: tuple[int, int] | None, batch: int, message: str) -> None:
    source = write_onnx(tmp_path / 'a.onnx', shape=(1, 3, 70, 98))
    with pytest.raises(CheckpointError, match=message):
        converted(source, size_hw=size_hw, batch=batch)
    assert [path.name for path in tmp_path.iterdir()] == ['a.onnx']


def test_an_ir_that_differs_from_its_source_is_not_written(tmp_path: Path) -> None:
    source = write_onnx(tmp_path / 'a.onnx')
    with pytest.raises(ParityError, match='differs from ONNX Runtime by .* no file was written'):
        convert(Job(source, tmp_path / 'out' / 'depth.xml', overrides=OVERRIDES),
                sizes_hw=SIZES_HW, report=lambda line: None,
                limits={**conversion_limits('fp16'), 'OpenVINO': Limits(-1.0)})
    assert [path.name for path in tmp_path.iterdir()] == ['a.onnx']
