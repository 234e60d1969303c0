"""Several cameras on one engine: fair shares, nobody starves, each is counted for itself."""

from collections import Counter
from collections.abc import Callable, Iterator
import math
from pathlib import Path
import threading
import time

from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.inference.scheduler import Frame, FrameScheduler, Result
from depth_anything_ros.vision.color_image import ColorImage
from fake_engine import FakeEngine
import numpy as np
import pytest
from waiting import until

S = 10 ** 9
Flow = tuple[FrameScheduler, FakeEngine, list[Result]]


@pytest.fixture
def make_flow() -> Iterator[Callable[..., Flow]]:
    """Return a function that joins a scheduler, a fake engine and a list of results."""
    schedulers: list[FrameScheduler] = []

    def make(capacity: int = 1) -> Flow:
        engine, results = FakeEngine(capacity), []
        schedulers.append(FrameScheduler(engine, results.append))
        return schedulers[-1], engine, results

    yield make
    for scheduler in schedulers:
        scheduler.close(0.01)


def frame(source: str, number: int) -> Frame:
    """Return a frame of one camera; its stamp and its context are its number."""
    pixels = np.full((2, 3, 3), number % 256, np.uint8)
    return Frame(number, lambda: ColorImage(pixels, 'bgr'), (source, number), source)


def names(results: list[Result]) -> list[tuple[str, int]]:
    """Return camera and number of each result."""
    return [result.frame.context for result in results]


def run_turns(flow: Flow, turns: int, offers: Callable[[int], dict[str, int]]) -> list[str]:
    """
    Let the engine compute ``turns`` frames and return whose they were.

    While each is computed, every camera in ``offers(turn)`` offers that many new frames.
    """
    scheduler, engine, results = flow
    number = 0
    scheduler.offer(frame('first', 0))
    for turn in range(turns):
        assert until(lambda: len(engine.submitted) > turn)  # noqa: B023
        for source, count in offers(turn).items():
            for _ in range(count):
                number += 1
                assert scheduler.offer(frame(source, number))
        engine.answer(turn)
        assert until(lambda: len(results) > turn)  # noqa: B023
    return [source for source, _ in names(results)][1:]


@pytest.mark.parametrize('count', [2, 4])
def test_under_load_each_camera_gets_the_same_share_whatever_its_rate(
        make_flow: Callable[..., Flow], count: int) -> None:
    rates = {f'camera_{index}': index ** 2 + 1 for index in range(count)}
    served = run_turns(make_flow(), 12 * count + 1, lambda turn: rates)
    assert len(served) == 12 * count
    assert Counter(served) == dict.fromkeys(rates, 12)
    assert all(set(served[start:start + count]) == set(rates)
               for start in range(0, len(served), count))


def test_what_a_slow_camera_leaves_goes_to_the_others_and_it_loses_nothing(
        make_flow: Callable[..., Flow]) -> None:
    flow = make_flow()
    served = run_turns(flow, 61, lambda turn: {
        'a': 3, 'b': 3, **({} if turn % 6 else {'slow': 1})})
    scheduler = flow[0]
    assert Counter(served) == {'a': 25, 'b': 25, 'slow': 10}
    assert scheduler.stats('slow').dropped == 0
    assert scheduler.stats('a').dropped > 100


def test_a_camera_that_comes_later_is_served_next(make_flow: Callable[..., Flow]) -> None:
    served = run_turns(make_flow(), 9, lambda turn: {
        'a': 1, 'b': 1, **({'late': 1} if turn == 5 else {})})
    assert served[5] == 'late'


def test_a_camera_that_was_silent_gets_one_turn_not_those_it_missed(
        make_flow: Callable[..., Flow]) -> None:
    served = run_turns(make_flow(), 31, lambda turn: {
        'constant': 1, **({'returning': 1} if turn < 2 or turn >= 20 else {})})
    assert served[:2] == ['constant', 'returning']
    assert abs(Counter(served[20:])['returning'] - 5) <= 1


def test_the_newest_frame_of_each_camera_wins(make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, results = make_flow()
    scheduler.offer(frame('front', 0))
    assert until(lambda: len(engine.submitted) == 1)
    for number in (1, 2, 3):
        scheduler.offer(frame('rear', number))
        scheduler.offer(frame('front', number))
    for index in range(3):
        engine.answer(index)
    assert until(lambda: len(results) == 3)
    assert names(results) == [('front', 0), ('rear', 3), ('front', 3)]
    assert (scheduler.stats('front').dropped, scheduler.stats('rear').dropped) == (2, 2)


def test_results_leave_in_the_order_of_submission_across_cameras(
        make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, results = make_flow(capacity=3)
    for index, source in enumerate(('a', 'b', 'c')):
        scheduler.offer(frame(source, 1))
        assert until(lambda: len(engine.submitted) == index + 1)  # noqa: B023
    for index in (2, 1, 0):
        engine.answer(index)
    assert until(lambda: len(results) == 3)
    assert names(results) == [('a', 1), ('b', 1), ('c', 1)]


def test_all_cameras_together_have_the_room_of_the_engine(
        make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, _ = make_flow(capacity=2)
    for source in 'abcd':
        scheduler.offer(frame(source, 1))
    assert until(lambda: len(engine.submitted) == 2)
    time.sleep(0.03)
    assert len(engine.submitted) == 2
    engine.answer(0)
    assert until(lambda: len(engine.submitted) == 3)


def test_a_frame_is_late_only_among_those_of_its_camera(make_flow: Callable[..., Flow]) -> None:
    scheduler, _, _ = make_flow()
    assert scheduler.offer(frame('front', 5 * S))
    assert scheduler.offer(frame('rear', 5 * S - 9))
    assert not scheduler.offer(frame('front', 5 * S - 1))
    assert scheduler.offer(frame('rear', 5 * S - 8))
    assert (scheduler.stats('front').late, scheduler.stats('rear').late) == (1, 0)


def test_each_camera_is_counted_for_itself_and_all_are_the_sum(
        make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, results = make_flow()
    scheduler.offer(frame('front', 1))
    scheduler.offer(frame('rear', 1))
    time.sleep(0.03)
    engine.answer(0)
    engine.answer(1, RuntimeError('rear is lost'))
    assert until(lambda: len(results) == 2)
    assert until(lambda: scheduler.stats().failed == 1)
    front, rear, both = (scheduler.stats(source) for source in ('front', 'rear', None))
    assert (front.offered, front.delivered, front.failed) == (1, 1, 0)
    assert (rear.offered, rear.delivered, rear.failed) == (1, 0, 1)
    assert (both.offered, both.delivered, both.failed) == (2, 1, 1)
    assert (front.last_error, rear.last_error, both.last_error) == ('', *2 * ['rear is lost'])
    assert front.latency_p50_ms == both.latency_p50_ms > 30
    assert math.isnan(rear.latency_p50_ms) and math.isnan(rear.last_depth_age_s)
    assert front.last_depth_age_s == pytest.approx(both.last_depth_age_s, abs=0.1)


def test_a_camera_that_sent_nothing_has_only_zeros(make_flow: Callable[..., Flow]) -> None:
    scheduler, _, _ = make_flow()
    scheduler.offer(frame('front', 1))
    stats = scheduler.stats('rear')
    assert (stats.offered, stats.delivered, stats.last_error) == (0, 0, '')
    assert math.isnan(stats.latency_p95_ms) and math.isnan(stats.last_depth_age_s)


def test_drain_drops_what_waits_of_every_camera_and_resume_takes_any_stamp(
        make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, results = make_flow()
    for source in 'abc':
        scheduler.offer(frame(source, S // 2))
    assert until(lambda: len(engine.submitted) == 1)
    assert not scheduler.drain(0.02)
    assert [scheduler.stats(source).dropped for source in 'abc'] == [0, 1, 1]
    engine.answer(0)
    assert scheduler.drain(5)
    scheduler.resume()
    assert all(scheduler.offer(frame(source, 1)) for source in 'abc')


def test_a_real_engine_serves_two_cameras_of_different_shape_without_compiling_again(
        tiny_ir: Path) -> None:
    engine = Engine(tiny_ir, EngineOptions(precision='f32', image_hw=(60, 80), sizes_kept=2))
    engine.warm_up((80, 60))
    threads, results = set(threading.enumerate()), []
    scheduler = FrameScheduler(engine, results.append)
    shapes = {'wide': (60, 80), 'tall': (80, 60)}
    try:
        for number in range(60):
            for value, (source, image_hw) in enumerate(shapes.items()):
                image = ColorImage(np.full((*image_hw, 3), number + 100 * value, np.uint8), 'bgr')
                scheduler.offer(Frame(number, lambda image=image: image, number, source))
            time.sleep(0.002)
        assert scheduler.drain(10)
        assert threads <= set(threading.enumerate())
    finally:
        scheduler.close()
        engine.close()
    shares = Counter(result.frame.source for result in results)
    # On a busy machine the second camera's frames may wait longer; they never starve.
    assert min(shares.values()) >= max(5, max(shares.values()) / 2)
    for result in results:
        wide = result.frame.source == 'wide'
        assert isinstance(result.outcome, np.ndarray)
        assert result.outcome.shape == ((112, 154) if wide else (154, 112))
        grey = result.frame.context + (0 if wide else 100)
        np.testing.assert_allclose(result.outcome, 7 * grey / 255, atol=1e-4)
