"""A student learns its labels, and the same training gives the same weights."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
from depth_anything_ros.cli.progress import count_in_lines
from depth_anything_ros.errors import SettingsError
from depth_anything_ros.vision.transforms import normalize
import numpy as np
import pytest

torch = pytest.importorskip('torch')

from depth_anything_ros.distill.curves import Measure  # noqa: E402, I100
from depth_anything_ros.distill.dataset import LabelledImage  # noqa: E402
from depth_anything_ros.distill.job import NO_AUGMENTATION, Recipe  # noqa: E402
from depth_anything_ros.distill.students import vit_student  # noqa: E402
from depth_anything_ros.distill.train_loop import (  # noqa: E402
    mean_rank_correlation, RunFolder, train, Validation)
from depth_anything_ros.distill.trainer import (  # noqa: E402
    AveragedWeights, learning_rate, Trainer)
from depth_anything_ros.networks.depth_anything import build_network  # noqa: E402
from depth_anything_ros.networks.models import EncoderSpec, InputSpec  # noqa: E402

SMALL = Recipe(steps=4, batch=2, crop_hw=(28, 42), warmup=1)


@pytest.fixture
def images(tmp_path: Path) -> list[LabelledImage]:
    """Return eight images of a ball before a slope, each in other colours and places."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :64] / 63
    found = []
    for index in range(8):
        slope, (row, column) = generator.uniform(-1, 1, 2), generator.uniform(0.3, 0.7, 2)
        ball = np.hypot(rows - row, columns - column) < 0.2
        label = 2 + slope[0] * rows + slope[1] * columns + 1.5 * ball
        colours = generator.uniform(0, 255, (3, 3))
        picture = (rows[..., None] * colours[0] + columns[..., None] * colours[1]) / 2
        picture[ball] = colours[2]
        one = LabelledImage(tmp_path / f'{index}.png', tmp_path / f'{index}.npy')
        cv2.imwrite(str(one.image), picture.astype(np.uint8))
        np.save(one.label, label.astype(np.float16))
        found.append(one)
    return found


def weights_after(trainer: Trainer, steps: int) -> dict[str, Any]:
    """Return the averaged weights after some more steps."""
    assert len(list(islice(trainer.run(), steps))) == steps
    return trainer.averaged.values


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_short_run_overfits_eight_images(
        images: list[LabelledImage], tiny: EncoderSpec) -> None:
    torch.manual_seed(0)
    student = vit_student(tiny)
    first = {name: value.clone() for name, value in student.network.state_dict().items()}
    recipe = Recipe(steps=100, batch=8, crop_hw=(70, 70), encoder_rate=2e-3, head_rate=4e-3,
                    warmup=5, average=0.9, augmentation=NO_AUGMENTATION)
    trainer = Trainer(student, recipe, images)
    losses = [result.loss for result in trainer.run()]
    assert losses[-1] < 0.3 * losses[0]
    assert mean_rank_correlation(trainer.result(), images, 70) > 0.95
    last = trainer.result().state_dict()
    # The head has two convolutions that it never uses, and no token of an image is masked.
    unused = ('depth_head.scratch.refinenet4.resConfUnit1.', 'pretrained.mask_token')
    for name in first:
        assert torch.equal(first[name], last[name]) == name.startswith(unused), name


def test_the_same_seed_gives_the_same_weights_bit_for_bit(
        images: list[LabelledImage], tiny: EncoderSpec) -> None:
    def weights(seed: int) -> dict[str, Any]:
        torch.manual_seed(1)
        return weights_after(Trainer(vit_student(tiny), replace(SMALL, seed=seed), images), 3)

    first = weights(0)
    assert equal(first, weights(0))
    assert not equal(first, weights(1))


def test_a_training_with_drop_path_resumes_bit_for_bit_and_leaves_the_generator_alone(
        images: list[LabelledImage], tiny: EncoderSpec) -> None:
    def make_trainer(rate: float) -> Trainer:
        torch.manual_seed(1)
        return Trainer(vit_student(tiny), replace(SMALL, drop_path=rate), images)

    whole = weights_after(make_trainer(0.5), 4)
    assert not equal(whole, weights_after(make_trainer(0.0), 4))
    first = make_trainer(0.5)
    weights_after(first, 2)
    second = make_trainer(0.5)
    second.load_state_dict(first.state_dict())
    torch.manual_seed(5)
    assert equal(whole, weights_after(second, 2))
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(3))


@pytest.mark.parametrize('patience', [0, 9])
def test_the_result_has_the_share_of_the_first_weights_that_validates_best(
        images: list[LabelledImage], tiny: EncoderSpec, tmp_path: Path, patience: int) -> None:
    trainer = Trainer(vit_student(tiny), SMALL, images)
    first = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    one = 'depth_head.scratch.output_conv1.weight'

    def score(network: Any, images: Any) -> float:
        way = first[one] - trainer.averaged.values[one]
        done = network.state_dict()[one] - trainer.averaged.values[one]
        share = ((way * done).sum() / way.square().sum()).item() if way.any() else 0.0
        return abs(share - 0.32) if patience else -abs(share - 0.32)

    lines: list[str] = []
    found = train(RunFolder(tmp_path), trainer, images[:1], 10, lines.append,
                  partial(count_in_lines, lines.append),
                  Validation(Measure('error', 'error', patience), score))
    assert abs(found) == pytest.approx(0.02, abs=1e-4)
    mixed, trained = trainer.result().state_dict(), trainer.averaged.values
    for name, value in first.items():
        torch.testing.assert_close(mixed[name], 0.7 * trained[name] + 0.3 * value)
    sign = '' if patience else '-'
    assert lines[-2].strip() == ('mixed with 30 % of the first weights, which changes the error '
                                 f'from {sign}0.3200 to {sign}0.0200')


def test_a_resumed_training_knows_the_first_weights_of_all(
        images: list[LabelledImage], tiny: EncoderSpec) -> None:
    one, other = (Trainer(vit_student(tiny), SMALL, images) for _ in range(2))
    weights_after(one, 2)
    other.load_state_dict(one.state_dict())
    one.first_share = other.first_share = 1.0
    assert equal(one.result().state_dict(), other.result().state_dict())
    state = one.state_dict()
    del state['first']
    other.load_state_dict(state)
    assert equal(other.result().state_dict(), one.averaged.values)


def test_steps_are_counted_and_the_rates_follow_the_schedule(
        images: list[LabelledImage], tiny: EncoderSpec) -> None:
    trainer = Trainer(vit_student(tiny), replace(SMALL, steps=3), images)
    results = list(trainer.run())
    assert [result.step for result in results] == [1, 2, 3] and trainer.step == 3
    assert [result.rate for result in results] == pytest.approx([1, 0.75, 0.25])
    assert list(trainer.run()) == []


def test_a_loss_that_is_not_finite_stops_before_it_spoils_the_weights(
        images: list[LabelledImage], tiny: EncoderSpec) -> None:
    trainer = Trainer(vit_student(tiny), replace(SMALL, encoder_rate=1e30, head_rate=1e30),
                      images)
    steps = trainer.run()
    next(steps)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    with pytest.raises(SettingsError, match=r'head_rate is 1e\+30; it must be lower.*at step 2'):
        next(steps)
    assert trainer.step == 1
    assert equal(before, trainer.network.state_dict())
    assert all(torch.isfinite(value).all() for value in before.values())


@pytest.mark.parametrize('error', [
    torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 90.00 GiB.'),
    MemoryError('Unable to allocate 90.0 GiB'), MemoryError()])
def test_a_batch_that_does_not_fit_into_the_memory_is_one_sentence(
        images: list[LabelledImage], tiny: EncoderSpec, monkeypatch: pytest.MonkeyPatch,
        error: Exception) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(Trainer, '_loss', fail)
    trainer = Trainer(vit_student(tiny), SMALL, images)
    with pytest.raises(SettingsError, match='--batch is 2; it must be smaller, or the crops: .* '
                       r'too small \((CUDA out|Unable to|MemoryError)'):
        next(trainer.run())
    assert trainer.step == 0


def test_tokens_come_nearer_to_those_of_the_teacher(
        images: list[LabelledImage], tiny: EncoderSpec,
        make_weights: Callable[..., dict[str, Any]]) -> None:
    wider = replace(tiny, width=60)
    teacher = build_network(wider, 'v2', None, make_weights(wider))
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    torch.manual_seed(0)
    student = vit_student(tiny)
    recipe = Recipe(steps=40, batch=4, crop_hw=(28, 28), encoder_rate=2e-3, head_rate=5e-3,
                    alignment_weight=5.0, augmentation=NO_AUGMENTATION)
    trainer = Trainer(student, recipe, images, teacher=teacher)
    input_spec = student.input_spec
    picture = torch.from_numpy(normalize(
        cv2.resize(images[0].read()[0], (28, 28)), input_spec.mean_rgb, input_spec.std_rgb))

    def error() -> float:
        with torch.no_grad():
            return trainer.tokens.alignment_error(
                student.predict(picture)[1], picture).item()

    first = error()
    list(trainer.run())
    assert error() < 0.7 * first
    assert equal(before, teacher.state_dict())
    assert set(trainer.result().state_dict()) == set(vit_student(tiny).network.state_dict())


def test_alignment_needs_a_teacher_and_no_alignment_none(
        images: list[LabelledImage], tiny: EncoderSpec,
        make_weights: Callable[..., dict[str, Any]]) -> None:
    aligned = replace(SMALL, alignment_weight=0.5)
    teacher = build_network(tiny, 'v2', None, make_weights(tiny))
    with pytest.raises(SettingsError, match='alignment_weight is 0.5.*there is no teacher'):
        Trainer(vit_student(tiny), aligned, images)
    assert Trainer(vit_student(tiny), SMALL, images, teacher=teacher).tokens is None


def test_a_crop_that_does_not_suit_the_student_is_refused(
        images: list[LabelledImage], tiny: EncoderSpec) -> None:
    with pytest.raises(SettingsError, match="crop is '28x40'; it must be multiples of 14"):
        Trainer(vit_student(tiny), replace(SMALL, crop_hw=(28, 40)), images)


def test_the_rate_rises_straight_and_falls_as_a_cosine() -> None:
    rates = [learning_rate(step, 1000, 50) for step in range(1000)]
    assert rates[:50] == pytest.approx(np.arange(1, 51) / 50)
    assert rates[50:] == pytest.approx((1 + np.cos(np.pi * np.arange(950) / 950)) / 2)
    assert learning_rate(1000, 1000, 50) == 0


def test_the_rise_takes_no_more_than_a_tenth_of_a_short_run() -> None:
    assert learning_rate(9, 100, 300) == 1
    assert learning_rate(4, 100, 300) == 0.5
    assert learning_rate(0, 3, 300) == 1


def test_averaged_weights_forget_slowly_once_there_are_many() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, 0.0)
    averaged, expected = AveragedWeights(network, 0.5), 0.0
    for step in range(1, 20):
        torch.nn.init.constant_(network.weight, step)
        averaged.update(network)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert averaged.values['weight'].item() == pytest.approx(expected)


class Green(torch.nn.Module):
    """A network whose depth is the green of the image, times a factor."""

    input_spec = InputSpec(8, 32, (0.5,) * 3, (0.25,) * 3)

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(image.shape))
        return self.factor * (image[:, 1] * 0.25 + 0.5)


def test_the_rank_correlation_is_the_mean_over_the_images(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 64), (48, 1))
    found = []
    for index, label in enumerate((ramp, ramp, -ramp, ramp)):
        one = LabelledImage(tmp_path / f'{index}.png', tmp_path / f'{index}.npy')
        cv2.imwrite(str(one.image), np.dstack([255 - ramp, ramp, 0 * ramp]).astype(np.uint8))
        np.save(one.label, label.astype(np.float16))
        found.append(one)
    network = Green(3.0)
    assert mean_rank_correlation(network, found) == pytest.approx(0.5, abs=1e-3)
    assert mean_rank_correlation(Green(-1.0), found[:2]) == pytest.approx(-1, abs=1e-3)
    assert network.seen == [(1, 3, 32, 40)] * 4
    mean_rank_correlation(network, found[:1], 16)
    assert network.seen[-1] == (1, 3, 16, 24)
