"""Training in INT8: the model as a PyTorch function, its loss, and the command that trains."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import re
from typing import Any

import cv2
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.vision.agreement import agreement
from depth_anything_ros.vision.self_check import self_check_image
import numpy as np
import pytest

torch = pytest.importorskip('torch')
openvino = pytest.importorskip('openvino')
pytest.importorskip('nncf')

from depth_anything_ros.convert.quantize.gate import Gate, Loss  # noqa: E402, I100
from depth_anything_ros.convert.quantize.images import (  # noqa: E402
    hold_out, inputs_of_one_size, inputs_of_own_size, read_pictures)
from depth_anything_ros.convert.quantize.layers import (  # noqa: E402
    quantized_layers, quantizer_nodes, without_quantizers)
from depth_anything_ros.convert.quantize.measure import make_samples, measure  # noqa: E402
from depth_anything_ros.convert.quantize.operators import (  # noqa: E402
    StraightThrough, UntrainableError)
from depth_anything_ros.convert.quantize.quantize import quantize, QuantizeJob  # noqa: E402
from depth_anything_ros.convert.quantize.quantizer import quantize_model  # noqa: E402
from depth_anything_ros.convert.quantize.torch_graph import TorchGraph  # noqa: E402
from depth_anything_ros.convert.quantize.training import (  # noqa: E402
    aligned_error, TrainingOptions)
from depth_anything_ros.inference.devices import open_core  # noqa: E402
from depth_anything_ros.inference.ir import read_model  # noqa: E402
from tiny import TINY_INFO  # noqa: E402

SIZE_HW = (70, 98)
OPTIONS = TrainingOptions(steps=25)


@pytest.fixture(scope='module')
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of eight pictures: the test card moved, under several lights."""
    folder = tmp_path_factory.mktemp('pictures')
    card = self_check_image(SIZE_HW)
    for number in range(8):
        moved = np.roll(card, (5 * number, 9 * number), (0, 1)) * (1 - 0.08 * number)
        cv2.imwrite(str(folder / f'{number}.png'), moved.astype(np.uint8))
    return folder


def read_fixed(path: Path, size: int, pictures: Path) -> tuple[Any, Any, list[Any]]:
    """Return a model of one size, its metadata and calibration images for it."""
    model, info = read_model(openvino.Core(), path)
    kept, _ = hold_out(read_pictures(str(pictures), None, 8, print))
    images = inputs_of_one_size(kept, info, size)
    model.reshape(list(images[0].shape))
    return model, info, images


@pytest.fixture(scope='module')
def tiny_path(tiny_conversion: tuple[Any, list[str]]) -> Path:
    """Return the IR of a narrow vision transformer with random weights."""
    path: Path = tiny_conversion[0].path
    return path


def run(model: Any, image: Any) -> Any:
    """Return the depth [H, W] that OpenVINO computes."""
    compiled = open_core().compile_model(model, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    return compiled([image])[0][0].copy()


@pytest.mark.parametrize('changes', [
    {}, {'kind': 'metric'}, {'focal_px': 300.0, 'has_shift': False}],
    ids=['relative', 'metric', 'focal length'])
def test_the_loss_is_the_error_that_the_gate_measures(changes: dict[str, Any]) -> None:
    info = replace(TINY_INFO, **changes)
    rng = np.random.default_rng(0)
    expected = rng.uniform(0.5, 9, (1, 20, 30)).astype(np.float32)
    found = (0.7 * expected + 0.4 + rng.normal(0, 0.2, expected.shape)).astype(np.float32)
    tensor = torch.from_numpy(found).requires_grad_()
    error = aligned_error(tensor, torch.from_numpy(expected), info)
    alike = agreement(found[0], expected[0], info.kind == 'relative', not changes)
    assert error.item() == pytest.approx(alike.abs_rel, rel=1e-4)
    assert (alike.abs_rel > 0.1) == bool(changes), 'only the fit of a relative map hides a gain'
    error.backward()
    assert torch.isfinite(tensor.grad).all() and tensor.grad.abs().max() > 0


@pytest.mark.parametrize(('low', 'high', 'levels'), [(-1.27, 1.27, 255), (-0.4, 2.15, 256)])
def test_values_are_rounded_as_openvino_rounds_them(low: float, high: float, levels: int) -> None:
    from openvino import opset13 as op
    values = np.random.default_rng(0).normal(0, 1, (1, 3, 14, 14)).astype(np.float32)
    given = op.parameter(list(values.shape), np.float32)
    bounds = [np.float32(one).reshape(1, 1, 1, 1) for one in (low, high, low, high)]
    model = openvino.Model([op.result(op.fake_quantize(given, *bounds, levels))], [given])
    expected = open_core().compile_model(model, 'CPU', {
        'INFERENCE_PRECISION_HINT': 'f32'})([values])[0]
    tensor = torch.from_numpy(values).requires_grad_()
    found = StraightThrough.apply(tensor, *map(torch.from_numpy, bounds), levels)
    assert np.abs(found.detach().numpy() - expected).max() < 1e-5
    assert len(np.unique(expected)) > 50
    found.sum().backward()
    inside = (values >= low) & (values <= high)
    assert 0 < inside.mean() < 1
    assert (tensor.grad.numpy() == inside).all()


def test_pytorch_computes_the_depth_of_the_quantized_model(
        tiny_path: Path, pictures: Path) -> None:
    model, info, images = read_fixed(tiny_path, 70, pictures)
    quantized = quantize_model(model, images, compress=False)
    graph = TorchGraph(quantized)
    with torch.no_grad():
        exact = graph(torch.from_numpy(images[0]), quantized=False)[0].numpy()
        rounded = graph(torch.from_numpy(images[0]))[0].numpy()
    unrounded = without_quantizers(quantized, quantizer_nodes(quantized))
    assert np.abs(exact - run(unrounded, images[0])).max() < 1e-3 * exact.std()
    found = run(quantized, images[0])
    assert agreement(rounded, found, True).abs_rel < agreement(exact, found, True).abs_rel
    layers = quantized_layers(quantized)
    names = {layer.name for layer in layers}
    assert len(names) == len(layers) and {
        'pretrained.patch_embed.proj', 'pretrained.blocks.0.attn.qkv', 'pretrained.blocks.0.attn',
        'pretrained.blocks.4.mlp.fc2', 'depth_head.scratch.output_conv2.0'} <= names
    counts = {layer.name: len(layer.quantizers) for layer in layers}
    assert counts['pretrained.blocks.0.attn.qkv'] == 1, 'its weights are in 8 bit in any case'
    assert counts['pretrained.blocks.0.attn'] == counts['pretrained.patch_embed.proj'] == 2
    assert sum(weight.quantized for weight in graph.weights) >= 0.8 * len(layers) > 20
    assert any(not weight.quantized for weight in graph.weights)


def test_pytorch_computes_the_scale_of_a_map_as_openvino() -> None:
    """A model in metres scales each map by an exponential."""
    from openvino import opset13 as op
    image = np.random.default_rng(0).normal(1, 1, (1, 3, 14, 14)).astype(np.float32)
    given = op.parameter(list(image.shape), np.float32)
    depth = op.clamp(op.reduce_mean(given, np.array([1]), False), 0.01, 1.5)
    scale = op.exp(op.log(op.reduce_mean(depth, np.array([1, 2]), True)))
    model = openvino.Model([op.result(op.multiply(depth, scale))], [given])
    found = TorchGraph(model)(torch.from_numpy(image)).numpy()
    assert np.abs(found - run(model, image)).max() < 1e-5


def test_the_command_trains_where_plain_int8_misses_the_gate(
        tiny_path: Path, pictures: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    from depth_anything_ros.convert.main import main
    model, info, images = read_fixed(tiny_path, 70, pictures)
    _, gate_pictures = hold_out(read_pictures(str(pictures), None, 8, print))
    whole, _ = read_model(openvino.Core(), tiny_path)
    samples = make_samples(whole, inputs_of_own_size(gate_pictures, info, 70))
    plain = Loss.of(measure(quantize_model(model, images), samples, info))
    output = tmp_path / 'int8.xml'
    arguments = ['quantize', str(tiny_path), '--images', str(pictures), '-o', str(output),
                 '--input-size', '70', '--abs-rel-mean', str(0.95 * plain.abs_rel_mean),
                 '--abs-rel-max', '1', '--pearson-min', '0', '--train', '--train-steps', '25']
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert '[4/7] training in INT8' in out and 'measuring the error of each layer' not in out
    first, last = re.search(r'AbsRel of the training images: (\S+) at first, (\S+) at last',
                            out).groups()
    assert float(last) < 0.8 * float(first)
    trained, written = read_model(openvino.Core(), output)
    stored = [node for node in trained.get_ops() if node.get_type_name() == 'Constant'
              and node.get_element_type().get_type_name() == 'i8']
    assert len(stored) > 20
    assert written.precision == 'int8' and written.quantization is not None
    assert written.quantization.kept_float == ()
    assert written.quantization.method.endswith(
        'trained in INT8 for 25 steps of 2 images')
    assert written.quantization.abs_rel_mean <= 0.95 * plain.abs_rel_mean


def test_a_model_that_meets_the_gate_is_not_trained(
        tiny_path: Path, pictures: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    done = quantize(QuantizeJob(tiny_path, tmp_path / 'int8.xml', str(pictures), input_size=70,
                                gate=Gate(1.0, 1.0, 0.0), training=OPTIONS), report=lines.append)
    assert not any('training' in line for line in lines)
    assert [trial.trained for trial in done.trials] == [False]
    assert done.info.quantization is not None
    assert 'trained' not in done.info.quantization.method


def test_an_operator_without_a_counterpart_is_named(
        make_ir: Callable[..., Path], pictures: Path, tmp_path: Path) -> None:
    source, flat = make_ir(), make_ir(gain=0.0)
    model = openvino.Core().read_model(source)
    model.reshape([1, 3, 28, 28])
    with pytest.raises(UntrainableError, match='the operator ReduceSum'):
        TorchGraph(model)

    def useless(fixed: Any, images: Any, kept_float: Any = (), compress: bool = True) -> Any:
        return openvino.Core().read_model(flat) if compress else fixed.clone()

    job = QuantizeJob(source, tmp_path / 'int8.xml', str(pictures), training=OPTIONS)
    with pytest.raises(CheckpointError, match='ReduceSum cannot be trained; quantize it without'):
        quantize(job, report=lambda line: None, quantizer=useless)
    assert list(tmp_path.iterdir()) == []
