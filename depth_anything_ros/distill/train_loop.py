"""A look at images that a student does not learn from."""

from collections.abc import Mapping, Sequence
import dataclasses
from dataclasses import dataclass
import hashlib
from pathlib import Path
import pickle
from statistics import fmean
import time
from typing import Any

from depth_anything_ros.cli.progress import Counting, in_words, Report
from depth_anything_ros.cli.signals import held_signals
from depth_anything_ros.distill.curves import draw_curves, Journal
from depth_anything_ros.distill.labels import Labelled
from depth_anything_ros.distill.trainer import Progress, Training
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.files import atomic_file
from depth_anything_ros.networks.depth_anything import Network
from depth_anything_ros.process import keep_freed_memory, MOST_BYTES
from depth_anything_ros.vision.agreement import rank_correlation as correlate
from depth_anything_ros.vision.transforms import (
    network_size, normalize, resize_depth, resize_for_network)
import torch

_FACTS = 'training'
_ANEW = 'remove the file to begin anew'
_SAVE_EVERY_S = 300.0
# A look takes a moment: that many pictures are enough to see where it goes.
_LOOKED_AT = 100
# The first steps take longer than the others.
_WARM, _TIMED = 2, 12


def rank_correlation(network: Network, images: Sequence[Labelled],
                     input_size: int | None = None) -> float:
    """
    Return the mean rank correlation of a network with the labels of at least one image.

    The network is ready for inference, ``input_size`` its short side, usually its own. Compared
    is every second pixel of its size in both directions.
    """
    return fmean(_one(network, image, input_size or network.input_spec.size) for image in images)


def _one(network: Network, image: Labelled, input_size: int) -> float:
    picture, label = image.read()
    input_spec = network.input_spec
    size_hw = network_size(label.shape, input_size, input_spec.multiple)
    tensor = normalize(resize_for_network(picture, size_hw), input_spec.mean_rgb, input_spec.std_rgb)
    with torch.inference_mode():
        depth = network(torch.from_numpy(tensor))[0].numpy()
    return correlate(depth[::2, ::2], resize_depth(label, size_hw)[::2, ::2])


def save_state(path: Path, training: Training) -> None:
    """Write what ``load_state`` takes; a CheckpointError leaves ``path`` as it was."""
    try:
        with atomic_file(path) as staged, staged.open('wb') as file:
            torch.save({_FACTS: _facts(training), **training.state_dict()}, file)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(path, f'the state of the training cannot be written ({error})',
                              'free some space or choose another folder') from error


def load_state(path: Path, training: Training) -> None:
    """
    Let ``training`` go on where the one in the file stopped.

    CheckpointError where the file is damaged or another student, recipe or set of images is in
    it than ``training`` has; it names what differs.
    """
    state = _read(path)
    found, wanted = state.get(_FACTS), _facts(training)
    if not isinstance(found, Mapping):
        raise CheckpointError(path, 'it holds no state of a training', _ANEW)
    for name, value in wanted.items():
        if found.get(name) != value:
            raise CheckpointError(
                path, f'the training in it has {name} {found.get(name)}, this one {value}',
                f'go on with what it has, or {_ANEW}')
    try:
        training.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(path, f'its weights do not fit the student ({error})',
                              _ANEW) from error


def _facts(training: Training) -> dict[str, Any]:
    """Return what has to be the same, by the name that an error calls it."""
    recipe = dataclasses.asdict(training.recipe)
    augmentation = recipe.pop('augmentation')
    names = '\n'.join(one.image.name for one in training.images)
    return {'student': training.student.name, **recipe, **augmentation,
            'number of images': len(training.images),
            'sha256 of the names of the images': hashlib.sha256(names.encode()).hexdigest()}


def _read(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except OSError as error:
        raise CheckpointError(path, f'it cannot be read ({error.strerror})', _ANEW) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError, KeyError, ValueError) as error:
        raise CheckpointError(path, f'it is damaged ({type(error).__name__})', _ANEW) from error
    if not isinstance(state, dict):
        raise CheckpointError(path, 'it holds no state of a training', _ANEW)
    return state


@dataclass(frozen=True)
class RunFolder:
    """The files of a training in its folder."""

    folder: Path

    @property
    def state(self) -> Path:
        """Return what the training goes on from."""
        return self.folder / 'state.pth'

    @property
    def journal(self) -> Path:
        """Return the numbers of its course."""
        return self.folder / 'journal.jsonl'

    @property
    def curves(self) -> Path:
        """Return the picture of its course."""
        return self.folder / 'curves.png'

    def clear(self) -> None:
        """Remove all of them."""
        for file in (self.state, self.journal, self.curves):
            file.unlink(missing_ok=True)


def resume(place: RunFolder, training: Training, force: bool) -> None:
    """
    Let a training go on where it stopped, if it did.

    CheckpointError says why it cannot; with ``force`` it begins anew instead.
    """
    if not place.state.is_file():
        return
    try:
        load_state(place.state, training)
    except CheckpointError:
        if not force:
            raise
        place.clear()


def learn(place: RunFolder, training: Training, held_out: Sequence[Labelled], look_every: int,
          report: Report, counting: Counting) -> float:
    """
    Train to the last step and return the mean rank correlation on ``held_out``.

    Beside it that on pictures it learned from is reported: it shows whether more pictures or more
    steps would help. Ctrl-C and SIGTERM take effect after the step under way, when its state is
    on disk.
    """
    journal = Journal(place.journal, training.step)
    if training.step < training.recipe.steps:
        # Each step needs the memory of the one before again.
        keep_freed_memory(MOST_BYTES)
        _train(place, journal, training, held_out, look_every, report, counting)
    network = training.result()
    found = rank_correlation(network, held_out)
    known = rank_correlation(network, _some(training.images))
    report(f'      rank correlation with the teacher: {found:.4f} on held-out pictures, '
           f'{known:.4f} on pictures that it learned from')
    journal.look(training.step, found)
    draw_curves(place.journal, place.curves)
    return found


def _train(place: RunFolder, journal: Journal, training: Training, held_out: Sequence[Labelled],
           look_every: int, report: Report, counting: Counting) -> None:
    steps, first = training.recipe.steps, training.step
    some = _some(held_out)
    saved = time.monotonic()
    tell = _Estimate(first, steps, report)
    with held_signals() as stopped, counting('steps', steps, first) as advance:
        for progress in training.run():
            journal.add(progress)
            tell(progress)
            looks = progress.step % look_every == 0 or progress.step == steps
            if looks or stopped() or time.monotonic() - saved > _SAVE_EVERY_S:
                save_state(place.state, training)
                saved = time.monotonic()
            if stopped():
                break
            if looks and progress.step < steps:
                found = rank_correlation(training.result(), some)
                journal.look(progress.step, found)
                draw_curves(place.journal, place.curves)
                report(f'      step {progress.step}: rank correlation {found:.4f}')
            advance(f'loss {progress.loss:.3f}')


def _some(images: Sequence[Labelled]) -> Sequence[Labelled]:
    return images[::-(-len(images) // _LOOKED_AT)]


class _Estimate:
    """Says once how long the training will take."""

    def __init__(self, first: int, steps: int, report: Report) -> None:
        self._first, self._steps, self._report = first, steps, report
        self._start = 0.0

    def __call__(self, progress: Progress) -> None:
        done = progress.step - self._first
        if done == _WARM:
            self._start = time.monotonic()
        elif done == _TIMED and progress.step < self._steps:
            seconds = (time.monotonic() - self._start) / (_TIMED - _WARM)
            left = self._steps - progress.step
            self._report(f'      {seconds:.2f} s per step, about {in_words(left * seconds)} for '
                         f'the other {left}')
