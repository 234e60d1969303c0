"""When the input size changes while the load does: down soon, up late, never to and fro."""

from collections.abc import Callable
from dataclasses import dataclass, field

from depth_anything_ros.inference.rate_control import RateControl, Step
import pytest

RATE_HZ = 10.0
# 4, 7, 12 and 20 images a second while nothing else runs.
SECONDS = (1 / 4, 1 / 7, 1 / 12, 1 / 20)


@dataclass
class Simulation:
    """A camera, an engine whose times a load stretches, and the steps that were taken."""

    policy: RateControl
    camera_hz: float = RATE_HZ
    now_s: float = 0.0
    steps: list[tuple[float, Step]] = field(default_factory=list)
    seconds: tuple[float, ...] = SECONDS

    def run(self, duration_s: float, load: Callable[[float], float]) -> list[int]:
        """Compute images for so long; ``load(now)`` multiplies their times. Return the rungs."""
        start, end = len(self.steps), self.now_s + duration_s
        while self.now_s < end:
            seconds = self.seconds[self.policy.rung] * load(self.now_s)
            self.now_s += max(seconds, 1 / self.camera_hz)
            step = self.policy.observe(self.now_s, seconds)
            if step is not None:
                self.steps.append((self.now_s, step))
        return [step.rung for _, step in self.steps[start:]]


def simulation(rung: int = 2, **changes: object) -> Simulation:
    """Return one that starts on ``rung``."""
    return Simulation(RateControl(RATE_HZ, SECONDS, rung), **changes)


def steady(factor: float) -> Callable[[float], float]:
    """Return a load that stays."""
    return lambda now_s: factor


def test_nothing_happens_while_the_rate_is_held() -> None:
    assert simulation().run(120, steady(1.0)) == []
    assert simulation().run(120, steady(1.19)) == []


def test_below_the_rate_the_next_smaller_size_is_taken_after_two_seconds() -> None:
    flow = simulation()
    assert flow.run(20, steady(1.5)) == [3]
    taken_at, step = flow.steps[0]
    assert 2.0 <= taken_at < 2.8
    assert step.possible_hz == pytest.approx(8.0) and step.expected_hz == pytest.approx(20 / 1.5)


def test_a_heavy_load_leads_down_step_by_step_to_the_smallest_and_no_further() -> None:
    flow = simulation(rung=0)
    assert flow.run(60, steady(5.0)) == [1, 2, 3]


def test_when_the_load_is_gone_the_size_comes_back_after_five_seconds() -> None:
    flow = simulation()
    flow.run(10, steady(1.5))
    gone_at = flow.now_s
    assert flow.run(20, steady(1.0)) == [2]
    assert 5.0 <= flow.steps[-1][0] - gone_at < 7.0


def test_a_larger_size_without_fifteen_percent_to_spare_is_not_taken() -> None:
    flow = simulation(rung=3)
    assert flow.run(60, steady(12 / 11.3)) == []
    assert flow.run(20, steady(12 / 11.7)) == [2]


def test_a_load_that_comes_and_goes_by_the_second_changes_nothing() -> None:
    flow = simulation()
    assert flow.run(60, lambda now_s: 1.5 if now_s % 2 < 0.5 else 1.0) == []


def test_one_hiccup_is_no_load() -> None:
    flow = simulation()
    assert flow.run(5, steady(1.0)) == []
    flow.policy.observe(flow.now_s + 3.0, 3.0)
    flow.now_s += 3.0
    assert flow.run(20, steady(1.0)) == []


def test_one_hiccup_is_no_load_where_images_are_rare_either() -> None:
    policy = RateControl(1.0, [10 * value for value in SECONDS], 2)
    taken = [policy.observe(float(now_s), 10.0 if now_s == 20 else 0.83) for now_s in range(60)]
    assert not any(taken)


def test_a_larger_size_that_never_holds_is_tried_ever_less_often() -> None:
    """The reckoning is wrong by more than there was to spare: this size gives 9 and not 12."""
    flow = simulation(rung=3, seconds=(*SECONDS[:2], 1 / 9, SECONDS[3]))
    rungs = flow.run(600, steady(1.0))
    assert rungs == [2, 3] * (len(rungs) // 2) + [2] * (len(rungs) % 2)
    tried_at = [at_s for at_s, step in flow.steps if step.rung == 2]
    pauses = [after - before for before, after in zip(tried_at, tried_at[1:])]
    assert pauses == sorted(pauses) and pauses[-1] > 10 * pauses[0]
    assert len(tried_at) < 9


def test_a_step_up_that_held_does_not_count_as_a_mistake_later() -> None:
    flow = simulation(rung=3)
    assert flow.run(60, steady(1.0)) == [2]
    assert flow.run(10, steady(1.5)) == [3]
    gone_at = flow.now_s
    assert flow.run(20, steady(1.0)) == [2]
    assert flow.steps[-1][0] - gone_at < 7.0


def test_a_camera_slower_than_the_rate_is_no_reason_to_step() -> None:
    assert simulation(camera_hz=2.0).run(120, steady(1.0)) == []


def test_a_camera_slower_than_the_rate_is_judged_by_the_time_of_its_images() -> None:
    assert simulation(camera_hz=1.0).run(60, steady(1.5)) == [3]


def test_images_too_rare_to_judge_lead_nowhere() -> None:
    assert simulation(camera_hz=1 / 20).run(600, steady(3.0)) == []


def test_images_before_a_restart_do_not_count() -> None:
    flow = simulation()
    assert flow.run(1.8, steady(1.5)) == []
    flow.policy.restart()
    assert flow.run(1.8, steady(1.5)) == []
    assert flow.run(1.0, steady(1.5)) == [3]


def test_cameras_of_different_cost_are_judged_by_their_mean() -> None:
    """Images of 60 and 120 ms in turn are 11.1 a second, of 80 and 140 ms 9.1."""
    for short, long, steps in ((0.06, 0.12, 0), (0.08, 0.14, 1)):
        policy, now_s, taken = RateControl(RATE_HZ, SECONDS, 2), 0.0, []
        for number in range(100):
            seconds = long if number % 2 else short
            now_s += seconds
            taken += [step for step in [policy.observe(now_s, seconds)] if step]
        assert len(taken) >= steps and bool(taken) == bool(steps)


@pytest.mark.parametrize('rung', [0, 3])
def test_there_is_no_step_beyond_the_ends(rung: int) -> None:
    flow = simulation(rung)
    assert flow.run(60, steady(0.01) if rung == 0 else steady(9.0)) == []
