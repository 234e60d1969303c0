"""The student tiny begins with the encoder of its teacher, at a small output."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.networks.models import (
    EncoderSpec, find_encoder, TINY_INPUT, VIT_INPUT)
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np
import pytest

torch = pytest.importorskip('torch')
for package in ('typer', 'openvino', 'onnx', 'onnxscript', 'onnxruntime', 'matplotlib'):
    pytest.importorskip(package)

from depth_anything_ros import load_model  # noqa: E402, I100
from depth_anything_ros.convert.sources.records import read_distillation_record  # noqa: E402
from depth_anything_ros.distill.job import default_rates  # noqa: E402
from depth_anything_ros.distill.main import main  # noqa: E402
from depth_anything_ros.distill.students import (  # noqa: E402
    make_student, nano_student, vit_student)
from depth_anything_ros.networks.depth_anything import (  # noqa: E402
    build_network, DepthAnything)

ENCODER = 'pretrained.'
Weights = dict[str, Any]


@pytest.fixture(scope='module')
def family(tiny: EncoderSpec, tiny_light: EncoderSpec) -> tuple[EncoderSpec, EncoderSpec]:
    """Return a teacher and a student called tiny with the same encoder."""
    size = replace(VIT_INPUT, size=tiny_light.input_spec.size)
    return replace(tiny, name='small', input_spec=size), replace(tiny_light, name='tiny')


@pytest.fixture
def teacher(tmp_path: Path, tiny: EncoderSpec, make_weights: Callable[..., Weights]) -> Path:
    """Return the checkpoint of a teacher."""
    path = tmp_path / 'teacher.pth'
    torch.save(make_weights(tiny, seed=3), path)
    return path


def encoder_of(weights: Weights) -> Weights:
    return {name: value for name, value in weights.items() if name.startswith(ENCODER)}


def equal(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) for name, value in one.items())


def test_tiny_has_the_encoder_of_vits_and_a_light_head() -> None:
    student = make_student('tiny')
    vits = find_encoder('vits')
    with torch.device('meta'):
        published = DepthAnything(vits, 'v2')
    shapes = {name: value.shape for name, value in published.pretrained.state_dict().items()}
    assert shapes == {name: value.shape for name, value in
                      student.network.pretrained.state_dict().items()}
    assert student.network.pretrained.blocks_read == published.pretrained.blocks_read
    assert student.network.spec.features < vits.features
    assert student.begins_as_teacher
    assert (student.input_spec, student.token_width) == (TINY_INPUT, 384)
    assert TINY_INPUT.output_hw((196, 266)) == (112, 152)


def test_its_encoder_rate_is_low_and_that_of_its_head_larger() -> None:
    encoder_rate, head_rate = default_rates('tiny')
    assert encoder_rate <= 2e-5 < head_rate
    assert default_rates('nano') == default_rates('vitt') == (1e-4, 5e-4)


def test_the_student_begins_with_exactly_the_encoder_of_its_teacher(
        teacher: Path, family: tuple[EncoderSpec, EncoderSpec]) -> None:
    student = make_student('tiny', seed=1, teacher=teacher, table=family)
    published = torch.load(teacher, weights_only=True)
    weights = student.network.state_dict()
    assert equal(encoder_of(weights), encoder_of(published))
    other = make_student('tiny', seed=2, teacher=teacher, table=family).network.state_dict()
    name = 'depth_head.scratch.output_conv1.weight'
    assert weights[name].shape != published[name].shape
    assert not torch.equal(weights[name], other[name])
    image = torch.randn(1, 3, 28, 42)
    expected = build_network(family[0], 'v2', None, published).pretrained(image)
    found = student.read_tokens(image)
    assert len(found) == 4
    assert all(torch.equal(one, two) for one, two in zip(found, expected))


def test_a_start_gives_the_encoder_or_the_whole_student(
        teacher: Path, family: tuple[EncoderSpec, EncoderSpec], tmp_path: Path,
        make_weights: Callable[..., Weights]) -> None:
    other, whole = tmp_path / 'other.pth', tmp_path / 'whole.pth'
    torch.save(make_weights(family[0], seed=4), other)
    torch.save(make_weights(family[1], seed=5), whole)
    begun = make_student('tiny', other, teacher=teacher, table=family).network.state_dict()
    assert equal(encoder_of(begun), encoder_of(torch.load(other, weights_only=True)))
    continued = make_student('tiny', whole, teacher=teacher, table=family).network.state_dict()
    assert equal(continued, torch.load(whole, weights_only=True))


def test_a_teacher_without_that_encoder_is_refused_with_the_remedy(
        tmp_path: Path, family: tuple[EncoderSpec, EncoderSpec], tiny_ir: Path,
        make_weights: Callable[..., Weights]) -> None:
    wider, nano = tmp_path / 'wider.pth', tmp_path / 'nano.pth'
    torch.save(make_weights(replace(family[0], width=60)), wider)
    torch.save(nano_student().network.state_dict(), nano)
    remedy = 'give a teacher with that encoder as a checkpoint, or begin with one: --start'
    for path, fact in ((wider, r'not that of the student tiny \(wrong shape: .*60\] instead of'),
                       (nano, 'its encoder is not that of the student tiny .missing'),
                       (tiny_ir, 'cannot be read from an ONNX file or an IR')):
        with pytest.raises(CheckpointError, match=f'{fact}.*{remedy}'):
            make_student('tiny', teacher=path, table=family)
    with pytest.raises(CheckpointError, match='it does not fit the student tiny'):
        make_student('tiny', wider, table=family)


def test_the_student_learns_from_the_map_that_the_host_will_make(
        tiny_light: EncoderSpec) -> None:
    torch.manual_seed(0)
    student = vit_student(tiny_light)
    with torch.no_grad():
        student.network.depth_head.scratch.output_conv2[-2].bias.fill_(50.0)
        image = torch.randn(1, 3, 28, 42)
        depth = student.predict(image)[0][0].numpy()
        output = student.network.eval()(image)[0].numpy()
    assert (output.shape, depth.shape) == ((16, 24), (28, 42))
    assert output.min() > 0
    assert np.allclose(depth, resize_depth(output, (28, 42)), atol=1e-4)


@pytest.fixture
def line(tmp_path: Path, teacher: Path) -> list[str]:
    """Return a short command for twelve small images."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        coarse = rng.integers(0, 255, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f'{number}.png'), cv2.resize(coarse, (64, 48)))
    return [str(teacher), str(folder), '-o', str(tmp_path / 'mine.xml'), '--student', 'tiny',
            '--kind', 'relative', '--model-version', 'v2', '--batch', '2', '--crop', '28x42',
            '--steps', '4', '--hold-out', '4', '--device', 'cpu']


def test_the_command_makes_a_model_that_runs(
        line: list[str], family: tuple[EncoderSpec, EncoderSpec], tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*line, '--matching', '2'], family) == 0
    out, err = capsys.readouterr()
    assert err == ''
    assert 'student: tiny, 4 steps of 2 crops of 42x28' in out
    assert "the first 2 steps match the student's tokens to the teacher's" in out
    record = read_distillation_record(tmp_path / 'mine.pth')
    assert record is not None and record.student == 'tiny'
    assert (record.recipe['matching'], record.recipe['alignment_weight']) == (2, 0)
    assert (record.recipe['encoder_rate'], record.recipe['head_rate']) == default_rates('tiny')
    # Four small steps leave the encoder near that of the teacher.
    found, first = (torch.load(tmp_path / f'{name}.pth', weights_only=True)
                    for name in ('mine', 'teacher'))
    name = 'pretrained.blocks.2.attn.qkv.weight'
    assert 0 < (found[name] - first[name]).abs().max() < 1e-3
    with load_model(tmp_path / 'mine.xml', precision='f32') as model:
        depth = model.infer(np.full((48, 64, 3), 90, np.uint8))
        assert model.info.encoder == 'tiny' and model.info.output_multiple == 8
    assert depth.shape == (48, 64)


@pytest.mark.parametrize(('more', 'message'), [
    (['--matching', '4'], 'parameter --matching is 4; it must be less than the 4 steps'),
    (['--matching', '1', '--student', 'nano', '--crop', '32'],
     'parameter --matching is 1; it must be 0: the student nano has no tokens')])
def test_matching_that_is_impossible_ends_before_the_labels(
        line: list[str], family: tuple[EncoderSpec, EncoderSpec], more: list[str], message: str,
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(nano_student().network.state_dict(), tmp_path / 'start.pth')
    start = ['--start', str(tmp_path / 'start.pth')] if 'nano' in more else []
    assert main([*line, *more, *start], family) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'mine.distill').exists()


def test_the_tokens_of_an_ir_cannot_be_matched(
        line: list[str], teacher: Path, tiny_ir: Path, family: tuple[EncoderSpec, EncoderSpec],
        capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tiny_ir), *line[1:], '--start', str(teacher), '--matching', '1'],
                family) == 1
    assert 'a teacher that is an ONNX file or an IR cannot be read' in capsys.readouterr().err
