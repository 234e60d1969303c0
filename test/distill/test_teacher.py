"""Teachers: any model gives pictures their inverse depth."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from depth_anything_ros.convert.sources.identity import Overrides
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.networks.models import EncoderSpec
from depth_anything_ros.vision.self_check import self_check_image
import numpy as np
from numpy.testing import assert_allclose
import pytest
from tiny import weighted_sum, write_tiny_ir

for package in ('torch', 'openvino', 'rich'):
    pytest.importorskip(package)

from depth_anything_ros.distill import teacher  # noqa: E402, I100
from depth_anything_ros.distill.teacher import (  # noqa: E402
    open_teacher, source_sha256, Teacher, TeacherOptions)

FLAT = np.full((48, 64, 3), (30, 60, 200), np.uint8)


def silent(line: str) -> None:
    pass


def make_teacher(compute: Callable[[np.ndarray], np.ndarray], **changes: Any) -> Teacher:
    """Return a relative teacher whose network is a function."""
    return replace(Teacher('teacher.pth', '0' * 64, 'Apache-2.0', 'relative', 14, None, (42,),
                           False, compute), **changes)


def test_an_ir_labels_a_picture_with_inverse_depth_of_its_size(
        tiny_ir: Path, tmp_path: Path) -> None:
    teacher = open_teacher(tiny_ir, Overrides(), TeacherOptions(tmp_path))
    label = teacher.label(FLAT)
    assert (label.shape, label.dtype) == ((48, 64), np.float32)
    assert_allclose(label, weighted_sum(FLAT), rtol=0.03)
    assert (teacher.name, teacher.licence, teacher.sizes) == ('tiny.pth', 'Apache-2.0', (112,))
    assert teacher.sha256 == source_sha256(tiny_ir)
    assert not list(tmp_path.iterdir())


def test_the_label_of_a_metric_teacher_is_one_over_its_depth(
        make_ir: Callable[..., Path], tmp_path: Path) -> None:
    teacher = open_teacher(make_ir(kind='metric', max_depth_m=20.0), Overrides(),
                           TeacherOptions(tmp_path))
    assert_allclose(teacher.label(FLAT), 1 / weighted_sum(FLAT), rtol=0.03)
    assert np.isfinite(teacher.label(np.zeros_like(FLAT))).all()


def test_with_flip_a_mirrored_picture_has_the_mirrored_label() -> None:
    ramp = np.linspace(1, 2, 56, dtype=np.float32)

    def compute(picture: np.ndarray) -> np.ndarray:
        return picture[..., 0].astype(np.float32) * ramp

    picture = np.random.default_rng(0).integers(0, 255, (42, 56, 3), np.uint8)
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    once, both = make_teacher(compute), make_teacher(compute, flip=True)
    assert not np.allclose(once.label(mirrored), once.label(picture)[:, ::-1])
    assert_allclose(both.label(mirrored), both.label(picture)[:, ::-1], rtol=1e-6)
    assert_allclose(both.label(picture), 1.5 * picture[..., 0], rtol=1e-5)


def test_the_maps_of_several_input_sizes_are_averaged() -> None:
    def compute(picture: np.ndarray) -> np.ndarray:
        return np.full(picture.shape[:2], picture.shape[0], np.float32)

    assert_allclose(make_teacher(compute, sizes=(42, 56)).label(FLAT), (42 + 56) / 2)


def test_a_model_of_one_size_is_given_pictures_of_that_size(
        make_ir: Callable[..., Path], tmp_path: Path) -> None:
    fixed = make_ir(fixed_size_hw=(70, 98))
    label = open_teacher(fixed, Overrides(), TeacherOptions(tmp_path)).label(FLAT)
    assert_allclose(label, weighted_sum(FLAT), rtol=0.03)
    with pytest.raises(CheckpointError, match='it takes 98x70 only; leave out --sizes'):
        open_teacher(fixed, Overrides(), TeacherOptions(tmp_path, sizes=(98,)))


def test_a_checkpoint_becomes_an_ir_once_and_answers_as_in_pytorch(
        tmp_path: Path, save_checkpoint: Callable[..., Path], tiny: EncoderSpec) -> None:
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(name)
    from depth_anything_ros.convert.sources.load_network import load_network
    checkpoint, overrides = save_checkpoint('mine.pth'), Overrides('relative', 'v2')
    options = TeacherOptions(tmp_path / 'work', sizes=(70,))
    lines: list[str] = []
    teacher = open_teacher(checkpoint, overrides, options, table=(tiny,), report=lines.append)
    (made,) = (tmp_path / 'work').glob('*.xml')
    before = made.stat().st_mtime_ns
    again = open_teacher(checkpoint, overrides, options, table=(tiny,), report=lines.append)
    assert made.stat().st_mtime_ns == before
    assert len([line for line in lines if 'PyTorch to ONNX' in line]) == 1
    network = load_network(checkpoint, overrides, (tiny,)).network
    in_torch = replace(again, compute=teacher.with_torch(network, 'cpu'))
    card = self_check_image((70, 98))
    expected = in_torch.label(card)
    assert abs(teacher.label(card) - expected).max() < 0.1 * expected.std()
    other = open_teacher(checkpoint, Overrides('metric', 'v2', 20.0), options, table=(tiny,),
                         report=silent)
    assert (other.kind, other.sha256) == ('metric', teacher.sha256)


def test_an_ir_without_metadata_is_a_teacher_when_options_say_what_it_is(tmp_path: Path) -> None:
    bare = write_tiny_ir(tmp_path, metadata=False)
    options = TeacherOptions(tmp_path / 'work', sizes=(98,))
    with pytest.raises(CheckpointError, match='add --kind relative or'):
        open_teacher(bare, Overrides(), options, report=silent)
    teacher = open_teacher(bare, Overrides('relative', 'v2'), options, report=silent)
    assert_allclose(teacher.label(FLAT), weighted_sum(FLAT), rtol=0.03)


def test_the_sizes_used_last_stay_compiled(
        tiny_ir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[tuple[int, ...]] = []
    compile_it = teacher._compile

    def count(path: Path, size: tuple[int, ...]) -> Any:
        compiled.append(size)
        return compile_it(path, size)

    monkeypatch.setattr(teacher, '_compile', count)
    compute = open_teacher(tiny_ir, Overrides(), TeacherOptions(tmp_path)).compute
    for side in (14, 28, 42, 56, 14, 70, 14, 28):
        compute(np.zeros((14, side, 3), np.uint8))
    assert [width for _, width in compiled] == [14, 28, 42, 56, 70, 28]


def test_a_teacher_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name in ('none.pth', 'none.xml', 'none.onnx'):
        with pytest.raises(CheckpointError, match=f'{name}: there is no such file'):
            open_teacher(tmp_path / name, Overrides(), TeacherOptions(tmp_path))
