"""A stopped training resumes with the same result, and only with the same settings."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.networks.models import EncoderSpec
from disk import largest_file
import numpy as np
import pytest

torch = pytest.importorskip('torch')

from depth_anything_ros.distill.dataset import LabelledImage  # noqa: E402, I100
from depth_anything_ros.distill.distill import write_weights  # noqa: E402
from depth_anything_ros.distill.job import MILD, Recipe  # noqa: E402
from depth_anything_ros.distill.students import vit_student  # noqa: E402
from depth_anything_ros.distill.train_loop import load_state, save_state  # noqa: E402
from depth_anything_ros.distill.trainer import Trainer  # noqa: E402
from depth_anything_ros.networks.depth_anything import build_network  # noqa: E402

SMALL = Recipe(steps=4, batch=2, crop_hw=(28, 42), alignment_weight=0.1)
Make = Callable[..., Trainer]


@pytest.fixture
def make(tmp_path: Path, tiny: EncoderSpec, make_weights: Callable[..., object]) -> Make:
    """Return a function that makes a trainer on four noisy images."""
    generator = np.random.default_rng(0)
    images = [LabelledImage(tmp_path / f'{index}.png', tmp_path / f'{index}.npy')
              for index in range(4)]
    for one in images:
        cv2.imwrite(str(one.image), generator.integers(0, 256, (40, 50, 3), np.uint8))
        np.save(one.label, generator.uniform(1, 5, (40, 50)).astype(np.float16))
    teacher = build_network(tiny, 'v2', None, make_weights(tiny))

    def make_trainer(recipe: Recipe = SMALL, count: int = 4, spec: EncoderSpec = tiny) -> Trainer:
        torch.manual_seed(0)
        return Trainer(vit_student(spec), recipe, images[:count], teacher=teacher)

    return make_trainer


def flat(state: object, path: str = '') -> dict[str, object]:
    """Return every leaf of a state by its path."""
    pairs = (state.items() if isinstance(state, dict)
             else enumerate(state) if isinstance(state, list) else None)
    if pairs is None:
        return {path: state.tolist() if isinstance(state, torch.Tensor) else state}
    return {name: leaf for key, value in pairs
            for name, leaf in flat(value, f'{path}/{key}').items()}


def test_two_steps_a_stop_and_two_more_equal_four_steps(make: Make, tmp_path: Path) -> None:
    whole = make()
    list(whole.run())
    first, second = make(), make()
    list(islice(first.run(), 2))
    save_state(tmp_path / 'state.pt', first)
    load_state(tmp_path / 'state.pt', second)
    assert second.step == 2
    assert [one.step for one in second.run()] == [3, 4]
    assert flat(second.state_dict()) == flat(whole.state_dict())
    assert flat(second.state_dict()) != flat(first.state_dict())


@pytest.mark.parametrize(('change', 'message'), [
    ({'steps': 5}, 'has steps 4, this one 5'),
    ({'seed': 7}, 'has seed 0, this one 7'),
    ({'crop_hw': (28, 28)}, r'has crop_hw \(28, 42\), this one \(28, 28\)'),
    ({'augmentation': replace(MILD, grey_chance=0.5)}, 'has grey_chance 0.03, this one 0.5')])
def test_another_recipe_is_refused_and_the_difference_named(
        make: Make, tmp_path: Path, change: dict[str, object], message: str) -> None:
    save_state(tmp_path / 'state.pt', make())
    with pytest.raises(CheckpointError, match=message):
        load_state(tmp_path / 'state.pt', make(replace(SMALL, **change)))


def test_other_images_and_students_are_refused(
        make: Make, tmp_path: Path, tiny: EncoderSpec) -> None:
    path = tmp_path / 'state.pt'
    save_state(path, make())
    with pytest.raises(CheckpointError, match='number of images 4, this one 3'):
        load_state(path, make(count=3))
    with pytest.raises(CheckpointError, match='has student tiny, this one other'):
        load_state(path, make(spec=replace(tiny, name='other')))
    with pytest.raises(CheckpointError, match='do not fit the student'):
        load_state(path, make(spec=replace(tiny, depth=6)))
    other = make()
    other.images = [other.images[1], other.images[0], *other.images[2:]]
    with pytest.raises(CheckpointError, match='names of the images'):
        load_state(path, other)


@pytest.mark.parametrize('damage', [
    lambda data: data[:len(data) // 2], lambda data: b'', lambda data: b'not a state at all'])
def test_a_damaged_file_is_named(
        make: Make, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / 'state.pt'
    save_state(path, make())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r'state\.pt: it is damaged'):
        load_state(path, make())


def test_other_files_are_refused(make: Make, tmp_path: Path) -> None:
    path = tmp_path / 'state.pt'
    with pytest.raises(CheckpointError, match='No such file'):
        load_state(path, make())
    for other in (torch.zeros(3), {'step': 3}):
        torch.save(other, path)
        with pytest.raises(CheckpointError, match='it is not the state of a training'):
            load_state(path, make())


@pytest.mark.parametrize('step', [-1, 5, 1.0, True, None, '1', 10 ** 30])
def test_a_step_that_is_none_of_the_training_is_refused(
        make: Make, tmp_path: Path, step: object) -> None:
    path = tmp_path / 'state.pt'
    save_state(path, make())
    torch.save({**torch.load(path, weights_only=True), 'step': step}, path)
    with pytest.raises(CheckpointError, match='its step is .*, not one from 0 to 4; remove'):
        load_state(path, make())


@pytest.mark.parametrize('part', ['network', 'averaged', 'optimizer'])
@pytest.mark.parametrize('content', [None, [1], {}])
def test_a_state_with_parts_of_another_kind_is_refused(
        make: Make, tmp_path: Path, part: str, content: object) -> None:
    path = tmp_path / 'state.pt'
    save_state(path, make())
    torch.save({**torch.load(path, weights_only=True), part: content}, path)
    with pytest.raises(CheckpointError, match='its weights do not fit the student (.|\n)*over'):
        load_state(path, make())


def test_weights_that_do_not_fit_on_the_disk_are_one_sentence(make: Make, tmp_path: Path) -> None:
    """A RuntimeError of PyTorch would end hours of training with a traceback."""
    path = tmp_path / 'new' / 'mine.pth'
    with largest_file(4096), pytest.raises(
            CheckpointError, match=r'mine\.pth: the file cannot be written .*; free some space'):
        write_weights(path, make().student.network)
    assert not list(path.parent.iterdir())


def test_a_state_is_replaced_only_when_complete(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / 'work'
    with pytest.raises(CheckpointError, match='cannot be written'):
        save_state(folder / 'state.pt', make())
    folder.mkdir()
    save_state(folder / 'state.pt', make())
    trainer = make()
    trainer.recipe = replace(SMALL, seed=lambda: 0)
    before = (folder / 'state.pt').read_bytes()
    with pytest.raises(Exception, match='local object'):
        save_state(folder / 'state.pt', trainer)
    assert (folder / 'state.pt').read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ['state.pt']
