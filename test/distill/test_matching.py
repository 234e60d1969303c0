"""Matching: a student first learns the tokens of its teacher, then the labels."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
from depth_anything_ros.errors import CheckpointError, SettingsError
from depth_anything_ros.networks.models import EncoderSpec
import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('openvino')

from depth_anything_ros.distill.dataset import LabelledImage  # noqa: E402, I100
from depth_anything_ros.distill.job import NO_AUGMENTATION, Recipe  # noqa: E402
from depth_anything_ros.distill.students import vit_student  # noqa: E402
from depth_anything_ros.distill.train_loop import load_state, save_state  # noqa: E402
from depth_anything_ros.distill.trainer import TeacherTokens, Trainer  # noqa: E402
from depth_anything_ros.networks.depth_anything import (  # noqa: E402
    build_network, DepthAnything)

RECIPE = Recipe(steps=7, batch=2, crop_hw=(28, 42), warmup=1, matching=3)
Make = Callable[..., Trainer]


@pytest.fixture
def images(tmp_path: Path) -> list[LabelledImage]:
    """Return four images of coarse colours with smooth labels."""
    generator = np.random.default_rng(0)
    found = [LabelledImage(tmp_path / f'{index}.png', tmp_path / f'{index}.npy')
             for index in range(4)]
    for one in found:
        coarse = generator.integers(0, 256, (4, 5, 3), np.uint8)
        cv2.imwrite(str(one.image), cv2.resize(coarse, (50, 40)))
        label = cv2.resize(generator.uniform(1, 5, (4, 5)), (50, 40))
        np.save(one.label, label.astype(np.float16))
    return found


@pytest.fixture
def make_teacher(tiny: EncoderSpec, make_weights: Callable[..., Any]
                 ) -> Callable[..., DepthAnything]:
    """Return a function that makes a teacher with the encoder of tiny, or a wider one."""
    def make(width: int = 48, version: Any = 'v2') -> DepthAnything:
        spec = replace(tiny, width=width)
        return build_network(spec, version, None, make_weights(spec, seed=7))

    return make


@pytest.fixture
def make(images: list[LabelledImage], tiny_light: EncoderSpec,
         make_teacher: Callable[..., DepthAnything]) -> Make:
    """Return a function that makes a trainer of a student with random weights."""
    def make_trainer(recipe: Recipe = RECIPE, width: int = 48) -> Trainer:
        torch.manual_seed(0)
        return Trainer(vit_student(tiny_light), recipe, images, teacher=make_teacher(width))

    return make_trainer


def clone(trainer: Trainer) -> dict[str, Any]:
    return {name: value.clone() for name, value in trainer.network.state_dict().items()}


@pytest.mark.parametrize('width', [48, 60])
def test_matching_brings_the_tokens_of_all_blocks_nearer_and_leaves_the_head_alone(
        make: Make, width: int) -> None:
    trainer = make(Recipe(steps=61, batch=4, crop_hw=(28, 28), encoder_rate=2e-3, head_rate=5e-3,
                          warmup=5, matching=60, augmentation=NO_AUGMENTATION), width)
    bridges = trainer.tokens.bridges
    assert [type(bridge) for bridge in bridges] == 4 * [
        torch.nn.Identity if width == 48 else torch.nn.Linear]
    before = clone(trainer)
    losses = [result.loss for result in islice(trainer.run(), 60)]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    after = trainer.network.state_dict()
    for name, value in before.items():
        if name.startswith('depth_head.'):
            assert torch.equal(value, after[name]), name
    moved = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert 'pretrained.patch_embed.proj.weight' in moved
    assert set(trainer.result().state_dict()) == set(before)


def test_an_encoder_with_the_weights_of_the_teacher_has_nothing_to_match(
        make_teacher: Callable[..., DepthAnything], tiny: EncoderSpec) -> None:
    teacher, student = make_teacher(), vit_student(tiny)
    student.network.load_state_dict(teacher.state_dict())
    tokens = TeacherTokens(48, teacher, 4, 0, 'cpu')
    image = torch.randn(1, 3, 28, 28)
    with torch.no_grad():
        assert tokens.matching_error(student.network.pretrained(image), image).item() < 1e-5


def test_a_v1_teacher_is_matched_at_the_blocks_that_the_student_reads(
        make_teacher: Callable[..., DepthAnything], tiny: EncoderSpec) -> None:
    first, second = make_teacher(version='v1'), make_teacher(version='v2')
    image = torch.randn(1, 3, 28, 28)
    expected = second.pretrained(image)
    assert not torch.equal(first.pretrained(image)[0], expected[0])
    tokens = TeacherTokens(48, first, 4, 0, 'cpu')
    assert tokens.matching_error(expected, image).item() < 1e-5


def test_the_labels_are_learned_after_matching_with_a_warm_up_of_their_own(make: Make) -> None:
    trainer = make(replace(RECIPE, steps=30, matching=10, warmup=1))
    steps = trainer.run()
    results = list(islice(steps, 10))
    head = {name: value for name, value in clone(trainer).items() if 'depth_head' in name}
    # The average forgets the time before: it takes most of the first step.
    averaged = trainer.averaged.values['depth_head.scratch.output_conv1.bias'].clone()
    results += list(islice(steps, 20))
    rates = [result.rate for result in results]
    assert rates[0] == rates[10] == 1 and rates[9] < 0.05 and rates[-1] < 0.05
    after = trainer.network.state_dict()
    assert all(not torch.equal(value, after[name]) for name, value in head.items()
               if 'refinenet4.resConfUnit1' not in name)
    now = trainer.averaged.values['depth_head.scratch.output_conv1.bias']
    latest = after['depth_head.scratch.output_conv1.bias']
    assert (now - latest).abs().sum() < 0.7 * (averaged - latest).abs().sum()


@pytest.mark.parametrize('stop', [2, 3, 5])
@pytest.mark.parametrize('width', [48, 60])
def test_a_training_with_matching_resumes_bit_for_bit(
        make: Make, tmp_path: Path, stop: int, width: int) -> None:
    whole, first, second = (make(width=width) for _ in range(3))
    losses = [result.loss for result in whole.run()]
    assert [result.loss for result in islice(first.run(), stop)] == losses[:stop]
    save_state(tmp_path / 'state.pth', first)
    load_state(tmp_path / 'state.pth', second)
    assert [result.loss for result in second.run()] == losses[stop:]
    for one, other in ((whole.averaged.values, second.averaged.values),
                       (whole.network.state_dict(), second.network.state_dict()),
                       (whole.tokens.bridges.state_dict(), second.tokens.bridges.state_dict())):
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_state_belongs_to_its_matching_and_an_older_state_has_none(
        make: Make, tmp_path: Path) -> None:
    path = tmp_path / 'state.pth'
    save_state(path, make())
    with pytest.raises(CheckpointError, match='has matching 3, this one 2'):
        load_state(path, make(replace(RECIPE, matching=2)))
    plain = replace(RECIPE, matching=0)
    save_state(path, make(plain))
    state = torch.load(path, weights_only=True)
    del state['training']['matching']
    torch.save(state, path)
    load_state(path, make(plain))
    with pytest.raises(CheckpointError, match='has matching 0, this one 3'):
        load_state(path, make())


def test_matching_needs_a_teacher(
        images: list[LabelledImage], tiny_light: EncoderSpec) -> None:
    with pytest.raises(SettingsError, match='matching is 3; it must be 0: there is no teacher'):
        Trainer(vit_student(tiny_light), RECIPE, images)
