"""Signals that are deferred to a good moment."""

from collections.abc import Iterator
import os
import signal
import sys
import time

from depth_anything_ros.cli.signals import deferred_signals, redelivered_signals, terminate
import pytest


@pytest.fixture(autouse=True)
def usual_handlers() -> Iterator[None]:
    """Restore the handlers, whatever a test does to them."""
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, terminate)
    yield
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_sets_the_request_and_its_status(number: int, status: int) -> None:
    before = signal.getsignal(number)
    with deferred_signals() as stop:
        assert (stop.is_set(), stop.exit_status) == (False, 0)
        os.kill(os.getpid(), number)
        assert (stop.is_set(), stop.event.is_set(), stop.exit_status) == (True, True, status)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(('number', 'error'), [
    (signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_second_signal_has_its_usual_effect(number: int, error: type[BaseException]) -> None:
    with pytest.raises(error), deferred_signals():
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        pytest.fail('the second signal was deferred too')


@pytest.mark.parametrize(('number', 'error'), [
    (signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_can_have_its_effect_after_the_block(
        number: int, error: type[BaseException]) -> None:
    finished = []
    with pytest.raises(error), deferred_signals(deliver=True):
        os.kill(os.getpid(), number)
        finished.append(True)
    assert finished


@pytest.mark.parametrize('deliver', [False, True])
def test_ignored_signals_stay_ignored(deliver: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with deferred_signals(deliver=deliver) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert not stop.is_set()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


class Dying:
    """Gets a signal while it is deleted, where Python drops the exception."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


@pytest.mark.parametrize(('number', 'error'), [
    (signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_whose_exception_is_dropped_comes_again(
        number: int, error: type[BaseException]) -> None:
    before = sys.unraisablehook
    with pytest.raises(error), redelivered_signals():
        Dying(number)
        time.sleep(60)
        pytest.fail('the program went on')
    assert sys.unraisablehook is before


def test_a_signal_that_comes_again_does_not_outlive_the_program() -> None:
    with redelivered_signals():
        Dying(signal.SIGINT)
    time.sleep(0.3)
