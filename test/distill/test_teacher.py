"""Teachers: any model labels an image with inverse depth."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from depth_anything_ros.convert.sources.identity import Overrides
from depth_anything_ros.errors import CheckpointError, DepthAnythingError
from depth_anything_ros.networks.models import EncoderSpec
from depth_anything_ros.vision.self_check import self_check_image
from foreign import CHANNEL_WEIGHTS, write_facts, write_network
import numpy as np
from numpy.testing import assert_allclose
import pytest
from tiny import weighted_sum, write_tiny_ir

for package in ('torch', 'openvino', 'rich'):
    pytest.importorskip(package)

from depth_anything_ros.convert.conversion import Conversion, convert, Job  # noqa: E402, I100
from depth_anything_ros.convert.export import save_ir  # noqa: E402
from depth_anything_ros.convert.sources.load_network import load_network  # noqa: E402
from depth_anything_ros.distill.teacher import (  # noqa: E402
    in_torch, open_teacher, source_sha256, Teacher, TeacherOptions)
from depth_anything_ros.inference.engine import Engine  # noqa: E402

FLAT = np.full((48, 64, 3), (30, 60, 200), np.uint8)
Open = Callable[..., Teacher]


def silent(line: str) -> None:
    pass


@pytest.fixture
def opened() -> Iterator[Open]:
    """Return ``open_teacher``; the teachers are closed after the test."""
    with ExitStack() as stack:
        def do(*args: Any, **options: Any) -> Teacher:
            teacher = open_teacher(*args, **options)
            stack.callback(teacher.close)
            return teacher

        yield do


def make_teacher(infer: Callable[[np.ndarray, int], np.ndarray], **changes: Any) -> Teacher:
    """Return a relative teacher whose network is a function."""
    return replace(Teacher('teacher.pth', '0' * 64, 'Apache-2.0', 'relative', (42,), False,
                           infer), **changes)


def test_an_ir_labels_an_image_with_inverse_depth_of_its_size(
        tiny_ir: Path, tmp_path: Path, opened: Open) -> None:
    teacher = opened(tiny_ir, Overrides(), TeacherOptions(tmp_path))
    label = teacher.label(FLAT)
    assert (label.shape, label.dtype) == ((48, 64), np.float32)
    assert_allclose(label, weighted_sum(FLAT), rtol=0.03)
    assert (teacher.name, teacher.licence, teacher.sizes) == ('tiny.pth', 'Apache-2.0', (112,))
    assert teacher.sha256 == source_sha256(tiny_ir)
    assert not list(tmp_path.iterdir())


def test_the_label_of_a_metric_teacher_is_one_over_its_depth(
        make_ir: Callable[..., Path], tmp_path: Path, opened: Open) -> None:
    teacher = opened(make_ir(kind='metric', max_depth_m=20.0), Overrides(),
                     TeacherOptions(tmp_path))
    assert_allclose(teacher.label(FLAT), 1 / weighted_sum(FLAT), rtol=0.03)
    assert np.isfinite(teacher.label(np.zeros_like(FLAT))).all()


def test_with_flip_a_mirrored_image_has_the_mirrored_label() -> None:
    ramp = np.linspace(1, 2, 56, dtype=np.float32)

    def infer(image_bgr: np.ndarray, size: int) -> np.ndarray:
        return image_bgr[..., 0].astype(np.float32) * ramp

    image = np.random.default_rng(0).integers(0, 255, (42, 56, 3), np.uint8)
    mirrored = np.ascontiguousarray(image[:, ::-1])
    once, both = make_teacher(infer), make_teacher(infer, flip=True)
    assert not np.allclose(once.label(mirrored), once.label(image)[:, ::-1])
    assert_allclose(both.label(mirrored), both.label(image)[:, ::-1], rtol=1e-6)
    assert_allclose(both.label(image), 1.5 * image[..., 0], rtol=1e-5)


def test_the_maps_of_several_input_sizes_are_averaged() -> None:
    def infer(image_bgr: np.ndarray, size: int) -> np.ndarray:
        return np.full((size, size), size, np.float32)

    assert_allclose(make_teacher(infer, sizes=(42, 56)).label(FLAT), (42 + 56) / 2)


def test_a_model_with_a_fixed_size_labels_any_image(
        make_ir: Callable[..., Path], tmp_path: Path, opened: Open) -> None:
    fixed = make_ir(fixed_size_hw=(70, 98))
    label = opened(fixed, Overrides(), TeacherOptions(tmp_path)).label(FLAT)
    assert_allclose(label, weighted_sum(FLAT), rtol=0.03)
    with pytest.raises(CheckpointError, match='size is fixed to 98x70; leave out --sizes'):
        open_teacher(fixed, Overrides(), TeacherOptions(tmp_path, sizes=(98,)))


@pytest.fixture
def conversions(tiny_conversion: tuple[Conversion, list[str]],
                monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Let each conversion write the IR of the tiny network, and return the jobs."""
    import openvino
    made, _ = tiny_conversion
    jobs: list[Job] = []

    def write_ir(job: Job, *, table: tuple[EncoderSpec, ...], report: Any) -> None:
        jobs.append(job)
        job.output.parent.mkdir(exist_ok=True)
        save_ir(openvino.Core().read_model(made.path), job.output,
                replace(made.info, kind=job.overrides.kind, max_depth_m=job.overrides.max_depth_m))

    monkeypatch.setattr('depth_anything_ros.distill.teacher.convert', write_ir)
    return jobs


def test_a_checkpoint_is_converted_once_and_labels_as_in_pytorch(
        tmp_path: Path, tiny_conversion: tuple[Conversion, list[str]], conversions: list[Job],
        tiny: EncoderSpec, opened: Open) -> None:
    checkpoint = tiny_conversion[0].path.parent.with_name('mine.pth')
    overrides = Overrides('relative', 'v2')
    options = TeacherOptions(tmp_path / 'work', sizes=(70,))
    teacher = opened(checkpoint, overrides, options, table=(tiny,), report=silent)
    again = opened(checkpoint, overrides, options, table=(tiny,), report=silent)
    assert [(job.source, job.overrides) for job in conversions] == [(checkpoint, overrides)]
    network = load_network(checkpoint, overrides, (tiny,)).network
    in_pytorch = replace(again, infer=in_torch(network, 'relative', 'cpu'))
    card = self_check_image((70, 98))
    expected = in_pytorch.label(card)
    assert abs(teacher.label(card) - expected).max() < 0.1 * expected.std()
    metric = Overrides('metric', 'v2', 20.0)
    other = opened(checkpoint, metric, options, table=(tiny,), report=silent)
    assert (other.kind, other.sha256) == ('metric', teacher.sha256)
    assert [job.overrides for job in conversions] == [overrides, metric]


def test_an_ir_without_metadata_is_a_teacher_when_options_say_what_it_is(
        tmp_path: Path, opened: Open) -> None:
    bare = write_tiny_ir(tmp_path, metadata=False)
    options = TeacherOptions(tmp_path / 'work', sizes=(98,))
    with pytest.raises(CheckpointError, match='add --kind relative or'):
        open_teacher(bare, Overrides(), options, report=silent)
    teacher = opened(bare, Overrides('relative', 'v2'), options, report=silent)
    assert_allclose(teacher.label(FLAT), weighted_sum(FLAT), rtol=0.03)


def test_the_latest_four_image_sizes_stay_compiled(
        tiny_ir: Path, tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[int] = []
    compile_graph = Engine._compile

    def count(engine: Engine, device: str, network_hw: tuple[int, int], *rest: Any) -> Any:
        compiled.append(network_hw[1])
        return compile_graph(engine, device, network_hw, *rest)

    monkeypatch.setattr(Engine, '_compile', count)
    infer = opened(tiny_ir, Overrides(), TeacherOptions(tmp_path)).infer
    for side in (14, 28, 42, 56, 14, 70, 14, 28):
        infer(np.zeros((14, side, 3), np.uint8), 14)
    # The first compilation is that of the self-check.
    assert compiled[1:] == [14, 28, 42, 56, 70, 28]


def test_a_missing_teacher_is_named(tmp_path: Path) -> None:
    for name in ('none.pth', 'none.xml', 'none.onnx'):
        with pytest.raises(DepthAnythingError, match=f'{name}: there is no such file'):
            open_teacher(tmp_path / name, Overrides(), TeacherOptions(tmp_path))


@pytest.mark.parametrize(('gives', 'metres', 'kind'), [
    ('linear', False, 'relative'), ('exp', True, 'metric')])
def test_a_described_network_teaches_inverse_depth_of_the_image_without_its_borders(
        tmp_path: Path, opened: Open, gives: str, metres: bool, kind: str) -> None:
    """Depth of a letterbox of 64x64, with a normalisation of its own and a smaller map."""
    for package in ('onnx', 'onnxruntime', 'yaml'):
        pytest.importorskip(package)
    mean, std = [0.4, 0.3, 0.2], [0.5, 0.25, 0.5]
    source = write_network(tmp_path / 'other.onnx', {'y': gives}, shape=(1, 3, 64, 64), stride=4)
    facts = write_facts(tmp_path / 'other.yaml', output='depth', metres=metres, mean=mean,
                        std=std, resize='letterbox', licence='AGPL-3.0', multiple=None, size=None)
    with pytest.raises(CheckpointError, match=r'its kind is unknown.*describe .* with '
                       r'depth_anything_convert convert other\.onnx --describe FILE\.yaml'):
        open_teacher(source, Overrides(), TeacherOptions(tmp_path / 'work'), report=silent)
    model = convert(Job(source, tmp_path / 'other.xml', 'fp32', describe=facts),
                    report=silent).path
    teacher = opened(model, Overrides(), TeacherOptions(tmp_path / 'work', flip=True))
    assert (teacher.kind, teacher.licence) == (kind, 'AGPL-3.0')
    image = np.full((32, 128, 3), (90, 120, 160), np.uint8)
    image[:, 64:] = (140, 200, 220)
    label = teacher.label(image)
    assert label.shape == (32, 128)
    normalised = ((image[..., ::-1] / 255 - mean) / std) @ CHANNEL_WEIGHTS
    depth = normalised + 1 if gives == 'linear' else np.exp(normalised - 3)
    # A map of 4x16 is resized to the image, so that only the columns between the halves differ.
    for columns in (slice(0, 56), slice(72, 128)):
        assert_allclose(label[:, columns], 1 / depth[:, columns], rtol=0.03)
    assert label[0, 0] > 1.5 * label[0, -1]
