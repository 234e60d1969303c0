"""The engine on a real device with tiny IRs: what it computes, refuses, reports and gives back."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
import subprocess
import sys
import threading
from typing import Any

import cv2
from depth_anything_ros.errors import (
    DeviceError, ImageError, InferenceError, InferenceTimeoutError, ModelError)
from depth_anything_ros.inference import devices
from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.self_check import self_check_image
import numpy as np
import pytest
from tiny import weighted_sum
from waiting import Outcomes

ov = pytest.importorskip('openvino')

IMAGE_HW = (120, 160)
OPTIONS = EngineOptions(precision='f32', image_hw=IMAGE_HW)
MakeEngine = Callable[..., Engine]


@pytest.fixture
def make_engine(tiny_ir: Path) -> Iterator[MakeEngine]:
    """Return a function that opens an engine with changed options; all are closed afterwards."""
    engines: list[Engine] = []

    def make(path: Path = tiny_ir, log: Callable[[str], None] = lambda line: None,
             **changes: Any) -> Engine:
        engines.append(Engine(path, replace(OPTIONS, **changes), log))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def compute(engine: Engine, pixels: np.ndarray, order: str = 'bgr') -> Any:
    """Return the outcome of one image."""
    outcomes = Outcomes()
    engine.submit(ColorImage(pixels, order), outcomes)  # type: ignore[arg-type]
    return outcomes.first(1)[0]


def expected_depth(image_bgr: np.ndarray, network_hw: tuple[int, int]) -> np.ndarray:
    """Return what the tiny network must give for an image, computed another way."""
    resized = cv2.resize(image_bgr, network_hw[::-1], interpolation=cv2.INTER_CUBIC)
    return weighted_sum(resized)


def request_threads() -> set[threading.Thread]:
    """Return the threads of the infer requests that exist now."""
    return {thread for thread in threading.enumerate()
            if thread.name.startswith('infer_request')}


def test_depth_has_the_size_and_the_values_of_the_network(
        make_engine: MakeEngine) -> None:
    engine, image = make_engine(), self_check_image(IMAGE_HW)
    depth = compute(engine, image)
    assert engine.state.network_hw == (112, 154)
    assert depth.shape == (112, 154) and depth.dtype == np.float32
    np.testing.assert_allclose(depth, expected_depth(image, (112, 154)), atol=1e-4)


def test_a_letterbox_gives_the_depth_of_the_image_without_its_borders(
        make_engine: MakeEngine, make_ir: Callable[..., Path]) -> None:
    engine, image = make_engine(make_ir(resize='letterbox')), self_check_image(IMAGE_HW)
    depth = compute(engine, image)
    assert engine.state.network_hw == (112, 112)
    np.testing.assert_allclose(depth, expected_depth(image, (84, 112)), atol=1e-4)


def test_a_letterbox_without_memory_for_its_map_is_answered(
        make_engine: MakeEngine, make_ir: Callable[..., Path],
        monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(depth: np.ndarray, content: object, network_hw: object) -> np.ndarray:
        raise MemoryError

    engine, image = make_engine(make_ir(resize='letterbox')), self_check_image(IMAGE_HW)
    with monkeypatch.context() as patch:
        patch.setattr('depth_anything_ros.inference.engine.cut_borders', fail)
        failure = compute(engine, image)
    assert isinstance(failure, InferenceError) and 'CPU failed: MemoryError' in str(failure)
    assert compute(engine, image).shape == (84, 112)


@pytest.mark.parametrize('order', ['rgb', 'bgra', 'rgba', 'mono'])
def test_the_order_of_the_channels_does_not_change_the_depth(
        make_engine: MakeEngine, order: str) -> None:
    image = self_check_image(IMAGE_HW)
    if order == 'mono':
        image = np.repeat(image[..., :1], 3, axis=2)
    alpha = np.full((*IMAGE_HW, 1), 255, np.uint8)
    pixels = {'rgb': image[..., ::-1], 'bgra': np.dstack([image, alpha]),
              'rgba': np.dstack([image[..., ::-1], alpha]), 'mono': image[..., 0]}[order]
    engine = make_engine()
    depth = compute(engine, np.ascontiguousarray(pixels), order)
    assert np.array_equal(depth, compute(engine, image))


def test_rows_with_padding_give_the_same_depth(make_engine: MakeEngine) -> None:
    engine, image = make_engine(), self_check_image(IMAGE_HW)
    padded = np.zeros((IMAGE_HW[0], IMAGE_HW[1] + 5, 3), np.uint8)
    padded[:, :-5] = image
    assert np.array_equal(compute(engine, padded[:, :-5]), compute(engine, image))


def test_a_device_in_small_letters_is_told_from_one_without_a_driver(
        make_engine: MakeEngine) -> None:
    with pytest.raises(DeviceError, match='cpu: OpenVINO sees no such device; write it in cap'):
        make_engine(devices=('cpu',))


def test_the_first_device_that_works_runs_and_each_other_one_gets_a_line(
        make_engine: MakeEngine) -> None:
    lines: list[str] = []
    engine = make_engine(log=lines.append, devices=('NPU.9', 'GPU.7', 'CPU', 'NPU.8'))
    assert [line.split(' cannot run the model: ')[0] for line in lines] == ['NPU.9', 'GPU.7']
    assert all('no such device; is its driver installed?' in line for line in lines)
    assert engine.state.device == 'CPU' and engine.state.execution_device == 'CPU'
    assert compute(engine, self_check_image(IMAGE_HW)).shape == engine.state.network_hw


def test_a_device_that_failed_does_not_spoil_the_next(tiny_ir: Path) -> None:
    lines: list[str] = []
    options = replace(OPTIONS, devices=('CPU', 'CPU'), precision='f7', self_check=False)

    def the_next_device_knows_the_precision(line: str) -> None:
        lines.append(line)
        object.__setattr__(options, 'precision', 'f32')

    engine = Engine(tiny_ir, options, the_next_device_knows_the_precision)
    try:
        assert len(lines) == 1 and 'f7' in lines[0]
        assert compute(engine, self_check_image(IMAGE_HW)).shape == engine.state.network_hw
    finally:
        engine.close()


def test_without_a_working_device_the_error_names_what_was_tried_and_what_there_is(
        make_engine: MakeEngine) -> None:
    with pytest.raises(DeviceError) as error:
        make_engine(devices=('GPU.7', 'CPU'), precision='f7', self_check=False)
    assert [device for device, _ in error.value.tried] == ['GPU.7', 'CPU']
    assert 'f7' in error.value.tried[1][1]
    assert ', '.join(ov.Core().available_devices) in str(error.value)


def test_an_engine_that_could_not_start_leaves_no_thread(
        make_engine: MakeEngine, make_ir: Callable[..., Path]) -> None:
    before = request_threads()
    with pytest.raises(DeviceError, match='no finite depth'):
        make_engine(make_ir(gain=float('nan')), self_check=False, devices=('CPU', 'CPU'))
    assert request_threads() == before


@pytest.mark.parametrize(('wrong', 'fact'), [
    ({'wrong_check': True}, 'CPU computes something else than f32'),
    ({'gain': float('nan')}, 'CPU returned no finite depth')])
def test_a_device_that_computes_something_else_is_refused(
        make_engine: MakeEngine, make_ir: Callable[..., Path], wrong: dict[str, Any],
        fact: str) -> None:
    with pytest.raises(DeviceError, match=fact) as error:
        make_engine(make_ir(**wrong))
    assert 'precision f32' in str(error.value)


def test_a_device_that_hangs_in_the_self_check_is_not_used(
        make_ir: Callable[..., Path]) -> None:
    slow = make_ir(slow_layers=150)
    with pytest.raises(DeviceError, match='CPU did not answer within 0.05 s'):
        Engine(slow, EngineOptions(timeout_s=0.05, start_timeout_s=0.05, image_hw=(14, 14),
                                   input_size=14))


def test_self_check_and_warm_up_have_longer_than_a_frame(
        make_engine: MakeEngine, make_ir: Callable[..., Path]) -> None:
    """A loaded machine is slow at first; only frames are limited by ``timeout_s``."""
    engine = make_engine(make_ir(slow_layers=40), timeout_s=0.001)
    late = compute(engine, self_check_image(IMAGE_HW))
    assert isinstance(late, InferenceTimeoutError)
    assert 'within 0.001 s and the frame was given up; raise request_timeout' in str(late)


def test_a_start_has_never_less_time_than_a_frame(
        make_engine: MakeEngine, make_ir: Callable[..., Path]) -> None:
    engine = make_engine(make_ir(slow_layers=12), timeout_s=60.0, start_timeout_s=0.001)
    assert engine.state.device == 'CPU'


def test_a_warm_up_that_hangs_names_what_to_do_at_the_start(
        make_ir: Callable[..., Path]) -> None:
    with pytest.raises(DeviceError, match='0.05 s at the start; lower input_size or use another'):
        Engine(make_ir(slow_layers=150), EngineOptions(
            timeout_s=0.05, start_timeout_s=0.05, image_hw=(480, 640), self_check=False))


def test_the_self_check_can_be_switched_off(
        make_engine: MakeEngine, make_ir: Callable[..., Path]) -> None:
    engine = make_engine(make_ir(wrong_check=True), self_check=False)
    assert compute(engine, self_check_image(IMAGE_HW)).shape == engine.state.network_hw


def test_an_unusable_model_is_a_model_error_not_a_device_error(
        make_engine: MakeEngine, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match='no such file'):
        make_engine(tmp_path / 'missing.xml')


def test_a_new_aspect_ratio_compiles_once_and_results_have_the_new_size(
        make_engine: MakeEngine) -> None:
    engine = make_engine()
    before = request_threads()
    tall = self_check_image((160, 120))
    for _ in range(3):
        np.testing.assert_allclose(compute(engine, tall), expected_depth(tall, (154, 112)),
                                   atol=1e-4)
    after = request_threads()
    assert engine.state.network_hw == (154, 112) and after.isdisjoint(before)
    compute(engine, tall)
    assert request_threads() == after


def test_a_model_of_one_size_gets_every_image_in_that_size(
        make_engine: MakeEngine, make_ir: Callable[..., Path]) -> None:
    engine = make_engine(make_ir(fixed_size_hw=(56, 84)))
    for size_hw in ((120, 160), (90, 30), (10, 800)):
        assert compute(engine, self_check_image(size_hw)).shape == (56, 84)
    assert engine.state.network_hw == (56, 84)


def test_an_image_of_another_size_but_the_same_shape_compiles_nothing(
        make_engine: MakeEngine) -> None:
    engine = make_engine()
    before = request_threads()
    large = self_check_image((240, 320))
    np.testing.assert_allclose(compute(engine, large), expected_depth(large, (112, 154)),
                               atol=1e-4)
    assert request_threads() == before


def test_the_input_size_is_that_of_the_options_or_of_the_model(make_engine: MakeEngine) -> None:
    engine, image = make_engine(input_size=56), self_check_image(IMAGE_HW)
    np.testing.assert_allclose(compute(engine, image), expected_depth(image, (56, 70)), atol=1e-4)
    assert engine.state.input_size == 56 and engine.state.network_hw == (56, 70)
    assert make_engine().state.input_size == 112


def test_a_size_that_is_kept_is_not_compiled_again(make_engine: MakeEngine) -> None:
    engine = make_engine(sizes_kept=2)
    images = self_check_image(IMAGE_HW), self_check_image((160, 120))
    engine.warm_up((160, 120))
    kept = request_threads()
    for image in (*images, *images):
        depth = compute(engine, image)
        assert engine.state.network_hw == depth.shape
        np.testing.assert_allclose(depth, expected_depth(image, depth.shape), atol=1e-4)
    assert request_threads() == kept and len(kept) == 2 * engine.capacity


def test_of_the_sizes_kept_the_one_used_longest_ago_goes(make_engine: MakeEngine) -> None:
    engine = make_engine(sizes_kept=2)
    first = request_threads()
    engine.warm_up((160, 120))
    second = request_threads() - first
    engine.warm_up(IMAGE_HW)
    engine.warm_up((120, 120))
    left = request_threads()
    assert first <= left and left.isdisjoint(second) and len(left) == 2 * engine.capacity


def test_an_image_too_oblong_for_the_memory_is_refused_and_the_next_one_works(
        make_engine: MakeEngine) -> None:
    engine = make_engine()
    with pytest.raises(ImageError, match='8000x1 .* lower input_size'):
        compute(engine, np.zeros((1, 8000, 3), np.uint8))
    assert compute(engine, self_check_image(IMAGE_HW)).shape == engine.state.network_hw


def test_an_image_too_long_to_finish_soon_is_refused_and_the_longest_one_works(
        make_engine: MakeEngine) -> None:
    engine = make_engine()
    with pytest.raises(ImageError, match='800x10 .* 8960x112, which is too long; crop it to at'):
        compute(engine, np.zeros((10, 800, 3), np.uint8))
    assert compute(engine, np.zeros((790, 10, 3), np.uint8)).shape == (79 * 112, 112)
    large = make_engine(input_size=518)
    with pytest.raises(ImageError, match='210x10 .* 10878x518, which is too l'):
        compute(large, np.zeros((10, 210, 3), np.uint8))


@pytest.mark.parametrize('image_hw', [(0, 640), (10, 8000)])
def test_the_device_is_not_at_fault_for_the_size_to_start_with(
        make_engine: MakeEngine, image_hw: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=f'a {image_hw[1]}x{image_hw[0]} image'):
        make_engine(image_hw=image_hw)


def test_f32_is_exact_and_auto_says_what_the_device_chose(make_engine: MakeEngine) -> None:
    image = self_check_image(IMAGE_HW)
    exact, chosen = make_engine(precision='f32'), make_engine(precision='auto')
    assert exact.state.execution_precision == 'f32'
    assert chosen.state.execution_precision in ('f32', 'bf16', 'f16')
    expected = expected_depth(image, (112, 154))
    np.testing.assert_allclose(compute(exact, image), expected, atol=1e-4)
    np.testing.assert_allclose(compute(chosen, image), expected, atol=0.1)


def test_auto_is_f32_on_a_cpu_that_is_slower_in_bf16(
        make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The self-check of one of both is none of the other."""
    marks = []
    for slower in (True, False):
        monkeypatch.setattr(devices, 'is_bf16_slower', lambda found=slower: found)
        engine = make_engine(precision='auto', cache_dir=tmp_path, self_check=True)
        marks.append(len(list(tmp_path.glob('self_check_*'))))
        assert engine.state.execution_precision == 'f32' or not slower
    assert marks == [1, 2]


@pytest.mark.parametrize('requests', [1, 3])
def test_as_many_images_are_in_flight_as_asked_for(
        make_engine: MakeEngine, requests: int) -> None:
    before = request_threads()
    engine = make_engine(requests=requests)
    assert engine.capacity == requests
    assert len(request_threads() - before) == requests


def test_for_throughput_one_image_more_than_the_device_computes_is_in_flight(
        make_engine: MakeEngine) -> None:
    pixels = self_check_image(IMAGE_HW)
    one, many = make_engine(), make_engine(hint='THROUGHPUT')
    assert many.capacity > one.capacity
    outcomes = Outcomes()
    for _ in range(3 * many.capacity):
        many.submit(ColorImage(pixels, 'bgr'), outcomes)
    expected = compute(one, pixels)
    for found in outcomes.first(3 * many.capacity):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_compiled_model_is_kept_in_the_cache_folder(
        make_engine: MakeEngine, tmp_path: Path) -> None:
    make_engine(cache_dir=tmp_path)
    assert list(tmp_path.rglob('*.blob'))


def test_a_frame_that_takes_too_long_is_reported_and_smaller_ones_still_work(
        make_engine: MakeEngine, make_ir: Callable[..., Path]) -> None:
    engine = make_engine(make_ir(slow_layers=40), timeout_s=0.3, input_size=42, self_check=False)
    late = compute(engine, self_check_image((10, 1800)))
    assert isinstance(late, InferenceTimeoutError)
    assert 'request_timeout' in str(late) and 'input_size' in str(late)
    assert compute(engine, self_check_image(IMAGE_HW)).shape == (42, 56)


def test_a_closed_engine_refuses_and_can_be_closed_again(make_engine: MakeEngine) -> None:
    before = request_threads()
    engine = make_engine()
    assert request_threads() != before
    engine.close()
    engine.close()
    assert request_threads() == before
    for image_hw in (IMAGE_HW, (160, 120)):
        with pytest.raises(InferenceError, match='closed; configure the node or load the model'):
            engine.submit(ColorImage(self_check_image(image_hw), 'bgr'), Outcomes())
    assert request_threads() == before


def test_close_waits_for_the_image_in_flight(
        make_engine: MakeEngine, make_ir: Callable[..., Path]) -> None:
    engine = make_engine(make_ir(slow_layers=12), self_check=False)
    outcomes = Outcomes()
    engine.submit(ColorImage(self_check_image(IMAGE_HW), 'bgr'), outcomes)
    engine.close()
    assert [type(outcome) for outcome in outcomes.all] == [np.ndarray]


# In a process of its own: what other tests left in the allocator would hide or fake a leak.
CYCLES = """
from functools import partial
from pathlib import Path
import os, sys, threading
from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.inference.pool import wait_for_one
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.self_check import self_check_image

def cycle(count):
    for _ in range(count):
        engine = Engine(Path(sys.argv[1]), EngineOptions(
            precision='f32', image_hw=(120, 160), input_size=448, self_check=False))
        wait_for_one(partial(engine.submit, ColorImage(self_check_image((120, 160)), 'bgr')))
        engine.close()
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20, threading.active_count()

print(*cycle(4), *cycle(20))
"""


@pytest.mark.skipif(not Path('/proc/self/statm').exists(), reason='needs Linux')
def test_opening_and_closing_twenty_times_keeps_no_memory_and_no_thread(tiny_ir: Path) -> None:
    done = subprocess.run([sys.executable, '-c', CYCLES, str(tiny_ir)], check=True, text=True,
                          capture_output=True, cwd=Path(__file__).parents[2])
    first_mib, first_threads, last_mib, last_threads = map(float, done.stdout.split())
    assert last_threads == first_threads
    assert last_mib - first_mib < 16


# Two engines overlap, as during a switch of models, and the older one goes first.
OVERLAPPING = """
from pathlib import Path
import signal, sys
from depth_anything_ros.inference.engine import Engine, EngineOptions

options = EngineOptions(precision='f32', image_hw=(120, 160), self_check=False)
first, second = Engine(Path(sys.argv[1]), options), Engine(Path(sys.argv[1]), options)
for engine in (first, second):
    engine.close()
del engine, first
del second
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print('interrupted')
"""


def test_ctrl_c_after_overlapping_engines_is_no_crash(tiny_ir: Path) -> None:
    done = subprocess.run([sys.executable, '-c', OVERLAPPING, str(tiny_ir)],
                          text=True, capture_output=True, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout) == (0, 'interrupted\n'), done.stderr


# What ``scp`` to a robot does: the file is emptied, then written bit by bit.
OVERWRITTEN = """
from dataclasses import replace
from functools import partial
from pathlib import Path
import sys, threading
import numpy as np
from depth_anything_ros.inference.engine import EngineOptions
from depth_anything_ros.inference.pool import wait_for_one
from depth_anything_ros.inference.switchable_engine import SwitchableEngine
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.self_check import self_check_image

path, cache, rate_hz = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
options = EngineOptions(precision='f32', image_hw=(56, 84), input_size=56, sizes_kept=1,
                        rate_hz=rate_hz, cache_dir=Path(cache) if cache else None)
images = [ColorImage(self_check_image(size_hw), 'bgr') for size_hw in ((56, 84), (84, 56))]

def depth_of(engine, image):
    return wait_for_one(partial(engine.submit, image))

def compare(engine, expected):
    for image, depth in zip(images, expected):
        np.testing.assert_allclose(depth_of(engine, image), depth, atol=1e-4)

first = SwitchableEngine(path, replace(options, rate_hz=0.0))
expected = [depth_of(first, image) for image in images]
first.close()
engine = SwitchableEngine(path, options)
depth_of(engine, images[0])
weights = path.with_suffix('.bin')
size = weights.stat().st_size
for content in (b'', bytes(size // 2), bytes(size)):
    with weights.open('r+b') as file:
        file.truncate(0)
        file.write(content)
    if not rate_hz:
        compare(engine, expected)
    failures, done = [], threading.Event()
    engine.switch(replace(engine.options, requests=1 + len(content) % 2, rate_hz=0.0),
                  [(56, 84)], lambda failure: (failures.append(failure), done.set()))
    assert done.wait(60) and failures == [None], failures
    compare(engine, expected)
    rate_hz = 0.0
engine.close()
print('survived')
"""


@pytest.mark.parametrize('cached', [False, True])
@pytest.mark.parametrize('rate_hz', [0.0, 5.0])
def test_a_model_overwritten_under_a_running_engine_changes_nothing(
        make_ir: Callable[..., Path], tmp_path: Path, cached: bool, rate_hz: float) -> None:
    model = make_ir(slow_layers=2)
    done = subprocess.run(
        [sys.executable, '-c', OVERWRITTEN, str(model), str(tmp_path) if cached else '',
         str(rate_hz)], text=True, capture_output=True, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout) == (0, 'survived\n'), done.stderr
