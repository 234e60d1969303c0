"""Reading the weights of a student from an IR: the model in the box, and refused files."""

from collections.abc import Callable
from pathlib import Path

from depth_anything_ros.errors import CheckpointError, ModelError
from depth_anything_ros.inference.devices import open_core
from depth_anything_ros.resources import shipped_model
import numpy as np
import pytest

torch = pytest.importorskip('torch')
openvino = pytest.importorskip('openvino')

from depth_anything_ros.convert.parity.measure import card_input  # noqa: E402, I100
from depth_anything_ros.distill.ir_weights import read_nano_ir  # noqa: E402
from depth_anything_ros.distill.students import make_student  # noqa: E402

HW = (96, 160)
Change = Callable[['openvino.Model'], None]


def weight_named(model: 'openvino.Model', name: str) -> 'openvino.Node':
    return next(node for node in model.get_ops() if node.get_friendly_name() == name)


def write_changed(folder: Path, change: Change) -> Path:
    """Write a changed copy of the model in the box."""
    path = folder / 'changed.xml'
    model = openvino.Core().read_model(shipped_model())
    change(model)
    openvino.save_model(model, path, compress_to_fp16=False)
    return path


def test_a_student_starts_from_the_model_in_the_box() -> None:
    """It computes the same as OpenVINO, at a size that the reader did not compare."""
    student = make_student('nano', shipped_model())
    image = card_input(HW, student.input_spec)
    compiled = open_core().compile_model(str(shipped_model()), 'CPU', {
        'INFERENCE_PRECISION_HINT': 'f32'})
    expected = compiled([image])[0]
    with torch.no_grad():
        found = student.network(torch.from_numpy(image)).numpy()
    assert expected.std() > 0.1
    assert np.abs(found - expected).max() < 1e-3 * expected.std()
    assert all(value.requires_grad for value in student.network.parameters())


def test_the_model_in_the_box_does_not_fit_another_student() -> None:
    with pytest.raises(CheckpointError, match='does not fit the student vitt'):
        make_student('vitt', shipped_model())


def test_another_network_is_refused(tiny_ir: Path) -> None:
    with pytest.raises(CheckpointError, match='does not describe a nano .* give a nano IR'):
        read_nano_ir(tiny_ir)
    with pytest.raises(ModelError, match='there is no such file'):
        read_nano_ir(tiny_ir.with_name('none.xml'))


def without_a_name(model: 'openvino.Model') -> None:
    weight_named(model, 'head.lateral.2.weight_compressed').set_friendly_name('x')


def with_exchanged_names(model: 'openvino.Model') -> None:
    names = [f'head.fusions.{number}.path.conv1.weight_compressed' for number in (2, 3)]
    for node, name in zip([weight_named(model, name) for name in names], reversed(names)):
        node.set_friendly_name(name)


def with_eight_bits(model: 'openvino.Model') -> None:
    weight = weight_named(model, 'head.fusions.3.path.conv1.weight_compressed')
    small = openvino.opset13.constant(np.zeros(weight.shape, np.int8))
    for user in weight.output(0).get_target_inputs():
        user.replace_source_output(small.output(0))


@pytest.mark.parametrize(('change', 'message'), [
    (without_a_name, r'it has no convolution called head\.lateral\.2\.weight'),
    (with_exchanged_names, 'the weights found in it compute another depth'),
    (with_eight_bits, 'its weights are int8; give a nano IR in fp16 or fp32')])
def test_weights_that_cannot_be_read_with_certainty_are_refused(
        tmp_path: Path, change: Change, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_nano_ir(write_changed(tmp_path, change))
