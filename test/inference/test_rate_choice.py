"""The choice of an input size: what is measured, what is predicted, what is taken."""

from collections.abc import Callable
import time

from depth_anything_ros.inference.rate_control import choose, ladder, longest_s, seconds_of
import pytest

PIXELS = tuple(size * size for size in ladder(518, 14))
LAST = len(PIXELS) - 1


def network(scale: float = 1.0, overhead_s: float = 0.0) -> Callable[[int], float]:
    """Return the times of a network whose attention takes a quarter of the largest size's."""
    def measure(rung: int) -> float:
        share = PIXELS[rung] / PIXELS[0]
        return overhead_s + scale * (0.75 * share + 0.25 * share * share)
    return measure


class Recorder:
    """A ``measure`` that remembers which rungs it was asked for."""

    def __init__(self, measure: Callable[[int], float]) -> None:
        self.rungs: list[int] = []
        self._measure = measure

    def __call__(self, rung: int) -> float:
        """Return the time of the rung."""
        self.rungs.append(rung)
        return self._measure(rung)


def test_a_ladder_has_eight_multiples_down_to_a_third_in_equal_ratios() -> None:
    assert ladder(518, 14) == (518, 448, 378, 322, 280, 238, 196, 168)


@pytest.mark.parametrize(('largest', 'expected'), [
    (112, (112, 98, 84, 70, 56, 42)), (500, (500, 434, 364, 308, 266, 224, 196, 168)),
    (28, (28, 14)), (14, (14,)), (5, (5,))])
def test_a_small_ladder_is_shorter_and_an_odd_largest_size_stays_as_it_is(
        largest: int, expected: tuple[int, ...]) -> None:
    assert ladder(largest, 14) == expected


@pytest.mark.parametrize('limit_s', [2.0, 1.0, 0.99, 0.7, 0.4, 0.25, 0.16, 0.09, 0.01])
def test_the_largest_size_that_holds_is_taken_after_few_measurements(limit_s: float) -> None:
    measure = Recorder(network())
    choice = choose(PIXELS, limit_s, measure, {})
    holding = [rung for rung in range(len(PIXELS)) if network()(rung) <= limit_s]
    assert choice.rung == (holding[0] if holding else LAST)
    assert len(measure.rungs) == len(set(measure.rungs)) <= 4


def test_a_size_that_holds_less_than_predicted_is_given_up_for_the_next_smaller() -> None:
    def measure(rung: int) -> float:
        return network()(rung) * (1.3 if rung == 3 else 1.0)

    limit_s = network()(3) * 1.05
    recorded = Recorder(measure)
    choice = choose(PIXELS, limit_s, recorded, {})
    assert choice.rung == 4 and recorded.rungs == [0, LAST, 3, 4]
    assert choice.seconds[3] > limit_s >= choice.seconds[4]


def test_a_size_that_holds_more_than_predicted_makes_room_for_a_larger_one() -> None:
    measure = network(overhead_s=0.3)
    limit_s = measure(2) * 1.08
    recorded = Recorder(measure)
    assert choose(PIXELS, limit_s, recorded, {}).rung == 2
    assert recorded.rungs[2] > 2


def test_measured_times_are_kept_as_they_are_and_the_others_lie_between() -> None:
    choice = choose(PIXELS, 0.4, network(), {})
    for pixels, seconds in choice.measured.items():
        assert choice.seconds[PIXELS.index(pixels)] == seconds
    assert list(choice.seconds) == sorted(choice.seconds, reverse=True)
    assert choice.seconds == pytest.approx([network()(rung) for rung in range(LAST + 1)])


def test_with_known_times_nothing_is_measured() -> None:
    known = choose(PIXELS, 0.4, network(), {}).measured
    measure = Recorder(network())
    choice = choose(PIXELS[1:6], 0.4, measure, known)
    assert measure.rungs == [] and choice.measured == known
    assert choice.seconds == pytest.approx([network()(rung) for rung in range(1, 6)])
    assert choice.seconds[choice.rung] <= 0.4 < choice.seconds[choice.rung - 1]


def test_the_limit_leaves_a_tenth_for_what_is_not_inference() -> None:
    assert longest_s(10.0) == pytest.approx(0.1 / 1.1)


def test_the_time_of_a_run_is_the_median_of_three_at_least() -> None:
    pauses = [0.3, 0.1, 0.12]
    assert seconds_of(lambda: time.sleep(pauses.pop(0))) == pytest.approx(0.12, abs=0.05)
    assert pauses == []


def test_quick_runs_are_repeated_but_not_for_ever() -> None:
    calls: list[None] = []
    assert seconds_of(lambda: calls.append(None)) < 0.01
    assert len(calls) == 20
