"""Nano goes the way of every checkpoint: to ONNX, to an IR that proves itself, to INT8."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
import json
from pathlib import Path
from typing import Any

import cv2
from depth_anything_ros.convert.sources.records import (
    distillation_record_path, DistillationRecord, read_distillation_record, sha256_of,
    write_distillation_record)
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.networks.models import NANO, NANO_INPUT
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.self_check import self_check_image
from depth_anything_ros.vision.transforms import normalize
import numpy as np
import pytest

torch = pytest.importorskip('torch')
openvino = pytest.importorskip('openvino')
for needed in ('onnx', 'onnxscript', 'onnxruntime'):
    pytest.importorskip(needed)

from depth_anything_ros.convert.conversion import (  # noqa: E402, I100
    Conversion, convert, export, ExportJob, Job)
from depth_anything_ros.convert.export import OnnxOptions, save_ir  # noqa: E402
from depth_anything_ros.convert.inspect.inspect import inspect  # noqa: E402
from depth_anything_ros.convert.parity.verify import verify  # noqa: E402
from depth_anything_ros.convert.sources.identity import Overrides  # noqa: E402
from depth_anything_ros.convert.sources.ir_weights import read_ir_weights  # noqa: E402
from depth_anything_ros.inference.ir import read_ir  # noqa: E402
from depth_anything_ros.networks.depth_anything import build_network  # noqa: E402

Weights = dict[str, Any]
SIZE_HW = (64, 96)
RECORD = DistillationRecord('nano', 'my-teacher', '1' * 64, 'MIT', 90, 10, 3, {'steps': 7}, 0.75,
                            '')


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory,
               make_nano: Callable[..., Weights]) -> Path:
    """Return random weights of nano and their record under a name that is not official."""
    path: Path = tmp_path_factory.mktemp('nano') / 'mine.pth'
    torch.save(make_nano(), path)
    write_distillation_record(path, replace(RECORD, sha256=sha256_of([path])))
    return path


@pytest.fixture(scope='module')
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """Return the ONNX file of the checkpoint, every size open."""
    return export(ExportJob(checkpoint, tmp_path_factory.mktemp('onnx') / 'made.onnx',
                            OnnxOptions(external_data=False)), report=lambda line: None)


@pytest.fixture(scope='module')
def done(exported: Conversion, tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """Return what becomes of the ONNX file without any option."""
    return convert(Job(exported.path, tmp_path_factory.mktemp('ir') / 'nano.xml'),
                   report=lambda line: None)


def test_nano_becomes_a_proven_ir_that_describes_its_input(
        exported: Conversion, done: Conversion, checkpoint: Path) -> None:
    info = read_ir(openvino.Core(), done.path)[1]
    assert info is not None and info == done.info
    assert (info.encoder, info.kind, info.model_version, info.max_depth_m, info.precision) == (
        'nano', 'relative', 'v2', None, 'fp16')
    assert (info.patch_multiple, info.input_size) == (32, 288)
    assert (info.mean_rgb, info.std_rgb) == (NANO_INPUT.mean_rgb, NANO_INPUT.std_rgb)
    assert (info.licence, info.source_sha256) == ('MIT', sha256_of([checkpoint]))
    assert info.source_name == 'mine.pth, distilled from my-teacher'
    assert info.self_check.size_hw == (192, 256)
    for parity in (exported.parity, done.parity):
        assert [row.size_hw for row in parity.rows] == [(288, 288), (224, 288), (288, 384)]
    assert 0 < done.parity.worst('OpenVINO') <= 2e-2
    assert 0 < exported.parity.worst('ONNX Runtime') <= 1e-3


def test_the_weights_come_back_out_of_the_ir(
        done: Conversion, make_nano: Callable[..., Weights]) -> None:
    """Rounded to 16 bit, the scales in the weights."""
    found, expected = read_ir_weights(done.path), make_nano()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        scale = expected.get(name.replace('.weight', '.scale'))
        if name.endswith('.scale'):
            value = torch.ones_like(value)
        elif name.endswith('.weight') and scale is not None:
            value = value * scale[:, None, None, None]
        assert (found[name] - value).abs().max() <= 1e-3 * value.abs().max(), name


def test_the_runtime_computes_the_depth_of_the_network(
        done: Conversion, make_nano: Callable[..., Weights]) -> None:
    from depth_anything_ros.inference.engine import Engine, EngineOptions
    from depth_anything_ros.inference.pool import wait_for_one
    card = self_check_image(SIZE_HW)
    engine = Engine(done.path, EngineOptions(precision='f32', image_hw=SIZE_HW,
                                             input_size=SIZE_HW[0]))
    found = wait_for_one(partial(engine.submit, ColorImage(card, 'bgr')))
    engine.close()
    network = build_network(NANO, 'v2', None, make_nano())
    image = normalize(card, NANO_INPUT.mean_rgb, NANO_INPUT.std_rgb)
    expected = network(torch.from_numpy(image))[0].numpy()
    assert found.shape == SIZE_HW
    assert np.abs(found - expected).max() < 2e-2 * expected.std()


def test_an_ir_of_nano_is_verified_against_its_checkpoint(
        done: Conversion, checkpoint: Path) -> None:
    found = verify(done.path, source=checkpoint, precision='f32', sizes_hw=[SIZE_HW])
    assert found.verdict == 'PASS' and found.notes == ()
    assert [check.size_hw for check in found.checks] == [SIZE_HW, SIZE_HW, (192, 256)]


def test_height_and_width_are_fixed_to_multiples_of_32(
        done: Conversion, checkpoint: Path, tmp_path: Path) -> None:
    fixed = convert(Job(done.path, tmp_path / 'fixed.xml', size_hw=(288, 384)),
                    report=lambda line: None)
    assert fixed.info.fixed_size_hw == fixed.info.self_check.size_hw == (288, 384)
    shape = openvino.Core().read_model(fixed.path).input(0).partial_shape
    assert shape == openvino.PartialShape([-1, 3, 288, 384])
    for source in (done.path, checkpoint):
        with pytest.raises(CheckpointError,
                           match='a height of 280 is not a multiple of 32; give 256 or 288'):
            convert(Job(source, tmp_path / 'no.xml', size_hw=(280, 384)),
                    report=lambda line: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['fixed.bin', 'fixed.xml']


def test_a_file_without_metadata_is_known_by_its_name(
        exported: Conversion, tmp_path: Path) -> None:
    import onnx
    assert (exported.info.encoder, exported.info.fixed_size_hw) == ('nano', None)
    model = onnx.load(exported.path)
    assert model.metadata_props
    del model.metadata_props[:]
    for side, length in zip(model.graph.input[0].type.tensor_type.shape.dim, (1, 3, *SIZE_HW)):
        side.dim_value = length
    for name in ('depth_anything_nano.onnx', 'mine.onnx'):
        onnx.save(model, tmp_path / name)
    converted = convert(Job(tmp_path / 'depth_anything_nano.onnx', tmp_path / 'converted.xml'),
                        report=lambda line: None)
    assert (converted.info.encoder, converted.info.kind, converted.info.patch_multiple) == (
        'nano', 'relative', 32)
    assert converted.info.mean_rgb == NANO_INPUT.mean_rgb
    overrides = Overrides('relative', 'v2', encoder='nano')
    assert convert(Job(tmp_path / 'mine.onnx', tmp_path / 'overridden.xml', overrides=overrides),
                   report=lambda line: None).info.patch_multiple == 32
    with pytest.raises(CheckpointError, match='not 3 channels of multiples of 14'):
        convert(Job(tmp_path / 'mine.onnx', tmp_path / 'no.xml'), report=lambda line: None)


def test_a_checkpoint_of_nano_says_what_it_is(checkpoint: Path, tmp_path: Path) -> None:
    found = inspect(checkpoint)
    assert (found.what, found.encoder, found.kind, found.model_version, found.licence) == (
        'PyTorch checkpoint, nano layout', 'nano', 'relative', 'v2', 'MIT')
    assert found.source_name == 'mine.pth, distilled from my-teacher'
    assert found.origins['licence'] == 'the record of the distillation'
    alone = tmp_path / 'alone.pth'
    alone.write_bytes(checkpoint.read_bytes())
    found = inspect(alone)
    assert (found.kind, found.licence, found.source_name) == ('relative', 'unknown', None)
    assert found.origins['kind'] == 'the network'


def test_other_weights_under_the_names_of_nano_are_refused(tmp_path: Path) -> None:
    torch.save({'encoder.stem.weight': torch.zeros(8, 3, 3, 3)}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='its tensors are not those of nano .missing: enc'):
        convert(Job(tmp_path / 'a.pth', tmp_path / 'a.xml'), report=lambda line: None)


def test_a_record_is_read_back_as_long_as_the_file_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / 'a.pth'
    assert read_distillation_record(path) is None
    path.write_bytes(b'weights')
    record = replace(RECORD, sha256=sha256_of([path]))
    write_distillation_record(path, record)
    assert distillation_record_path(path).name == 'a.pth.distilled.json'
    assert read_distillation_record(path) == record
    path.write_bytes(b'other weights')
    assert read_distillation_record(path) is None


@pytest.mark.parametrize('change', [
    lambda text: '', lambda text: '[]', lambda text: text.replace('"images": 90', '"images": "x"'),
    lambda text: text.replace('"student"', '"pupil"')])
def test_a_record_that_cannot_be_used_is_none(
        tmp_path: Path, change: Callable[[str], str]) -> None:
    path = tmp_path / 'a.pth'
    path.write_bytes(b'weights')
    write_distillation_record(path, replace(RECORD, sha256=sha256_of([path])))
    text = distillation_record_path(path).read_text()
    assert json.loads(text) and change(text) != text
    distillation_record_path(path).write_text(change(text))
    assert read_distillation_record(path) is None


def test_nano_becomes_int8_at_its_own_size_and_its_layers_have_names(
        done: Conversion, tmp_path: Path) -> None:
    pytest.importorskip('nncf')
    from depth_anything_ros.convert.quantize.gate import Gate
    from depth_anything_ros.convert.quantize.layers import quantized_layers
    from depth_anything_ros.convert.quantize.quantize import quantize, QuantizeJob
    from depth_anything_ros.convert.quantize.quantizer import quantize_model
    pictures = tmp_path / 'pictures'
    pictures.mkdir()
    for number in range(4):
        cv2.imwrite(str(pictures / f'{number}.png'),
                    np.roll(self_check_image(SIZE_HW), 9 * number, 1) // (1 + number % 2))
    names, shapes = [], []

    def watched(model: Any, images: Any, *options: Any, **more: Any) -> Any:
        # Compression of the weights would remove their names.
        found = quantize_model(model, images, *options, **{**more, 'compress': False})
        names.append([layer.name for layer in quantized_layers(found)])
        shapes.append(images[0].shape)
        return found

    small = replace(done.info, input_size=SIZE_HW[0])
    save_ir(openvino.Core().read_model(done.path), tmp_path / 'small.xml', small)
    made = quantize(QuantizeJob(tmp_path / 'small.xml', tmp_path / 'int8.xml', str(pictures),
                                gate=Gate(1e9, 1e9, -1.0)),
                    report=lambda line: None, quantizer=watched)
    assert made.info.precision == 'int8' and made.info.patch_multiple == 32
    assert made.info.quantization is not None
    assert made.info.quantization.method.startswith('NNCF performance preset')
    assert shapes[0] == (1, 3, *SIZE_HW)
    assert names[0][:3] == ['encoder.stem', 'encoder.blocks.0.depthwise',
                            'encoder.blocks.0.project']
    assert len(names[0]) == 82 == len(set(names[0]))
    assert {'encoder.blocks.15.expand', 'head.context.enter', 'head.context.qkv',
            'head.context.fc2', 'head.lateral.4', 'head.output'} <= set(names[0])
    assert made.trials[0].loss.pearson_min > 0.9
