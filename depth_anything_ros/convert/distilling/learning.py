"""The training as a person sees it: it can be watched, broken off and gone on with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import time

from depth_anything_ros.convert.distilling.counting import Counting, in_words
from depth_anything_ros.convert.distilling.curves import draw_curves, Journal
from depth_anything_ros.convert.distilling.label_cache import Labelled
from depth_anything_ros.convert.distilling.state import load_state, save_state
from depth_anything_ros.convert.distilling.stopping import held_signals
from depth_anything_ros.convert.distilling.training import Progress, Training
from depth_anything_ros.convert.distilling.watching import rank_correlation
from depth_anything_ros.convert.steps import Report
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.memory import keep_freed_memory, MOST_BYTES

_SAVE_EVERY_S = 300.0
# A look takes a moment: that many pictures are enough to see where it goes.
_LOOKED_AT = 100
# The first steps take longer than the others.
_WARM, _TIMED = 2, 12


@dataclass(frozen=True)
class Place:
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


def take_up(place: Place, training: Training, force: bool) -> None:
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


def learn(place: Place, training: Training, held_out: Sequence[Labelled], look_every: int,
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


def _train(place: Place, journal: Journal, training: Training, held_out: Sequence[Labelled],
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
