"""The input size for a rate: measured at the start, changed with the load, never to and fro."""

from collections.abc import Callable
from dataclasses import dataclass, field
import time

from depth_anything_ros.inference.rate_control import (
    allowed_seconds, candidate_input_sizes, choose_input_size, InputSizeChange, median_seconds,
    RateControl)
import pytest

PIXELS = tuple(size * size for size in candidate_input_sizes(518, 14))
LAST = len(PIXELS) - 1
RATE_HZ = 10.0
# 4, 7, 12 and 20 images a second while nothing else runs.
SECONDS = (1 / 4, 1 / 7, 1 / 12, 1 / 20)


def network(scale: float = 1.0, overhead_s: float = 0.0) -> Callable[[int], float]:
    """Return the times of a network whose attention takes a quarter of the largest size's."""
    def measure(index: int) -> float:
        share = PIXELS[index] / PIXELS[0]
        return overhead_s + scale * (0.75 * share + 0.25 * share * share)
    return measure


class RecordedMeasure:
    """A ``measure`` that remembers for which input sizes it was called."""

    def __init__(self, measure: Callable[[int], float]) -> None:
        self.indices: list[int] = []
        self._measure = measure

    def __call__(self, index: int) -> float:
        """Return the time of the input size."""
        self.indices.append(index)
        return self._measure(index)


def test_a_ladder_has_eight_multiples_down_to_a_third_in_equal_ratios() -> None:
    assert candidate_input_sizes(518, 14) == (518, 448, 378, 322, 280, 238, 196, 168)


@pytest.mark.parametrize(('largest', 'expected'), [
    (112, (112, 98, 84, 70, 56, 42)), (500, (500, 434, 364, 308, 266, 224, 196, 168)),
    (28, (28, 14)), (14, (14,)), (5, (5,))])
def test_a_small_ladder_is_shorter_and_an_odd_largest_size_stays_as_it_is(
        largest: int, expected: tuple[int, ...]) -> None:
    assert candidate_input_sizes(largest, 14) == expected


@pytest.mark.parametrize('limit_s', [2.0, 1.0, 0.99, 0.7, 0.4, 0.25, 0.16, 0.09, 0.01])
def test_the_largest_size_that_is_fast_enough_needs_few_measurements(limit_s: float) -> None:
    measure = RecordedMeasure(network())
    choice = choose_input_size(PIXELS, limit_s, measure, {})
    holding = [index for index in range(len(PIXELS)) if network()(index) <= limit_s]
    assert choice.index == (holding[0] if holding else LAST)
    assert len(measure.indices) == len(set(measure.indices)) <= 4


def test_a_size_that_is_slower_than_predicted_is_replaced_by_the_next_smaller() -> None:
    def measure(index: int) -> float:
        return network()(index) * (1.3 if index == 3 else 1.0)

    limit_s = network()(3) * 1.05
    recorded = RecordedMeasure(measure)
    choice = choose_input_size(PIXELS, limit_s, recorded, {})
    assert choice.index == 4 and recorded.indices == [0, LAST, 3, 4]
    assert choice.seconds[3] > limit_s >= choice.seconds[4]


def test_a_size_that_is_faster_than_predicted_leads_to_a_larger_one() -> None:
    measure = network(overhead_s=0.3)
    limit_s = measure(2) * 1.08
    recorded = RecordedMeasure(measure)
    assert choose_input_size(PIXELS, limit_s, recorded, {}).index == 2
    assert recorded.indices[2] > 2


def test_measured_times_stay_and_the_others_are_interpolated() -> None:
    choice = choose_input_size(PIXELS, 0.4, network(), {})
    for pixels, seconds in choice.measured.items():
        assert choice.seconds[PIXELS.index(pixels)] == seconds
    assert list(choice.seconds) == sorted(choice.seconds, reverse=True)
    assert choice.seconds == pytest.approx([network()(index) for index in range(LAST + 1)])


def test_with_known_times_nothing_is_measured() -> None:
    known = choose_input_size(PIXELS, 0.4, network(), {}).measured
    measure = RecordedMeasure(network())
    choice = choose_input_size(PIXELS[1:6], 0.4, measure, known)
    assert measure.indices == [] and choice.measured == known
    assert choice.seconds == pytest.approx([network()(index) for index in range(1, 6)])
    assert choice.seconds[choice.index] <= 0.4 < choice.seconds[choice.index - 1]


def test_the_limit_leaves_a_tenth_for_other_work() -> None:
    assert allowed_seconds(10.0) == pytest.approx(0.1 / 1.1)


def test_the_time_of_a_run_is_the_median_of_three_at_least() -> None:
    pauses = [0.3, 0.1, 0.12]
    assert median_seconds(lambda: time.sleep(pauses.pop(0))) == pytest.approx(0.12, abs=0.05)
    assert pauses == []


def test_quick_runs_are_repeated_but_not_for_ever() -> None:
    calls: list[None] = []
    assert median_seconds(lambda: calls.append(None)) < 0.01
    assert len(calls) == 20


@dataclass
class Simulation:
    """A camera, an engine whose times a load stretches, and the changes that followed."""

    rate_control: RateControl
    camera_hz: float = RATE_HZ
    now_s: float = 0.0
    steps: list[tuple[float, InputSizeChange]] = field(default_factory=list)
    seconds: tuple[float, ...] = SECONDS

    def run(self, duration_s: float, load: Callable[[float], float]) -> list[int]:
        """Compute images; ``load(now)`` multiplies their times. Return the new sizes."""
        start, end = len(self.steps), self.now_s + duration_s
        while self.now_s < end:
            seconds = self.seconds[self.rate_control.index] * load(self.now_s)
            self.now_s += max(seconds, 1 / self.camera_hz)
            step = self.rate_control.observe(self.now_s, seconds)
            if step is not None:
                self.steps.append((self.now_s, step))
        return [step.index for _, step in self.steps[start:]]


def simulation(index: int = 2, **changes: object) -> Simulation:
    """Return one that starts with the input size number ``index``."""
    return Simulation(RateControl(RATE_HZ, SECONDS, index), **changes)


def constant_load(factor: float) -> Callable[[float], float]:
    """Return a load that never changes."""
    return lambda now_s: factor


def test_nothing_changes_while_the_rate_is_reached() -> None:
    assert simulation().run(120, constant_load(1.0)) == []
    assert simulation().run(120, constant_load(1.19)) == []


def test_below_the_rate_the_next_smaller_size_is_used_after_two_seconds() -> None:
    flow = simulation()
    assert flow.run(20, constant_load(1.5)) == [3]
    changed_at, step = flow.steps[0]
    assert 2.0 <= changed_at < 2.8
    assert step.possible_hz == pytest.approx(8.0) and step.expected_hz == pytest.approx(20 / 1.5)


def test_a_heavy_load_leads_down_size_by_size_to_the_smallest_and_no_further() -> None:
    flow = simulation(index=0)
    assert flow.run(60, constant_load(5.0)) == [1, 2, 3]


def test_when_the_load_is_gone_the_size_comes_back_after_five_seconds() -> None:
    flow = simulation()
    flow.run(10, constant_load(1.5))
    gone_at = flow.now_s
    assert flow.run(20, constant_load(1.0)) == [2]
    assert 5.0 <= flow.steps[-1][0] - gone_at < 7.0


def test_a_larger_size_without_fifteen_percent_in_reserve_is_not_used() -> None:
    flow = simulation(index=3)
    assert flow.run(60, constant_load(12 / 11.3)) == []
    assert flow.run(20, constant_load(12 / 11.7)) == [2]


def test_a_load_that_comes_and_goes_by_the_second_changes_nothing() -> None:
    flow = simulation()
    assert flow.run(60, lambda now_s: 1.5 if now_s % 2 < 0.5 else 1.0) == []


def test_one_slow_image_changes_nothing() -> None:
    flow = simulation()
    assert flow.run(5, constant_load(1.0)) == []
    flow.rate_control.observe(flow.now_s + 3.0, 3.0)
    flow.now_s += 3.0
    assert flow.run(20, constant_load(1.0)) == []


def test_one_slow_image_changes_nothing_where_images_are_rare() -> None:
    rate_control = RateControl(1.0, [10 * value for value in SECONDS], 2)
    changes = [rate_control.observe(float(now_s), 10.0 if now_s == 20 else 0.83)
               for now_s in range(60)]
    assert not any(changes)


def test_a_larger_size_that_is_always_too_slow_is_tried_less_and_less_often() -> None:
    """The prediction is wrong by more than the reserve: this size reaches 9 Hz and not 12."""
    flow = simulation(index=3, seconds=(*SECONDS[:2], 1 / 9, SECONDS[3]))
    indices = flow.run(600, constant_load(1.0))
    assert indices == [2, 3] * (len(indices) // 2) + [2] * (len(indices) % 2)
    tried_at = [at_s for at_s, step in flow.steps if step.index == 2]
    pauses = [after - before for before, after in zip(tried_at, tried_at[1:])]
    assert pauses == sorted(pauses) and pauses[-1] > 10 * pauses[0]
    assert len(tried_at) < 9


def test_a_larger_size_that_was_fast_enough_does_not_count_as_a_mistake_later() -> None:
    flow = simulation(index=3)
    assert flow.run(60, constant_load(1.0)) == [2]
    assert flow.run(10, constant_load(1.5)) == [3]
    gone_at = flow.now_s
    assert flow.run(20, constant_load(1.0)) == [2]
    assert flow.steps[-1][0] - gone_at < 7.0


def test_a_camera_slower_than_the_rate_changes_nothing() -> None:
    assert simulation(camera_hz=2.0).run(120, constant_load(1.0)) == []


def test_for_a_camera_slower_than_the_rate_the_time_of_its_images_counts() -> None:
    assert simulation(camera_hz=1.0).run(60, constant_load(1.5)) == [3]


def test_images_that_are_too_rare_change_nothing() -> None:
    assert simulation(camera_hz=1 / 20).run(600, constant_load(3.0)) == []


def test_images_before_a_restart_do_not_count() -> None:
    flow = simulation()
    assert flow.run(1.8, constant_load(1.5)) == []
    flow.rate_control.restart()
    assert flow.run(1.8, constant_load(1.5)) == []
    assert flow.run(1.0, constant_load(1.5)) == [3]


def test_cameras_of_different_cost_count_by_their_mean() -> None:
    """Images of 60 and 120 ms in turn are 11.1 a second, of 80 and 140 ms 9.1."""
    for short, long, steps in ((0.06, 0.12, 0), (0.08, 0.14, 1)):
        rate_control, now_s, changes = RateControl(RATE_HZ, SECONDS, 2), 0.0, []
        for number in range(100):
            seconds = long if number % 2 else short
            now_s += seconds
            changes += [step for step in [rate_control.observe(now_s, seconds)] if step]
        assert len(changes) >= steps and bool(changes) == bool(steps)


@pytest.mark.parametrize('index', [0, 3])
def test_there_is_no_change_beyond_the_ends(index: int) -> None:
    flow = simulation(index)
    assert flow.run(60, constant_load(0.01) if index == 0 else constant_load(9.0)) == []
