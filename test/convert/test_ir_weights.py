"""Reading the weights of a network from an IR, in INT8 too, and refused files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from depth_anything_ros.errors import CheckpointError, ModelError
from depth_anything_ros.inference.devices import open_core
from depth_anything_ros.inference.ir import read_ir
from depth_anything_ros.networks.models import EncoderSpec
from depth_anything_ros.resources import shipped_model
import numpy as np
import pytest

torch = pytest.importorskip('torch')
openvino = pytest.importorskip('openvino')

from depth_anything_ros.convert.export import save_ir  # noqa: E402, I100
from depth_anything_ros.convert.parity.measure import card_input  # noqa: E402
from depth_anything_ros.convert.sources.ir_weights import read_ir_weights  # noqa: E402
from depth_anything_ros.distill.students import make_student  # noqa: E402
from depth_anything_ros.networks.depth_anything import build_network  # noqa: E402

# No graph has these: they are 0.
UNUSED = ('pretrained.mask_token', 'depth_head.scratch.refinenet4.resConfUnit1')
Change = Callable[['openvino.Model'], None]
Weights = dict[str, Any]


def test_another_network_is_refused(tiny_ir: Path) -> None:
    with pytest.raises(CheckpointError, match='it has no layer with weights at .* give an IR'):
        read_ir_weights(tiny_ir)
    with pytest.raises(ModelError, match='there is no such file'):
        read_ir_weights(tiny_ir.with_name('none.xml'))


def test_a_model_whose_network_is_gone_is_refused(
        tiny_conversion: tuple[Any, list[str]], tmp_path: Path) -> None:
    model, info = read_ir(openvino.Core(), tiny_conversion[0].path)
    save_ir(model, tmp_path / 'old.xml', replace(info, encoder='gone'))
    with pytest.raises(CheckpointError, match='no model is called gone; give an IR'):
        read_ir_weights(tmp_path / 'old.xml')


def test_a_student_starts_from_the_model_in_the_box() -> None:
    """In INT8 OpenVINO rounds more than the weights, so the depth is near, not the same."""
    student = make_student('tiny', shipped_model())
    image = card_input(student.input_spec.card_size_hw)
    compiled = open_core().compile_model(str(shipped_model()), 'CPU', {
        'INFERENCE_PRECISION_HINT': 'f32'})
    expected = compiled([image])[0]
    with torch.no_grad():
        found = student.network.eval()(torch.from_numpy(image)).numpy()
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.95
    assert student.wide is None
    assert all(value.requires_grad for value in student.network.parameters())
    with pytest.raises(CheckpointError, match='does not fit the student vitt'):
        make_student('vitt', shipped_model())


def error_of(found: Weights, expected: Weights, kinds: tuple[str, ...] = ('',)) -> float:
    """Return the largest difference, as a share of the largest value of its tensor."""
    assert found.keys() == expected.keys()
    assert all(not found[name].any() for name in found if name.startswith(UNUSED))
    return max(float((found[name] - value).abs().max() / value.abs().max())
               for name, value in expected.items()
               if not name.startswith(UNUSED) and name.endswith(kinds))


def test_all_weights_of_a_transformer_come_back_with_its_layer_scale(
        tiny_conversion: tuple[Any, list[str]], tiny: EncoderSpec,
        make_weights: Callable[..., Weights]) -> None:
    found = read_ir_weights(tiny_conversion[0].path, (tiny,))
    assert error_of(found, make_weights(tiny)) < 1e-5


def test_a_metric_v1_with_gated_blocks_in_fp16_comes_back(
        glu_conversion: tuple[Any, list[str]], table: tuple[EncoderSpec, ...],
        make_weights: Callable[..., Weights]) -> None:
    found = read_ir_weights(glu_conversion[0].path, table)
    assert 1e-5 < error_of(found, make_weights(table[1])) < 2e-3


def test_a_student_starts_from_the_ir_of_a_transformer(
        tiny_conversion: tuple[Any, list[str]], tiny: EncoderSpec,
        make_weights: Callable[..., Weights]) -> None:
    student = make_student('vitt', tiny_conversion[0].path,
                           table=(replace(tiny, name='vitt'), tiny))
    assert error_of(student.network.state_dict(), make_weights(tiny)) < 1e-5


def test_int8_weights_are_those_that_the_bits_stand_for(
        tiny_conversion: tuple[Any, list[str]], tiny: EncoderSpec,
        make_weights: Callable[..., Weights], tmp_path: Path) -> None:
    """The factors of SmoothQuant are gone again, so the weights are near those in f32."""
    pytest.importorskip('nncf')
    from depth_anything_ros.convert.quantize.quantizer import quantize_model
    model, info = read_ir(openvino.Core(), tiny_conversion[0].path)
    fixed = model.clone()
    fixed.reshape([1, 3, 70, 98])
    small = quantize_model(fixed, [card_input((70, 98)) * share for share in (1.0, 0.8, 0.6)])
    small.reshape(model.input(0).partial_shape)
    path = tmp_path / 'int8.xml'
    save_ir(small, path, replace(info, precision='int8'))
    found = read_ir_weights(path, (tiny,))
    expected = make_weights(tiny)
    matrices = 'qkv.weight', 'proj.weight', 'fc1.weight', 'fc2.weight', 'conv1.weight', 'gamma'
    assert 1e-4 < error_of(found, expected, matrices) < 0.03
    image = torch.from_numpy(card_input((70, 98)))
    depths = [build_network(tiny, 'v2', None, weights)(image) for weights in (found, expected)]
    assert (depths[0] - depths[1]).abs().mean() < 0.2 * depths[1].std()


def with_another_activation(model: 'openvino.Model') -> None:
    gelu = next(node for node in model.get_ordered_ops() if node.get_type_name() == 'Gelu')
    other = openvino.opset13.relu(gelu.input_value(0))
    for user in gelu.output(0).get_target_inputs():
        user.replace_source_output(other.output(0))


def with_one_block_less(model: 'openvino.Model') -> None:
    """Let the tokens pass the first block."""
    sums = [node for node in model.get_ordered_ops() if node.get_type_name() == 'Add'
            and len(node.output(0).get_target_inputs()) == 2]
    for user in sums[2].output(0).get_target_inputs():
        user.replace_source_output(sums[0].output(0))


@pytest.mark.parametrize(('change', 'message'), [
    (lambda model: model.reshape([1, 3, 70, 98]), 'its input size is fixed to 98x70, so its '),
    (with_another_activation, 'the weights found in it compute another depth'),
    (with_one_block_less, 'it has no (sum of two paths|layer with weights|branch)')])
def test_a_transformer_of_another_form_is_refused(
        tiny_conversion: tuple[Any, list[str]], tiny: EncoderSpec, change: Change, message: str,
        tmp_path: Path) -> None:
    model, info = read_ir(openvino.Core(), tiny_conversion[0].path)
    change(model)
    save_ir(model, tmp_path / 'changed.xml', info)
    with pytest.raises(CheckpointError, match=message):
        read_ir_weights(tmp_path / 'changed.xml', (tiny,))


def test_an_ir_of_other_sizes_is_refused(
        tiny_conversion: tuple[Any, list[str]], tiny: EncoderSpec) -> None:
    with pytest.raises(CheckpointError, match=r'the weight at .* instead of'):
        read_ir_weights(tiny_conversion[0].path, (replace(tiny, hidden=96),))
