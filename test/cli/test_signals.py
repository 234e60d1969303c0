"""Signals that are deferred to a good moment."""

from collections.abc import Callable, Iterator
from contextlib import suppress
import os
import signal
import sys
import time
from types import FrameType

from depth_anything_ros.cli.signals import deferred_signals, insistent_signals
import pytest

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end(number: int, frame: FrameType | None) -> None:
    """Stand for the handler of a program."""
    raise SystemExit(128 + number)


@pytest.fixture(autouse=True)
def usual_handlers() -> Iterator[None]:
    """Restore the handlers, whatever a test does to them."""
    previous = {number: signal.getsignal(number) for number in NUMBERS}
    for number in NUMBERS[1:]:
        signal.signal(number, end)
    yield
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(('number', 'status'), [
    (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_first_signal_sets_the_request_and_its_status(number: int, status: int) -> None:
    before = signal.getsignal(number)
    with deferred_signals() as stop:
        assert (stop.is_set(), stop.exit_status) == (False, 0)
        os.kill(os.getpid(), number)
        assert (stop.is_set(), stop.event.is_set(), stop.exit_status) == (True, True, status)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(('number', 'error'), [
    (signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit),
    (signal.SIGHUP, SystemExit)])
def test_a_second_signal_has_its_usual_effect(number: int, error: type[BaseException]) -> None:
    with pytest.raises(error), deferred_signals():
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        pytest.fail('the second signal was deferred too')


@pytest.mark.parametrize(('number', 'error'), [
    (signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit),
    (signal.SIGHUP, SystemExit)])
def test_a_signal_can_have_its_effect_after_the_block(
        number: int, error: type[BaseException]) -> None:
    finished = []
    with pytest.raises(error), deferred_signals(deliver=True):
        os.kill(os.getpid(), number)
        finished.append(True)
    assert finished


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize('deliver', [False, True])
def test_ignored_signals_stay_ignored(deliver: bool, number: int) -> None:
    """A shell without job control ignores SIGINT for what it starts, and nohup SIGHUP."""
    signal.signal(number, signal.SIG_IGN)
    with deferred_signals(deliver=deliver) as stop:
        os.kill(os.getpid(), number)
        assert not stop.is_set()
    assert signal.getsignal(number) == signal.SIG_IGN


class Dying:
    """Gets a signal while it is deleted, where Python drops the exception."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


def caught_by_a_library(number: int) -> None:
    """Get the signal where somebody tries something and carries on, whatever happens."""
    with suppress(BaseException):
        signal.raise_signal(number)


@pytest.mark.parametrize('drop', [Dying, caught_by_a_library])
@pytest.mark.parametrize(('number', 'error', 'status'), [
    (signal.SIGINT, KeyboardInterrupt, 130), (signal.SIGTERM, SystemExit, 143),
    (signal.SIGHUP, SystemExit, 129)])
def test_a_signal_whose_exception_is_dropped_comes_again(
        number: int, error: type[BaseException], status: int, drop: Callable[[int], object],
        capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.unraisablehook, signal.getsignal(number)
    with pytest.raises(error) as caught, insistent_signals():
        drop(number)
        time.sleep(60)
        pytest.fail('the program went on')
    assert caught.value.args == (status,)
    assert (sys.unraisablehook, signal.getsignal(number)) == before
    assert capsys.readouterr().err == ''


def test_one_signal_can_be_dropped_many_times() -> None:
    with pytest.raises(KeyboardInterrupt), insistent_signals():
        for _ in range(3):
            with suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        time.sleep(60)


def test_a_signal_that_comes_again_does_not_outlive_the_program() -> None:
    with insistent_signals():
        Dying(signal.SIGINT)
    time.sleep(0.3)


def test_an_error_after_a_dropped_signal_is_its_effect() -> None:
    """A module whose import was broken off fails only later, and not by its own fault."""
    with pytest.raises(SystemExit) as caught, insistent_signals():
        caught_by_a_library(signal.SIGTERM)
        raise ValueError('module has no attribute')
    assert caught.value.code == 143 and isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(ValueError), insistent_signals():
        raise ValueError('before any signal')


def test_signals_that_the_process_ignores_do_not_end_it() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with insistent_signals():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_other_errors_of_destructors_are_still_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:

        def __del__(self) -> None:
            raise ValueError('of a destructor')

    told = []
    monkeypatch.setattr(sys, 'unraisablehook', lambda dropped: told.append(dropped.exc_type))
    with insistent_signals():
        Failing()
    assert told == [ValueError]
