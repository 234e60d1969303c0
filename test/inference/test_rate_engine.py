"""An engine that holds a rate: what it takes, what it says, and how it steps."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
import threading
import time
from typing import Any

from depth_anything_ros.errors import (
    DeviceError, ImageError, InferenceError, InferenceTimeoutError)
from depth_anything_ros.inference import rate_engine
from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.inference.rate_control import InputSizeChange
from depth_anything_ros.inference.rate_engine import RateControlledEngine
from depth_anything_ros.inference.scheduler import Frame, FrameScheduler
from depth_anything_ros.inference.switchable_engine import SwitchableEngine
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.self_check import self_check_image
import numpy as np
import pytest
from thread_limit import refuse_threads
from waiting import Outcomes, until, within

pytest.importorskip('openvino')

IMAGE_HW = (120, 160)
IMAGE = ColorImage(self_check_image(IMAGE_HW), 'bgr')
TALL = ColorImage(self_check_image((160, 120)), 'bgr')
OPTIONS = EngineOptions(precision='f32', image_hw=IMAGE_HW, self_check=False, rate_hz=10.0)
# The input sizes are 112, 98, 84, 70, 56 and 42.
NETWORK_HW = {70: (70, 98), 56: (56, 70)}


class Opened:
    """Opens engines whose times are those of a table, and keeps what they say."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warned: list[str] = []
        self.reported: list[str] = []
        self.engines: list[RateControlledEngine] = []

    def __call__(self, seconds: tuple[float, ...] = (), **changes: Any) -> RateControlledEngine:
        """Return an engine; ``seconds`` are what is measured, in order; more is a failure."""
        times = iter(seconds)

        def measure(run: Callable[[], object]) -> float:
            run()
            return next(times)

        before = changes.pop('before', None)
        self.engines.append(RateControlledEngine(
            self.path, replace(OPTIONS, **changes), self.warned.append, self.reported.append,
            before, measure))
        assert next(times, None) is None, 'more should have been measured'
        return self.engines[-1]


@pytest.fixture
def opened(tiny_ir: Path) -> Iterator[Opened]:
    """Return what opens engines; all are closed afterwards."""
    opened = Opened(tiny_ir)
    yield opened
    for engine in opened.engines:
        within(20, engine.close)


def compute(engine: RateControlledEngine, image: ColorImage = IMAGE) -> Any:
    """Return the outcome of one image."""
    outcomes = Outcomes()
    engine.submit(image, outcomes)
    return outcomes.first(1)[0]


def settle(engine: RateControlledEngine) -> None:
    """Wait until the neighbouring sizes are prepared."""
    assert until(lambda: engine._preparing is None)


def force(engine: RateControlledEngine, monkeypatch: pytest.MonkeyPatch, index: int) -> None:
    """Let the next image that counts change the input size to number ``index``."""
    settle(engine)
    rate_control = engine._rate_control
    observe = rate_control.observe

    def step(now_s: float, seconds: float) -> InputSizeChange:
        monkeypatch.setattr(rate_control, 'observe', observe)
        rate_control._index = index
        return InputSizeChange(index, 8.0, 12.0)

    monkeypatch.setattr(rate_control, 'observe', step)


def compiled_sizes(engine: RateControlledEngine) -> list[int]:
    """Return the input sizes that are compiled now."""
    return sorted((each.state.input_size for each in engine._engines._engines.values()),
                  reverse=True)


def request_threads() -> set[threading.Thread]:
    """Return the threads of the infer requests that exist now."""
    return {thread for thread in threading.enumerate()
            if thread.name.startswith('infer_request')}


def test_the_largest_size_is_chosen_if_it_reaches_the_rate(opened: Opened) -> None:
    engine = opened((0.05, 0.01))
    assert engine.state.input_size == 112 and compute(engine).shape == (112, 154)
    assert opened.reported[-1] == (
        'input_size 112 reaches 20.0 images/s (measured); target_rate needs 10, 11.0 with the '
        'margin; it is the largest size allowed')
    assert opened.reported[:-1] == [f'measuring input_size {size} for 10 images/s'
                                    for size in (112, 42)]
    assert opened.warned == []


def test_a_smaller_size_is_measured_before_it_runs_and_the_next_larger_one_is_named(
        opened: Opened) -> None:
    engine = opened((0.2, 0.02, 0.08))
    assert engine.state.input_size == 70
    state = engine.state
    assert (state.device, state.execution_device, state.execution_precision) == (
        'CPU', 'CPU', 'f32')
    assert opened.reported[-1].startswith(
        'input_size 70 reaches 12.5 images/s (measured); target_rate needs 10, 11.0 with the '
        'margin; input_size 84 would reach ')
    depth = compute(engine)
    assert depth.shape == engine.state.network_hw == NETWORK_HW[70]


def test_if_the_smallest_is_too_slow_it_runs_with_a_warning_that_names_the_fix(
        opened: Opened) -> None:
    engine = opened((2.0, 0.2))
    assert engine.state.input_size == 42
    [warning] = opened.warned
    assert 'input_size 42 reaches 5.0 images/s' in warning
    assert 'smallest size is too slow' in warning
    assert 'INT8' in warning and 'smaller encoder' in warning


def test_input_size_is_the_upper_limit(opened: Opened) -> None:
    assert opened((0.05, 0.01), input_size=84).state.input_size == 84


def test_an_input_size_with_none_below_it_is_measured_and_runs(opened: Opened) -> None:
    engine = opened((0.01,), input_size=14)
    for _ in range(3):
        assert compute(engine).shape == engine.state.network_hw == (14, 14)
    assert 'largest size allowed' in opened.reported[-1] and opened.warned == []


def test_known_times_replace_the_measurement(opened: Opened) -> None:
    before = opened((0.2, 0.02, 0.08))
    engine = opened((), input_size=84, before=before)
    assert engine.state.input_size == 70
    assert 'predicted' in opened.reported[-1]


def test_a_model_of_one_size_runs_at_that_size_with_a_warning(
        opened: Opened, make_ir: Callable[..., Path]) -> None:
    opened.path = make_ir(fixed_size_hw=(56, 84))
    engine = opened()
    assert 'target_rate has no effect: the model takes 84x56 only' in opened.warned[0]
    for _ in range(5):
        assert compute(engine).shape == (56, 84)
    settle(engine)
    assert len(request_threads()) == engine.capacity


def test_the_first_image_compiles_the_neighbouring_sizes_only(
        opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that is computed: one that fails may never come again."""
    engine = opened((0.2, 0.02, 0.08))
    with monkeypatch.context() as patch:
        patch.setattr(engine._engine, 'submit', lambda image, done: done(InferenceError('no')))
        compute(engine)
    settle(engine)
    assert compiled_sizes(engine) == [70]
    compute(engine)
    settle(engine)
    assert compiled_sizes(engine) == [84, 70, 56]
    assert len(request_threads()) == 3 * engine.capacity


def test_a_change_is_reported_once_and_compiles_only_the_next_neighbour(
        opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = opened((0.2, 0.02, 0.08))
    compute(engine)
    force(engine, monkeypatch, 4)
    compute(engine)
    assert engine.state.input_size == 56
    assert opened.reported[-1] == (
        'input_size 70 -> 56: 8.0 images/s possible, 10 wanted, 12.0 expected')
    count = len(opened.reported)
    assert compute(engine).shape == NETWORK_HW[56]
    settle(engine)
    assert compiled_sizes(engine) == [70, 56, 42] and len(opened.reported) == count


def test_a_new_image_size_is_prepared_on_the_neighbours_too(
        opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = opened((0.2, 0.02, 0.08), sizes_kept=2)
    for image in (IMAGE, TALL, IMAGE, IMAGE):
        compute(engine, image)
    settle(engine)
    assert engine._image_sizes == (TALL.size_hw, IMAGE_HW)
    threads = request_threads()
    assert len(threads) == 6 * engine.capacity
    force(engine, monkeypatch, 4)
    compute(engine)
    assert compute(engine, TALL).shape == (70, 56) and compute(engine).shape == (56, 70)
    settle(engine)
    assert len(request_threads()) == 6 * engine.capacity


def test_a_neighbour_is_compiled_for_the_images_that_come_only_and_is_not_checked_again(
        opened: Opened) -> None:
    engine = opened((0.2, 0.02, 0.08), sizes_kept=2, self_check=True)
    compute(engine, TALL)
    settle(engine)
    # The present size was measured with images of the expected size.
    assert len(request_threads()) == 4 * engine.capacity
    engines = engine._engines._engines
    assert not any(engines[index]._options.self_check for index in (2, 4))


def test_without_a_size_to_spare_only_the_image_size_in_use_is_kept(opened: Opened) -> None:
    engine = opened((0.2, 0.02, 0.08))
    for image in (IMAGE, TALL):
        compute(engine, image)
        settle(engine)
    assert len(request_threads()) == 3 * engine.capacity
    assert all(engine._engines.is_ready(index, (160, 120)) for index in (2, 3, 4))


class Slow:
    """Makes one engine answer late, as another process on its cores would."""

    def __init__(self, engine: Engine, delay_s: float) -> None:
        submit = engine.submit

        def late(image: ColorImage, on_done: Callable[[Any], None]) -> None:
            submit(image, lambda outcome: (time.sleep(delay_s), on_done(outcome)))

        engine.submit = late  # type: ignore[method-assign, assignment]


def test_an_engine_that_becomes_slow_steps_down_and_loses_no_frame(opened: Opened) -> None:
    engine, results = opened((0.08, 0.02), requests=1), []
    scheduler = FrameScheduler(engine, lambda result: results.append((time.monotonic(), result)))
    try:
        number = 0

        def flow() -> bool:
            nonlocal number
            number += 1
            scheduler.offer(Frame(number, lambda: IMAGE, number))
            time.sleep(0.02)
            return False

        assert not until(flow, 0.5) and engine.state.input_size == 112
        settle(engine)
        Slow(engine._engine, 0.15)
        until(lambda: flow() or engine.state.input_size < 112, 10)
        until(flow, 0.5)
        assert engine.state.input_size == 98
        assert scheduler.drain(5)
    finally:
        scheduler.close()
    stats = scheduler.stats()
    assert stats.failed == 0 and stats.delivered + stats.dropped == number
    shapes = [result.outcome.shape for _, result in results]
    assert set(shapes) == {(112, 154), (98, 126)} and shapes == sorted(shapes, reverse=True)
    assert np.diff([at_s for at_s, _ in results]).max() < 1.0, 'a pause of a compilation'


def test_an_image_of_the_size_before_the_change_does_not_count(
        opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, seen, waiting = opened((0.2, 0.02, 0.08)), [], []
    compute(engine)
    force(engine, monkeypatch, 4)
    with monkeypatch.context() as patch:
        patch.setattr(engine._engine, 'submit', lambda image, done: waiting.append(done))
        engine.submit(IMAGE, Outcomes())
    compute(engine)
    settle(engine)
    monkeypatch.setattr(engine._rate_control, 'observe',
                        lambda now_s, seconds: seen.append(seconds))
    waiting[0](np.zeros((70, 98), np.float32))
    assert engine.state.input_size == 56 and seen == []
    compute(engine)
    assert len(seen) == 1


def test_images_that_time_out_lead_down_as_well(
        opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails at once tells nothing of the time an image takes."""
    engine, seen = opened((0.2, 0.02, 0.08)), []
    compute(engine)
    settle(engine)
    monkeypatch.setattr(engine._rate_control, 'observe',
                        lambda now_s, seconds: seen.append(seconds))
    for outcome in (InferenceError('refused'), InferenceTimeoutError('CPU', 0.1)):
        monkeypatch.setattr(engine._engine, 'submit',
                            lambda image, done, outcome=outcome: done(outcome))
        assert compute(engine) is outcome
    assert len(seen) == 1


def test_while_sizes_are_prepared_no_image_counts_and_the_rate_is_measured_again_after_it(
        opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, gate, seen = opened((0.2, 0.02, 0.08)), threading.Event(), []
    compute(engine)
    settle(engine)
    rate_control, prepare = engine._rate_control, engine._engines.prepare
    observe = rate_control.observe
    monkeypatch.setattr(engine._engines, 'prepare',
                        lambda *what: (gate.wait(20), prepare(*what)))
    monkeypatch.setattr(rate_control, 'observe', lambda now_s, seconds: seen.append(seconds))
    for now_s in (0.0, 0.6, 1.2, 1.8, 2.4):
        assert observe(now_s, 0.6) is None
    for _ in range(3):
        compute(engine, TALL)
    assert seen == []
    gate.set()
    settle(engine)
    assert observe(3.4, 0.6) is None, 'too slow for two seconds, but half of them do not count'
    compute(engine, TALL)
    assert len(seen) == 1


def test_what_waits_for_an_earlier_image_is_not_counted_twice(
        opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, seen = opened((0.2, 0.02, 0.08)), []
    compute(engine)
    settle(engine)
    monkeypatch.setattr(engine._rate_control, 'observe',
                        lambda now_s, seconds: seen.append(seconds))
    waiting: list[Callable[[Any], None]] = []
    monkeypatch.setattr(engine._engine, 'submit', lambda image, done: waiting.append(done))
    for _ in range(3):
        engine.submit(IMAGE, lambda outcome: None)
    for done in waiting:
        time.sleep(0.05)
        done(np.zeros((2, 2), np.float32))
    assert seen == pytest.approx([0.05] * 3, abs=0.03)


def test_a_neighbour_that_cannot_be_compiled_leaves_the_present_size_at_work(
        opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = opened((0.2, 0.02, 0.08))

    def fail(index: int, image_hw: tuple[int, int]) -> None:
        raise InferenceError('CPU cannot compile it')

    monkeypatch.setattr(engine._engines, 'prepare', fail)
    compute(engine)
    assert until(lambda: bool(opened.warned))
    settle(engine)
    assert opened.warned == [
        f'input_size stays 70 while 160x120 images come, because {size} is impossible: '
        'CPU cannot compile it' for size in (84, 56)]
    seen: list[float] = []
    monkeypatch.setattr(engine._rate_control, 'observe',
                        lambda now_s, seconds: seen.append(seconds))
    for _ in range(5):
        assert compute(engine).shape == NETWORK_HW[70]
    assert len(opened.warned) == 2 and not seen


def test_an_error_that_nobody_expects_leaves_the_present_size_at_work(
        opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = opened((0.2, 0.02, 0.08))

    def fail(index: int, image_hw: tuple[int, int]) -> None:
        raise RuntimeError('the driver is gone')

    monkeypatch.setattr(engine._engines, 'prepare', fail)
    compute(engine)
    assert until(lambda: bool(opened.warned))
    assert opened.warned == ['input_size stays 70 under any load: the driver is gone']
    assert compute(engine).shape == NETWORK_HW[70]


def test_without_a_thread_for_the_neighbours_every_image_is_answered(
        opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = opened((0.2, 0.02, 0.08))
    with monkeypatch.context() as patch:
        refuse_threads(patch, 'prepare_sizes')
        assert compute(engine).shape == NETWORK_HW[70]
    assert opened.warned == ["input_size stays 70 under any load: can't start new thread"]
    assert compute(engine).shape == NETWORK_HW[70] and len(opened.warned) == 1
    within(20, engine.close)


def test_images_that_a_neighbour_refuses_stop_changes_only_while_they_come(
        opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """One oblong image must not end the control of the rate for good."""
    engine, seen = opened((0.2, 0.02, 0.08)), []
    prepare = engine._engines.prepare

    def refuse_tall(index: int, image_hw: tuple[int, int]) -> None:
        if index == 2 and image_hw == TALL.size_hw:
            raise ImageError('it needs too large a network')
        prepare(index, image_hw)

    monkeypatch.setattr(engine._engines, 'prepare', refuse_tall)
    monkeypatch.setattr(engine._rate_control, 'observe',
                        lambda now_s, seconds: seen.append(seconds))
    compute(engine, TALL)
    settle(engine)
    assert len(opened.warned) == 1 and opened.warned[0].endswith(
        'while 120x160 images come, because 84 is impossible: it needs too large a network')
    compute(engine)
    settle(engine)
    compute(engine)
    assert len(seen) == 1
    compute(engine, TALL)
    settle(engine)
    compute(engine)
    settle(engine)
    assert len(seen) == 1 and len(opened.warned) == 1
    monkeypatch.setattr(rate_engine, '_STAYS_S', 0.0)
    compute(engine)
    assert len(seen) == 2


def test_what_cannot_start_raises_as_the_engine_does_and_leaves_nothing(
        opened: Opened, make_ir: Callable[..., Path]) -> None:
    before = request_threads()
    with pytest.raises(DeviceError, match='GPU.7'):
        opened((0.1,), devices=('GPU.7',))
    with pytest.raises(StopIteration):
        opened((0.2,))
    opened.path = make_ir(wrong_check=True)
    with pytest.raises(DeviceError, match='computes something else'):
        opened((0.1,), self_check=True)
    assert request_threads() == before


def test_a_device_that_does_not_work_is_tried_and_logged_once(opened: Opened) -> None:
    engine = opened((0.2, 0.02, 0.08), devices=('GPU.7', 'CPU'))
    compute(engine)
    settle(engine)
    assert [line.split(' cannot run')[0] for line in opened.warned] == ['GPU.7']


def test_close_waits_for_the_size_that_compiles_and_is_final(opened: Opened) -> None:
    before = set(threading.enumerate())
    engine = opened((0.2, 0.02, 0.08))
    compute(engine)
    engine.close()
    within(20, engine.close)
    assert set(threading.enumerate()) <= before
    with pytest.raises(InferenceError, match='engine is closed'):
        engine.submit(IMAGE, Outcomes())
    assert set(threading.enumerate()) <= before


def test_closing_ends_the_preparation_with_the_size_that_compiles(
        opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, prepared = opened((0.2, 0.02, 0.08)), []
    closing = threading.Thread(target=engine.close, daemon=True)

    def prepare(*what: Any) -> None:
        prepared.append(what)
        closing.start()
        assert until(lambda: engine._closed)

    monkeypatch.setattr(engine._engines, 'prepare', prepare)
    compute(engine)
    assert until(lambda: bool(prepared))
    within(120, closing.join)
    assert len(prepared) == 1 and opened.warned == []


def test_an_image_that_ends_while_the_engine_closes_changes_no_input_size(
        opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, waiting = opened((0.2, 0.02, 0.08)), []
    compute(engine)
    force(engine, monkeypatch, 4)
    monkeypatch.setattr(engine._engine, 'submit', lambda image, done: waiting.append(done))
    engine.submit(IMAGE, Outcomes())
    engine.close()
    reported = list(opened.reported)
    waiting[0](np.zeros((70, 98), np.float32))
    assert compiled_sizes(engine) == [] and opened.reported == reported


def test_warming_up_compiles_the_present_input_size(opened: Opened) -> None:
    engine = opened((0.2, 0.02, 0.08))
    engine.warm_up(TALL.size_hw)
    assert engine._engine.is_compiled_for(TALL.size_hw) and compiled_sizes(engine) == [70]


def test_another_input_size_at_run_time_is_chosen_from_what_was_measured(tiny_ir: Path) -> None:
    """Measuring while the old engine works would find everything slow."""
    reported: list[str] = []
    engine = SwitchableEngine(tiny_ir, replace(OPTIONS, rate_hz=0.5), report=reported.append)
    try:
        assert engine.state.input_size == 112
        lines, done = len(reported), Outcomes()
        engine.switch(replace(OPTIONS, rate_hz=0.5, input_size=56), (IMAGE_HW,), done)
        assert done.first(1) == [None]
        assert engine.state.input_size == 56 and engine.state.network_hw == (56, 70)
        assert len(reported) == lines + 1 and 'input_size 56' in reported[-1]
    finally:
        engine.close()
