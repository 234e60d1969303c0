"""An IR passes verification if it computes correctly, and only then."""

from collections.abc import Callable
from pathlib import Path
import shutil
from typing import Any

from depth_anything_ros.convert.sources.records import sha256_of
from depth_anything_ros.errors import CheckpointError, ModelError
from depth_anything_ros.model_info import SECTION
from depth_anything_ros.networks.models import EncoderSpec
import pytest
from tiny import write_weighted_sum

openvino = pytest.importorskip('openvino')

from depth_anything_ros.convert.parity.measure import (  # noqa: E402, I100
    DEVICE_LIMITS, Limits, ParityRow)
from depth_anything_ros.convert.parity.verify import verify  # noqa: E402

SIZE_HW = (70, 98)
SIZES_HW = (SIZE_HW, (42, 56))


def test_a_sound_ir_passes_at_every_size_and_on_its_self_check(tiny_ir: Path) -> None:
    found = verify(tiny_ir, sizes_hw=SIZES_HW)
    assert found.verdict == 'PASS'
    name = f'CPU {found.precision} against'
    assert [(check.name, check.size_hw) for check in found.checks] == [
        (f'{name} CPU f32', SIZES_HW[0]), (f'{name} CPU f32', SIZES_HW[1]),
        (f'{name} the self-check', (196, 252))]
    assert all(check.mean_error is not None and check.mean_error < 0.02 for check in found.checks)
    assert all(check.pearson > 0.999 and check.abs_rel < 0.01 for check in found.checks[:2])


def test_without_sizes_those_of_the_network_are_compared(make_ir: Callable[..., Path]) -> None:
    found = verify(make_ir(patch_multiple=32, input_size=128))
    assert found.verdict == 'PASS'
    assert [check.size_hw for check in found.checks] == [(128, 128), (96, 128), (196, 252)]


def test_the_chosen_precision_is_the_one_that_runs(tiny_ir: Path) -> None:
    found = verify(tiny_ir, precision='f32', sizes_hw=[SIZE_HW])
    assert found.precision == 'f32'
    assert found.checks[0].max_error == 0
    assert found.checks[1].mean_error < 1e-5


def test_an_ir_that_fails_its_self_check_fails(make_ir: Callable[..., Path]) -> None:
    found = verify(make_ir(wrong_check=True), sizes_hw=[SIZE_HW])
    assert found.checks[0].passed
    assert found.verdict == f'FAIL: {found.checks[1].name} at 252x196'


def test_an_output_that_is_no_number_never_passes(make_ir: Callable[..., Path]) -> None:
    found = verify(make_ir(gain=float('nan')), sizes_hw=[SIZE_HW])
    assert [check.passed for check in found.checks] == [False, False]
    assert [check.mean_error for check in found.checks] == [None, None]


@pytest.mark.parametrize(('errors', 'passed'), [
    ({'mean_error': 0.099, 'abs_rel': 0.029}, True), ({'mean_error': 0.101, 'abs_rel': 0}, False),
    ({'mean_error': 0, 'abs_rel': 0.031}, False), ({'mean_error': 0}, False)])
def test_every_error_that_has_a_limit_is_judged(errors: dict[str, float], passed: bool) -> None:
    assert ParityRow('any', SIZE_HW, DEVICE_LIMITS, **errors).passed == passed


def test_an_ir_of_one_size_is_checked_at_that_size(make_ir: Callable[..., Path]) -> None:
    path = make_ir(fixed_size_hw=SIZE_HW)
    assert verify(path).checks[0].size_hw == SIZE_HW
    with pytest.raises(ModelError, match='its input is 98x70 only; leave out --sizes'):
        verify(path, sizes_hw=[(42, 56)])


def test_what_cannot_be_verified_is_named(make_ir: Callable[..., Path], tiny_ir: Path) -> None:
    with pytest.raises(ModelError, match='sees no device TPU; use one of CPU'):
        verify(tiny_ir, device='TPU')
    with pytest.raises(ModelError, match='the sides of 100x70 are not multiples of 14'):
        verify(tiny_ir, sizes_hw=[(70, 100)])
    with pytest.raises(ModelError, match='a side of 70x14000000 has more than 16384 pixels'):
        verify(tiny_ir, sizes_hw=[(14000000, 70)])
    with pytest.raises(ModelError, match='no depth_anything metadata; add it with'):
        verify(make_ir(metadata=False))
    with pytest.raises(ModelError, match='there is no such file'):
        verify(tiny_ir.with_name('none.xml'))


def test_an_ir_that_openvino_cannot_read_is_named(make_ir: Callable[..., Path]) -> None:
    path = make_ir()
    path.write_text(path.read_text().replace('type="ReduceSum"', 'type="Nonsense"'))
    with pytest.raises(ModelError, match='OpenVINO cannot read it .*Nonsense'):
        verify(path)


@pytest.mark.parametrize(('gain', 'verdict'), [
    (1.0, 'PASS'), (1.01, 'FAIL: CPU f32 against ONNX Runtime at 98x70')])
def test_an_onnx_file_is_a_source_too(
        make_ir: Callable[..., Path], tmp_path: Path, gain: float, verdict: str) -> None:
    pytest.importorskip('torch')
    pytest.importorskip('onnxruntime')
    source = write_weighted_sum(tmp_path / 'tiny.onnx', gain)
    found = verify(make_ir(source_sha256=sha256_of([source])), source=source, sizes_hw=[SIZE_HW])
    assert (found.verdict, found.notes) == (verdict, ())


def test_an_ir_is_a_source_too(make_ir: Callable[..., Path], tiny_ir: Path) -> None:
    pytest.importorskip('torch')
    other = make_ir(gain=1.5)
    found = verify(tiny_ir, source=other, sizes_hw=[SIZE_HW])
    assert found.verdict == 'FAIL: CPU f32 against OpenVINO at 98x70'
    assert found.notes[0].startswith('the IR was made from another file: its sha256 is 000000')
    assert verify(tiny_ir, source=tiny_ir, sizes_hw=[SIZE_HW]).verdict == 'PASS'


@pytest.fixture
def network_ir(tiny_conversion: tuple[Any, list[str]], tmp_path: Path) -> tuple[Path, Path]:
    """Return a checkpoint and a copy of the IR of its network in fp32."""
    made = tiny_conversion[0].path
    for suffix in ('.xml', '.bin'):
        shutil.copy(made.with_suffix(suffix), tmp_path / f'mine{suffix}')
    return made.parent.with_name('mine.pth'), tmp_path / 'mine.xml'


def rewritten(path: Path, **changes: str) -> Path:
    """Change entries of an IR's metadata; the values are JSON texts."""
    model = openvino.Core().read_model(path)
    for key, text in changes.items():
        model.set_rt_info(text, [SECTION, key])
    copy = path.with_name('changed.xml')
    openvino.save_model(model, copy, compress_to_fp16=False)
    return copy


def test_the_checkpoint_of_an_ir_confirms_it(
        network_ir: tuple[Path, Path], tiny: EncoderSpec) -> None:
    checkpoint, path = network_ir
    found = verify(path, source=checkpoint, sizes_hw=[SIZE_HW], table=(tiny,))
    assert (found.verdict, found.notes) == ('PASS', ())
    first = found.checks[0]
    assert (first.name, first.limits) == ('CPU f32 against PyTorch', Limits(max_error=1e-3))
    assert first.max_error is not None and 0 < first.max_error < 1e-4


def test_other_weights_and_another_version_do_not_confirm_it(
        network_ir: tuple[Path, Path], tiny: EncoderSpec, tmp_path: Path,
        make_weights: Callable[..., dict[str, Any]]) -> None:
    torch = pytest.importorskip('torch')
    checkpoint, path = network_ir
    torch.save(make_weights(tiny, seed=1), tmp_path / 'other.pth')
    found = verify(path, source=tmp_path / 'other.pth', sizes_hw=[SIZE_HW], table=(tiny,))
    assert found.verdict.startswith('FAIL: CPU f32 against PyTorch')
    assert 'was made from another file' in found.notes[0]
    found = verify(rewritten(path, model_version='"v1"'), source=checkpoint, sizes_hw=[SIZE_HW],
                   table=(tiny,))
    assert found.verdict.startswith('FAIL: CPU f32 against PyTorch') and not found.notes


def test_an_int8_ir_may_differ_from_its_checkpoint_as_much_as_a_device_may(
        network_ir: tuple[Path, Path], tiny: EncoderSpec) -> None:
    checkpoint, path = network_ir
    found = verify(rewritten(path, precision='"int8"'), source=checkpoint, sizes_hw=[SIZE_HW],
                   table=(tiny,))
    assert found.checks[0].limits == DEVICE_LIMITS and found.verdict == 'PASS'


def test_a_source_that_cannot_be_the_one_is_named(
        network_ir: tuple[Path, Path], tiny: EncoderSpec, tmp_path: Path) -> None:
    torch = pytest.importorskip('torch')
    checkpoint, path = network_ir
    with pytest.raises(CheckpointError, match='it is tiny and the IR is vits'):
        verify(rewritten(path, encoder='"vits"'), source=checkpoint, table=(tiny,))
    torch.save({'fc.weight': torch.zeros(2)}, tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match='it is not a Depth Anything checkpoint'):
        verify(path, source=tmp_path / 'other.pth', table=(tiny,))
