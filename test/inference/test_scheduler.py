"""The flow of frames: newest first, in order, counted, and never stuck."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
import math
from pathlib import Path
import threading
import time
from typing import Any

from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.inference.scheduler import Frame, FrameScheduler, Result
from depth_anything_ros.stamps import CLOCK_RESTART_NS
from depth_anything_ros.vision.color_image import ColorImage
from fake_engine import depth_of, FakeEngine
import numpy as np
import pytest
from waiting import until

S = 10 ** 9
PERIOD_NS = S // 30


class Receiver:
    """An ``on_result`` that keeps the results and waits while its gate is shut."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.fault: Exception | None = None

    def __call__(self, result: Result) -> None:
        """Keep ``result``, or raise the fault once."""
        self.entered.set()
        self.gate.wait()
        self.results.append(result)
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault

    @property
    def names(self) -> list[Any]:
        """Return the contexts of the frames that arrived."""
        return [result.frame.context for result in self.results]


Flow = tuple[FrameScheduler, FakeEngine, Receiver]


@pytest.fixture
def make_flow() -> Iterator[Callable[..., Flow]]:
    """Return a function that joins a scheduler, a fake engine and a receiver."""
    flows: list[Flow] = []

    def make(**options: Any) -> Flow:
        engine, receiver = FakeEngine(**options), Receiver()
        flows.append((FrameScheduler(engine, receiver), engine, receiver))
        return flows[-1]

    yield make
    for scheduler, engine, receiver in flows:
        engine.gate.set()
        receiver.gate.set()
        scheduler.close(0.01)


def frame(number: int, stamp_ns: int | None = None) -> Frame:
    """Return a frame whose pixels and context are its number."""
    pixels = np.full((2, 3, 3), number % 256, np.uint8)
    return Frame(S + number * PERIOD_NS if stamp_ns is None else stamp_ns,
                 lambda: ColorImage(pixels, 'bgr'), context=number)


def unreadable(number: int) -> Frame:
    """Return a frame that cannot be read."""
    def read() -> ColorImage:
        raise ValueError(f'frame {number} is broken')
    return Frame(S + number * PERIOD_NS, read, context=number)


def on_their_way(scheduler: FrameScheduler) -> int:
    """Return how many frames were offered and are not accounted for."""
    stats = scheduler.stats()
    return stats.offered - stats.delivered - stats.failed - stats.dropped - stats.late


def counts(scheduler: FrameScheduler) -> dict[str, int]:
    """Return the counts that are not zero."""
    stats = scheduler.stats()
    return {name: value for name in ('offered', 'delivered', 'failed', 'dropped', 'late')
            if (value := getattr(stats, name))}


def test_a_frame_comes_back_with_its_image_its_depth_and_its_context(
        make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, receiver = make_flow()
    offered = frame(7)
    assert scheduler.offer(offered)
    engine.answer(0)
    assert until(lambda: len(receiver.results) == 1)
    result = receiver.results[0]
    assert result.frame is offered and result.image is engine.submitted[0][0]
    assert isinstance(result.outcome, np.ndarray) and (result.outcome == 7).all()


def test_the_newest_frame_wins_and_the_others_count_as_dropped(
        make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, receiver = make_flow()
    scheduler.offer(frame(1))
    assert until(lambda: len(engine.submitted) == 1)
    for number in (2, 3, 4):
        assert scheduler.offer(frame(number))
    engine.answer(0)
    engine.answer(1)
    assert until(lambda: on_their_way(scheduler) == 0)
    assert receiver.names == [1, 4]
    assert counts(scheduler) == {'offered': 4, 'delivered': 2, 'dropped': 2}


def test_a_frame_that_is_dropped_is_never_read(make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, _ = make_flow()
    scheduler.offer(frame(1))
    assert until(lambda: len(engine.submitted) == 1)
    reads: list[str] = []

    def read() -> ColorImage:
        reads.append('dropped')
        return ColorImage(np.zeros((2, 3, 3), np.uint8), 'bgr')

    scheduler.offer(Frame(S + 2 * PERIOD_NS, read))
    scheduler.offer(frame(3))
    engine.answer(0)
    engine.answer(1)
    assert until(lambda: on_their_way(scheduler) == 0)
    assert reads == []


def test_results_leave_in_the_order_of_submission(make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, receiver = make_flow(capacity=3)
    for number in range(3):
        scheduler.offer(frame(number))
        assert until(lambda: len(engine.submitted) == number + 1)  # noqa: B023
    engine.answer(2)
    engine.answer(1)
    time.sleep(0.05)
    assert receiver.names == []
    engine.answer(0)
    assert until(lambda: receiver.names == [0, 1, 2])
    assert [int(result.outcome[0, 0]) for result in receiver.results] == [0, 1, 2]


def test_no_more_frames_are_in_flight_than_the_engine_has_room_for(
        make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, _ = make_flow(capacity=2)
    for number in range(5):
        scheduler.offer(frame(number))
        until(lambda: len(engine.submitted) > number, 0.03)  # noqa: B023
    assert len(engine.submitted) == 2


def test_a_frame_older_than_its_predecessor_counts_as_late(
        make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, receiver = make_flow(automatic=True)
    assert scheduler.offer(frame(1, 5 * S))
    assert not scheduler.offer(frame(2, 5 * S - 1))
    assert not scheduler.offer(frame(3, 5 * S - CLOCK_RESTART_NS + 1))
    assert scheduler.offer(frame(4, 5 * S + 1))
    assert scheduler.drain(5)
    assert 2 not in receiver.names and 3 not in receiver.names
    assert scheduler.stats().late == 2
    assert on_their_way(scheduler) == 0


def test_a_clock_that_starts_again_is_followed(make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, receiver = make_flow(automatic=True)
    for number, stamp_ns in enumerate((100 * S, 99 * S, 2 * S, 2 * S + PERIOD_NS, 0)):
        assert scheduler.offer(frame(number, stamp_ns))
        assert until(lambda: len(receiver.results) == number + 1)  # noqa: B023
    assert counts(scheduler) == {'offered': 5, 'delivered': 5}


def test_an_unreadable_frame_is_a_failed_result_and_the_next_one_works(
        make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, receiver = make_flow(automatic=True)
    scheduler.offer(unreadable(1))
    assert until(lambda: len(receiver.results) == 1)
    assert receiver.results[0].image is None
    assert str(receiver.results[0].outcome) == 'frame 1 is broken'
    scheduler.offer(frame(2))
    assert until(lambda: on_their_way(scheduler) == 0)
    assert counts(scheduler) == {'offered': 2, 'delivered': 1, 'failed': 1}
    assert scheduler.stats().last_error == 'frame 1 is broken'


def test_a_submission_that_the_engine_refuses_is_a_failed_result(
        make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, receiver = make_flow(automatic=True)
    engine.refuse = RuntimeError('no memory')
    scheduler.offer(frame(1))
    assert until(lambda: len(receiver.results) == 1)
    assert receiver.results[0].image is not None
    assert receiver.results[0].outcome is engine.refuse
    engine.refuse = None
    scheduler.offer(frame(2))
    assert until(lambda: counts(scheduler) == {'offered': 2, 'delivered': 1, 'failed': 1})


def test_an_error_of_the_engine_arrives_in_its_turn(make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, receiver = make_flow(capacity=2)
    for number in range(2):
        scheduler.offer(frame(number))
        assert until(lambda: len(engine.submitted) == number + 1)  # noqa: B023
    engine.answer(1)
    engine.answer(0, RuntimeError('lost'))
    assert until(lambda: len(receiver.results) == 2)
    assert str(receiver.results[0].outcome) == 'lost'
    assert (receiver.results[1].outcome == 1).all()


def test_a_receiver_that_raises_does_not_stop_the_flow(make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, receiver = make_flow(automatic=True)
    receiver.fault = KeyError('frame_id')
    scheduler.offer(frame(1))
    assert until(lambda: on_their_way(scheduler) == 0)
    scheduler.offer(frame(2))
    assert until(lambda: on_their_way(scheduler) == 0)
    assert receiver.names == [1, 2]
    assert counts(scheduler) == {'offered': 2, 'delivered': 1, 'failed': 1}
    assert 'frame_id' in scheduler.stats().last_error


def test_results_are_received_one_at_a_time_on_one_thread() -> None:
    threads, inside, most = set(), [0], [0]

    def on_result(result: Result) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        threads.add(threading.current_thread().name)
        time.sleep(0.002)
        inside[0] -= 1

    scheduler = FrameScheduler(FakeEngine(capacity=4, automatic=True), on_result)
    for number in range(60):
        scheduler.offer(frame(number))
        time.sleep(0.0005)
    assert scheduler.drain(5)
    scheduler.close()
    assert threads == {'deliver'} and most == [1]


def test_drain_drops_the_waiting_frame_and_waits_for_those_in_flight(
        make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, receiver = make_flow()
    scheduler.offer(frame(1))
    assert until(lambda: len(engine.submitted) == 1)
    scheduler.offer(frame(2))
    assert not scheduler.drain(0.05)
    assert not scheduler.offer(frame(3))
    threading.Timer(0.05, engine.answer, [0]).start()
    assert scheduler.drain(5)
    assert receiver.names == [1]
    assert counts(scheduler) == {'offered': 2, 'delivered': 1, 'dropped': 1}


def test_drain_waits_until_the_receiver_is_done(make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, receiver = make_flow(automatic=True)
    receiver.gate.clear()
    scheduler.offer(frame(1))
    assert receiver.entered.wait(5)
    assert not scheduler.drain(0.05)
    receiver.gate.set()
    assert scheduler.drain(5)
    assert receiver.names == [1]


def test_after_resume_frames_flow_again_whatever_their_stamp(
        make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, receiver = make_flow(automatic=True)
    scheduler.offer(frame(1, 9 * S))
    assert until(lambda: receiver.names == [1])
    assert scheduler.drain(5)
    assert not scheduler.offer(frame(2, 10 * S))
    scheduler.resume()
    assert scheduler.offer(frame(3, 9 * S - 5))
    assert until(lambda: receiver.names == [1, 3])
    assert counts(scheduler) == {'offered': 2, 'delivered': 2}


def test_close_is_idempotent_and_final(make_flow: Callable[..., Flow]) -> None:
    before = set(threading.enumerate())
    scheduler, engine, receiver = make_flow(automatic=True)
    scheduler.offer(frame(1))
    for _ in range(3):
        scheduler.close(5)
    assert set(threading.enumerate()) <= before
    scheduler.resume()
    assert not scheduler.offer(frame(2))
    assert on_their_way(scheduler) == 0


@pytest.mark.parametrize('stuck', ['in flight', 'in submit', 'in the receiver'])
def test_close_takes_no_longer_than_its_timeout_whatever_is_stuck(
        make_flow: Callable[..., Flow], stuck: str) -> None:
    scheduler, engine, receiver = make_flow(automatic=stuck == 'in the receiver')
    if stuck == 'in submit':
        engine.gate.clear()
    if stuck == 'in the receiver':
        receiver.gate.clear()
    scheduler.offer(frame(1))
    assert (receiver if stuck == 'in the receiver' else engine).entered.wait(5)
    for _ in range(2):
        started = time.monotonic()
        scheduler.close(0.4)
        assert 0.3 < time.monotonic() - started < 0.75


def test_a_slow_receiver_does_not_pile_up_results(make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, receiver = make_flow(capacity=2, automatic=True)
    receiver.gate.clear()
    for number in range(50):
        scheduler.offer(frame(number))
        time.sleep(0.001)
    time.sleep(0.05)
    assert len(engine.submitted) <= engine.capacity + 2
    receiver.gate.set()
    assert until(lambda: on_their_way(scheduler) == 0)
    assert receiver.names[-1] == 49
    assert receiver.names == sorted(receiver.names)


@pytest.mark.parametrize('stuck', ['submit', 'receiver'])
def test_offer_never_blocks(make_flow: Callable[..., Flow], stuck: str) -> None:
    scheduler, engine, receiver = make_flow(automatic=True)
    (engine if stuck == 'submit' else receiver).gate.clear()
    scheduler.offer(frame(0))
    assert (engine if stuck == 'submit' else receiver).entered.wait(5)
    worst_s = 0.0
    for number in range(1, 200):
        started = time.monotonic()
        assert scheduler.offer(frame(number))
        worst_s = max(worst_s, time.monotonic() - started)
    assert worst_s < 0.5


def test_every_offered_frame_is_counted_exactly_once() -> None:
    pauses, order = np.random.default_rng(3), np.random.default_rng(4)
    engine, receiver = FakeEngine(capacity=3), Receiver()
    answered = threading.Event()

    def answer_out_of_order() -> None:
        unanswered: list[int] = []
        seen = 0
        while not answered.is_set():
            submitted = len(engine.submitted)
            unanswered.extend(range(seen, submitted))
            seen = submitted
            if unanswered:
                index = unanswered.pop(int(order.integers(len(unanswered))))
                engine.answer(index, RuntimeError('odd') if index % 7 == 3 else None)
            time.sleep(0.0003)

    scheduler = FrameScheduler(engine, receiver)
    helper = threading.Thread(target=answer_out_of_order, daemon=True)
    helper.start()
    for number in range(400):
        if number % 11 == 5:
            scheduler.offer(unreadable(number))
        elif number % 13 == 5:
            scheduler.offer(frame(number, S + (number - 3) * PERIOD_NS))
        else:
            scheduler.offer(frame(number))
        time.sleep(float(pauses.uniform(0, 0.0008)))
    assert scheduler.drain(10)
    answered.set()
    helper.join(5)
    scheduler.close()
    stats = scheduler.stats()
    assert stats.offered == 400 and on_their_way(scheduler) == 0
    assert min(stats.delivered, stats.failed, stats.late) > 0
    assert len(receiver.results) == stats.delivered + stats.failed
    assert receiver.names == sorted(receiver.names)


class PromptEngine:
    """Answers each image on a thread of its own, as soon as it can."""

    capacity = 3

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(self.capacity)

    def submit(self, image: ColorImage, on_done: Callable[[Any], None]) -> None:
        """Hand the image over."""
        self.threads.submit(lambda: on_done(depth_of(image)))


def test_threads_that_offer_while_another_drains_and_resumes_lose_nothing() -> None:
    """Nobody is left asleep: after each resume results come, and each drain ends."""
    engine, receiver, end = PromptEngine(), Receiver(), threading.Event()
    scheduler = FrameScheduler(engine, receiver)
    accepted = dict.fromkeys(('front', 'rear', 'left', 'right'), 0)

    def offer(source: str) -> None:
        number = 0
        while not end.is_set():
            number += 1
            accepted[source] += scheduler.offer(replace(frame(number), source=source))
            time.sleep(0.0002)

    threads = [threading.Thread(target=offer, args=(source,), daemon=True) for source in accepted]
    for thread in threads:
        thread.start()
    for _ in range(200):
        before = len(receiver.results)
        assert until(lambda before=before: len(receiver.results) > before + 3)
        started = time.monotonic()
        assert scheduler.drain(5) and time.monotonic() - started < 2
        assert on_their_way(scheduler) == 0
        scheduler.resume()
    end.set()
    for thread in threads:
        thread.join(5)
    assert until(lambda: on_their_way(scheduler) == 0)
    scheduler.close()
    engine.threads.shutdown()
    stats = {source: scheduler.stats(source) for source in accepted}
    assert {source: each.offered for source, each in stats.items()} == accepted
    assert all(each.delivered > 0 and each.failed == each.late == 0 for each in stats.values())
    assert on_their_way(scheduler) == 0
    assert len(receiver.results) == scheduler.stats().delivered


def test_latency_runs_from_the_offer_to_the_end_of_delivery(
        make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, receiver = make_flow()
    before = scheduler.stats()
    assert math.isnan(before.latency_p50_ms) and math.isnan(before.last_depth_age_s)
    receiver.gate.clear()
    scheduler.offer(frame(1))
    time.sleep(0.03)
    engine.answer(0)
    time.sleep(0.03)
    receiver.gate.set()
    assert until(lambda: on_their_way(scheduler) == 0)
    stats = scheduler.stats()
    assert 60 <= stats.latency_p50_ms <= stats.latency_p95_ms < 5000
    assert 0 <= stats.last_depth_age_s < 5


def test_a_frame_that_fails_does_not_make_the_last_depth_younger(
        make_flow: Callable[..., Flow]) -> None:
    scheduler, engine, _ = make_flow()
    for number, outcome in enumerate((None, RuntimeError('lost'))):
        scheduler.offer(frame(number))
        time.sleep(0.05)
        engine.answer(number, *([] if outcome is None else [outcome]))
        assert until(lambda: on_their_way(scheduler) == 0)
    stats = scheduler.stats()
    assert (stats.delivered, stats.failed) == (1, 1)
    assert stats.last_depth_age_s >= 0.05


def test_a_real_engine_delivers_the_depth_of_each_frame_in_order(tiny_ir: Path) -> None:
    engine = Engine(tiny_ir, EngineOptions(precision='f32', image_hw=(60, 80), requests=2))
    receiver = Receiver()
    scheduler = FrameScheduler(engine, receiver)
    try:
        for number in range(40):
            pixels = np.full((60, 80, 3), number, np.uint8)
            read = ColorImage(pixels, 'bgr')
            scheduler.offer(Frame(S + number, lambda read=read: read, number))
            time.sleep(0.001)
        assert until(lambda: on_their_way(scheduler) == 0)
    finally:
        scheduler.close()
        engine.close()
    assert receiver.names[-1] == 39 and receiver.names == sorted(receiver.names)
    assert on_their_way(scheduler) == 0 and scheduler.stats().failed == 0
    for result in receiver.results:
        np.testing.assert_allclose(result.outcome, 7 * result.frame.context / 255, atol=1e-4)
