"""The student tiny begins as its teacher, with fewer neurons and a smaller output."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.networks.models import EncoderSpec, find_encoder, TINY_INPUT
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np
import pytest

torch = pytest.importorskip('torch')
for package in ('typer', 'openvino', 'onnx', 'onnxscript', 'onnxruntime', 'matplotlib'):
    pytest.importorskip(package)

from depth_anything_ros import load_model  # noqa: E402, I100
from depth_anything_ros.convert.sources.records import read_distillation_record  # noqa: E402
from depth_anything_ros.distill import (  # noqa: E402
    distill as distilling, trainer as trainer_module)
from depth_anything_ros.distill.batches import normalized  # noqa: E402
from depth_anything_ros.distill.dataset import LabelledImage  # noqa: E402
from depth_anything_ros.distill.job import default_recipe, Recipe  # noqa: E402
from depth_anything_ros.distill.main import main  # noqa: E402
from depth_anything_ros.distill.students import (  # noqa: E402
    make_student, narrow_student, vit_student)
from depth_anything_ros.distill.trainer import computes_in_bf16, Trainer  # noqa: E402
from depth_anything_ros.inference.devices import has_bf16  # noqa: E402
from depth_anything_ros.networks.depth_anything import (  # noqa: E402
    build_network, DepthAnything)
from depth_anything_ros.networks.narrowing import narrow_feed_forward  # noqa: E402

Weights = dict[str, Any]


@pytest.fixture
def teacher(tmp_path: Path, tiny: EncoderSpec, make_weights: Callable[..., Weights]) -> Path:
    """Return the checkpoint of a teacher."""
    path = tmp_path / 'teacher.pth'
    torch.save(make_weights(tiny, seed=3), path)
    return path


def equal(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) for name, value in one.items())


def test_tiny_is_vits_with_fewer_neurons() -> None:
    student = make_student('tiny')
    with torch.device('meta'):
        published = DepthAnything(find_encoder('vits'), 'v2')
    shapes = {name: value.shape for name, value in published.state_dict().items()}
    found = {name: value.shape for name, value in student.network.state_dict().items()}
    assert found.keys() == shapes.keys()
    assert {name.split('.', 3)[3] for name in found if found[name] != shapes[name]} == {
        'mlp.fc1.weight', 'mlp.fc1.bias', 'mlp.fc2.weight'}
    assert found['pretrained.blocks.0.mlp.fc1.weight'] == (1152, 384)
    assert student.network.pretrained.blocks_read == published.pretrained.blocks_read
    assert student.begins_as_teacher and student.wide is None
    assert student.input_spec == TINY_INPUT


def test_crop_and_rates_suit_the_student() -> None:
    tiny, vitt = default_recipe('tiny', 100), default_recipe('vitt', 100)
    assert tiny.crop_hw == TINY_INPUT.sizes_hw[-1] == (196, 266)
    assert (tiny.steps, tiny.encoder_rate, tiny.head_rate) == (100, 2e-5, 1e-4)
    assert (vitt.crop_hw, vitt.encoder_rate, vitt.head_rate) == ((196, 252), 1e-4, 5e-4)


@pytest.fixture
def images(tmp_path: Path) -> list[LabelledImage]:
    """Return some photographs with a label each."""
    rng = np.random.default_rng(0)
    result = []
    for number in range(6):
        image = LabelledImage(tmp_path / f'{number}.png', tmp_path / f'{number}.npy')
        coarse = rng.integers(0, 255, (5, 7, 3), np.uint8)
        cv2.imwrite(str(image.image), cv2.resize(coarse, (112, 84), interpolation=cv2.INTER_CUBIC))
        np.save(image.label, np.zeros((84, 112), np.float16))
        result.append(image)
    return result


def test_the_student_begins_as_its_teacher_on_these_images(
        teacher: Path, family: tuple[EncoderSpec, EncoderSpec],
        images: list[LabelledImage]) -> None:
    student = make_student('tiny', seed=1, teacher=teacher, table=family)
    published = torch.load(teacher, weights_only=True)
    assert student.wide is not None and equal(student.wide.state_dict(), published)
    narrow_student(student, images, (84, 112), seed=0)
    weights = student.network.state_dict()
    mlp = '.mlp.'
    assert equal({name: value for name, value in weights.items() if mlp not in name},
                 {name: value for name, value in published.items() if mlp not in name})
    image = normalized(torch.from_numpy(images[0].read()[0][None]), student.input_spec)
    with torch.no_grad():
        expected = student.wide.pretrained(image)
        found = student.network.pretrained(image)
        # The first neurons with the teacher's own second layer, for comparison.
        for source, block in zip(student.wide.pretrained.blocks,
                                 student.network.pretrained.blocks):
            count = block.mlp.fc1.out_features
            block.mlp.fc1.weight.copy_(source.mlp.fc1.weight[:count])
            block.mlp.fc1.bias.copy_(source.mlp.fc1.bias[:count])
            block.mlp.fc2.weight.copy_(source.mlp.fc2.weight[:, :count])
            block.mlp.fc2.bias.copy_(source.mlp.fc2.bias)
        first = student.network.pretrained(image)
    errors = [[float((one - two).abs().mean()) for one, two in zip(tokens, expected)]
              for tokens in (found, first)]
    assert all(fitted < 0.3 * cut for fitted, cut in zip(*errors)), errors


def test_a_neuron_that_another_can_stand_in_for_is_removed(
        tiny: EncoderSpec, make_weights: Callable[..., Weights]) -> None:
    """Each neuron of the wide network is there twice, so that half of them are enough."""
    weights = make_weights(tiny)
    for name in weights:
        if '.mlp.fc1.' in name:
            weights[name][96:] = weights[name][:96]
    wide = build_network(tiny, 'v2', None, weights)
    narrow = build_network(replace(tiny, hidden=96), 'v2', None,
                           make_weights(replace(tiny, hidden=96), seed=1))
    image = torch.randn(32, 3, 84, 112, generator=torch.Generator().manual_seed(0))
    blocks: list[int] = []
    narrow_feed_forward(wide, narrow, image, lambda: blocks.append(len(blocks)))
    assert len(blocks) == tiny.depth
    found, expected = (network.pretrained(image)[-1] for network in (narrow, wide))
    assert (found - expected).abs().mean() < 0.05 * expected.abs().mean()


def test_as_many_neurons_as_the_teacher_has_give_the_teacher(
        tiny: EncoderSpec, make_weights: Callable[..., Weights]) -> None:
    wide = build_network(tiny, 'v2', None, make_weights(tiny))
    narrow = build_network(replace(tiny, hidden=192), 'v2', None, make_weights(tiny, seed=1))
    image = torch.randn(8, 3, 84, 112, generator=torch.Generator().manual_seed(0))
    narrow_feed_forward(wide, narrow, image)
    assert torch.allclose(narrow(image), wide(image), rtol=1e-3, atol=1e-3)
    wider = build_network(replace(tiny, hidden=200), 'v2', None,
                          make_weights(replace(tiny, hidden=200)))
    with pytest.raises(ValueError, match='tiny has no 200 hidden neurons to keep'):
        narrow_feed_forward(wide, wider, image)
    other = replace(tiny, features=24)
    with pytest.raises(ValueError, match='wrong shape: depth_head'):
        narrow_feed_forward(wide, build_network(other, 'v2', None, make_weights(other)), image)


def test_a_start_gives_a_teacher_or_the_whole_student(
        teacher: Path, family: tuple[EncoderSpec, EncoderSpec], tmp_path: Path,
        make_weights: Callable[..., Weights]) -> None:
    other, whole = tmp_path / 'other.pth', tmp_path / 'whole.pth'
    torch.save(make_weights(family[0], seed=4), other)
    torch.save(make_weights(family[1], seed=5), whole)
    begun = make_student('tiny', other, teacher=teacher, table=family)
    assert begun.wide is not None
    assert equal(begun.wide.state_dict(), torch.load(other, weights_only=True))
    continued = make_student('tiny', whole, teacher=teacher, table=family)
    assert continued.wide is None
    assert equal(continued.network.state_dict(), torch.load(whole, weights_only=True))


def test_a_teacher_that_is_no_vits_is_refused_with_the_remedy(
        tmp_path: Path, family: tuple[EncoderSpec, EncoderSpec], tiny_ir: Path,
        make_weights: Callable[..., Weights]) -> None:
    wider = tmp_path / 'wider.pth'
    torch.save(make_weights(replace(family[0], width=60)), wider)
    remedy = 'give a checkpoint of ViT-S as the teacher, or begin with one: --start'
    for path, fact in ((wider, r'tiny cannot begin with its weights .wrong shape: .*60\] instead'),
                       (tiny_ir, 'cannot be read from an ONNX file or an IR')):
        with pytest.raises(CheckpointError, match=f'{fact}.*{remedy}'):
            make_student('tiny', teacher=path, table=family)
    with pytest.raises(CheckpointError, match='it does not fit the student tiny'):
        make_student('tiny', wider, table=family)


@pytest.mark.skipif(not has_bf16(), reason='the CPU has no bf16')
@pytest.mark.parametrize('slower', [False, True])
def test_a_transformer_is_trained_in_bf16_where_the_cpu_is_faster_in_it(
        images: list[LabelledImage], tiny_light: EncoderSpec, monkeypatch: pytest.MonkeyPatch,
        slower: bool) -> None:
    monkeypatch.setattr(trainer_module, 'is_bf16_slower', lambda: slower)
    trainer = Trainer(vit_student(tiny_light), Recipe(2, 2, (28, 42)), images)
    types = []
    trainer.network.pretrained.blocks[0].mlp.fc1.register_forward_hook(
        lambda layer, inputs, output: types.append(output.dtype))
    assert all(np.isfinite(step.loss) for step in trainer.run())
    assert types == [torch.float32 if slower else torch.bfloat16] * 2
    assert all(value.dtype == torch.float32 for value in trainer.averaged.values.values())
    assert computes_in_bf16('cpu') is not slower and computes_in_bf16('cuda')


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
    return [str(teacher), str(folder), '-o', str(tmp_path / 'mine.xml'), '--kind', 'relative',
            '--model-version', 'v2', '--batch', '2', '--crop', '28x42', '--steps', '4',
            '--hold-out', '4', '--device', 'cpu']


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
    assert (record.recipe['encoder_rate'], record.recipe['head_rate']) == (2e-5, 1e-4)
    # Four small steps leave the encoder near that of the teacher.
    found, first = (torch.load(tmp_path / f'{name}.pth', weights_only=True)
                    for name in ('mine', 'teacher'))
    name = 'pretrained.blocks.2.attn.qkv.weight'
    assert 0 < (found[name] - first[name]).abs().max() < 1e-3
    with load_model(tmp_path / 'mine.xml', precision='f32') as model:
        depth = model.infer(np.full((48, 64, 3), 90, np.uint8))
        assert model.info.encoder == 'tiny' and model.info.output_multiple == 8
    assert depth.shape == (48, 64)


def test_a_training_that_starts_over_on_other_images_begins_as_the_teacher_again(
        line: list[str], teacher: Path, tiny_ir: Path, family: tuple[EncoderSpec, EncoderSpec],
        tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    line = [str(tiny_ir), *line[1:], '--start', str(teacher)]
    monkeypatch.setattr(distilling, 'convert_student', lambda job, *others: [
        job.output.with_suffix(suffix).touch() for suffix in ('.xml', '.bin')])
    begins = 'first weights: those of the teacher, with 144 of its 192 hidden neurons'
    assert main(line, family) == 0
    assert begins in capsys.readouterr().out
    assert main([*line, '--force'], family) == 0
    assert begins not in capsys.readouterr().out, 'the training was to continue'
    (tmp_path / 'photos' / '1.png').unlink()
    moved: list[Any] = []
    monkeypatch.setattr(torch.nn.Module, 'cpu', lambda network: moved.append(network) or network)
    monkeypatch.setattr(distilling, 'narrow_student', lambda student, *others: (
        moved.index(student.network), narrow_student(student, *others)))
    assert main([*line, '--force'], family) == 0
    assert begins in capsys.readouterr().out, 'the teacher is on the CPU'
    found, first = (torch.load(tmp_path / f'{name}.pth', weights_only=True)
                    for name in ('mine', 'teacher'))
    name = 'pretrained.blocks.2.attn.qkv.weight'
    assert 0 < (found[name] - first[name]).abs().max() < 1e-3


def test_matching_that_is_impossible_ends_before_the_labels(
        line: list[str], family: tuple[EncoderSpec, EncoderSpec], tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*line, '--matching', '4'], family) == 1
    message = 'parameter --matching is 4; it must be less than the 4 steps'
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'mine.distill').exists()


def test_the_tokens_of_an_ir_cannot_be_matched(
        line: list[str], teacher: Path, tiny_ir: Path, family: tuple[EncoderSpec, EncoderSpec],
        capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tiny_ir), *line[1:], '--start', str(teacher), '--matching', '1'],
                family) == 1
    assert 'a teacher that is an ONNX file or an IR cannot be read' in capsys.readouterr().err
