"""Infer requests: one answer per submission, also when the device is late, wrong or leaving."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
import math
from pathlib import Path
import threading
import time

from depth_anything_ros.errors import InferenceError, InferenceTimeoutError
from depth_anything_ros.inference.devices import open_core
from depth_anything_ros.inference.ir import build_graph
from depth_anything_ros.inference.pool import RequestPool
import numpy as np
import pytest
from thread_limit import refuse_threads
from tiny import TINY_INFO, weighted_sum
from waiting import Outcomes, until, within

ov = pytest.importorskip('openvino')

SIZE_HW = (112, 154)
SLOW_LAYERS = 12
MakePool = Callable[..., tuple[RequestPool, 'ov.CompiledModel']]


@pytest.fixture
def make_pool(make_ir: Callable[..., Path]) -> Iterator[MakePool]:
    """Return a function that gives a pool and its compiled model; the pools are closed."""
    pools: list[RequestPool] = []

    def make(count: int = 1, timeout_s: float = 20.0,
             **options: float) -> tuple[RequestPool, 'ov.CompiledModel']:
        core = open_core()
        graph = build_graph(core.read_model(str(make_ir(**options))), TINY_INFO, SIZE_HW)
        compiled = core.compile_model(graph, 'CPU', {
            'INFERENCE_PRECISION_HINT': 'f32', 'PERFORMANCE_HINT': 'LATENCY'})
        pools.append(RequestPool(compiled, count, timeout_s, 'CPU'))
        return pools[-1], compiled

    yield make
    for pool in pools:
        pool.close()


def filled_with(value: int) -> Callable[[np.ndarray], None]:
    """Return a ``fill`` that writes one grey."""
    return lambda network_input: network_input.fill(value)


def depth_of(value: int) -> float:
    """Return what the tiny network computes of one grey."""
    return float(weighted_sum(np.full((1, 1, 3), value, np.uint8))[0, 0])


def keep_busy(compiled: 'ov.CompiledModel', seconds: float) -> list['ov.InferRequest']:
    """Start so many other requests that the device has that long to do."""
    request = compiled.create_infer_request()
    request.infer()
    started = time.monotonic()
    request.infer()
    needed = math.ceil(seconds / (time.monotonic() - started))
    others = [compiled.create_infer_request() for _ in range(needed)]
    for other in others:
        other.start_async()
    return others


@pytest.mark.parametrize('count', [1, 3])
def test_every_submission_is_answered_once_with_its_own_depth(
        make_pool: MakePool, count: int) -> None:
    pool, _ = make_pool(count)
    answers = [Outcomes() for _ in range(24)]
    for value, outcomes in enumerate(answers):
        pool.submit(filled_with(10 * value), outcomes)
    for value, outcomes in enumerate(answers):
        depth = outcomes.first(1)[0]
        assert depth.shape == SIZE_HW and depth.dtype == np.float32
        np.testing.assert_allclose(depth, depth_of(10 * value), atol=1e-4)
    pool.close()
    assert [len(outcomes.all) for outcomes in answers] == [1] * 24


def test_a_depth_map_does_not_change_when_the_request_runs_again(make_pool: MakePool) -> None:
    pool, _ = make_pool()
    outcomes = Outcomes()
    pool.submit(filled_with(40), outcomes)
    first = outcomes.first(1)[0]
    pool.submit(filled_with(200), outcomes)
    outcomes.first(2)
    np.testing.assert_allclose(first, depth_of(40), atol=1e-4)


def test_submit_waits_while_no_request_is_idle(make_pool: MakePool) -> None:
    pool, _ = make_pool(slow_layers=SLOW_LAYERS)
    outcomes = Outcomes()
    for _ in range(4):
        pool.submit(filled_with(1), outcomes)
    assert len(outcomes.all) >= 2
    assert len(outcomes.first(4)) == 4


def test_a_late_request_is_reported_and_the_pool_serves_again(make_pool: MakePool) -> None:
    pool, compiled = make_pool(timeout_s=1.0, slow_layers=SLOW_LAYERS)
    outcomes = Outcomes()
    others = keep_busy(compiled, 2.5)
    pool.submit(filled_with(1), outcomes)
    late = outcomes.first(1)[0]
    assert isinstance(late, InferenceTimeoutError)
    assert 'CPU did not answer within 1 s' in str(late)
    for request in others:
        request.cancel()
    within(10, pool.submit, filled_with(50), outcomes)
    np.testing.assert_allclose(outcomes.first(2)[1], depth_of(50), atol=1e-3)
    pool.close()
    assert len(outcomes.all) == 2


def test_what_fill_raises_passes_through_and_the_request_is_idle_again(
        make_pool: MakePool) -> None:
    pool, _ = make_pool()
    outcomes = Outcomes()

    def fail(network_input: np.ndarray) -> None:
        raise ZeroDivisionError('no such image')

    for _ in range(3):
        with pytest.raises(ZeroDivisionError, match='no such image'):
            within(10, pool.submit, fail, outcomes)
    within(10, pool.submit, filled_with(7), outcomes)
    np.testing.assert_allclose(outcomes.first(1)[0], depth_of(7), atol=1e-4)


def test_an_output_without_a_finite_value_is_an_error(make_pool: MakePool) -> None:
    pool, _ = make_pool(gain=float('nan'))
    outcomes = Outcomes()
    pool.submit(filled_with(1), outcomes)
    error = outcomes.first(1)[0]
    assert isinstance(error, InferenceError)
    assert 'CPU returned no finite depth' in str(error) and 'precision f32' in str(error)


def test_an_error_while_the_output_is_copied_is_an_answer_and_the_pool_serves_on(
        make_pool: MakePool) -> None:
    _, compiled = make_pool()
    faults: list[Exception] = [MemoryError()]

    def finish(maps: Sequence[np.ndarray]) -> np.ndarray:
        if faults:
            raise faults.pop()
        return maps[0].copy()

    with closing(RequestPool(compiled, 1, 20.0, 'CPU', finish)) as pool:
        outcomes = Outcomes()
        for _ in range(2):
            within(10, pool.submit, filled_with(7), outcomes)
        error, depth = outcomes.first(2)
    assert isinstance(error, InferenceError) and 'CPU failed: MemoryError' in str(error)
    np.testing.assert_allclose(depth, depth_of(7), atol=1e-4)


def test_an_error_of_on_done_is_a_warning_and_the_pool_serves_on(make_pool: MakePool) -> None:
    _, compiled = make_pool()
    lines: list[str] = []

    def fail(outcome: object) -> None:
        raise KeyError('camera')

    with closing(RequestPool(compiled, 1, 20.0, 'CPU', warn=lines.append)) as pool:
        outcomes = Outcomes()
        for on_done in (fail, outcomes):
            within(20, pool.submit, filled_with(7), on_done)
        np.testing.assert_allclose(outcomes.first(1)[0], depth_of(7), atol=1e-4)
    assert lines == ["KeyError after an image was computed: 'camera'"]


def test_without_threads_for_all_requests_none_is_left(
        make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    _, compiled = make_pool()
    before = set(threading.enumerate())
    refuse_threads(monkeypatch, 'infer_request_2')
    with pytest.raises(RuntimeError, match="can't start new thread"):
        RequestPool(compiled, 4, 20.0, 'CPU')
    assert set(threading.enumerate()) <= before


def test_close_waits_for_what_is_in_flight_and_ends_the_threads(make_pool: MakePool) -> None:
    before = set(threading.enumerate())
    pool, _ = make_pool(2, slow_layers=SLOW_LAYERS)
    outcomes = Outcomes()
    pool.submit(filled_with(1), outcomes)
    pool.submit(filled_with(2), outcomes)
    pool.close()
    assert [type(outcome) for outcome in outcomes.all] == [np.ndarray] * 2
    assert not [thread for thread in set(threading.enumerate()) - before
                if thread.name.startswith('infer_request')]


def test_close_is_idempotent(make_pool: MakePool) -> None:
    pool, _ = make_pool(2)
    started = time.monotonic()
    for _ in range(3):
        pool.close()
    assert time.monotonic() - started < 2


def test_a_closed_pool_refuses_instead_of_never_answering(make_pool: MakePool) -> None:
    pool, _ = make_pool()
    pool.close()
    for _ in range(2):
        with pytest.raises(InferenceError, match='closed; configure'):
            pool.submit(filled_with(1), Outcomes())


def test_close_refuses_a_submit_that_waits_for_a_request_that_never_gets_idle(
        make_pool: MakePool) -> None:
    pool, _ = make_pool()
    inside, go_on, ends = threading.Event(), threading.Event(), []

    def fill_for_long(network_input: np.ndarray) -> None:
        inside.set()
        go_on.wait()

    def submit(fill: Callable[[np.ndarray], None]) -> None:
        try:
            pool.submit(fill, Outcomes())
        except InferenceError as error:
            ends.append(str(error))

    threads = [threading.Thread(target=submit, args=(fill,), daemon=True)
               for fill in (fill_for_long, filled_with(1))]
    threads[0].start()
    assert inside.wait(5)
    threads[1].start()
    pool.close()
    threads[1].join(5)
    assert not threads[1].is_alive() and len(ends) == 1
    go_on.set()
    threads[0].join(5)
    assert len(ends) == 2 and all('closed' in end for end in ends)


def test_a_submit_that_waits_during_close_is_refused_or_answered(make_pool: MakePool) -> None:
    pool, _ = make_pool(slow_layers=SLOW_LAYERS)
    outcomes, ends = Outcomes(), []

    def submit_many() -> None:
        try:
            for value in range(6):
                pool.submit(filled_with(value), outcomes)
                ends.append('accepted')
        except InferenceError:
            ends.append('refused')

    submitting = threading.Thread(target=submit_many, daemon=True)
    submitting.start()
    assert until(lambda: len(ends) >= 1)
    pool.close()
    submitting.join(10)
    assert not submitting.is_alive() and ends[-1] == 'refused'
    assert len(outcomes.first(ends.count('accepted'), timeout_s=2)) == ends.count('accepted')
