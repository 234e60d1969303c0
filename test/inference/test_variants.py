"""The INT8 version beside a model: which of the two runs, and that it is said."""

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from depth_anything_ros.errors import InferenceTimeoutError
from depth_anything_ros.inference import variants
from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.inference.switchable_engine import SwitchableEngine
from depth_anything_ros.inference.variants import ModelVariants
from depth_anything_ros.model_info import Quantization
from depth_anything_ros.vision.color_image import ColorImage
import numpy as np
import pytest
from tiny import TINY_INFO, write_tiny_ir
from waiting import until

pytest.importorskip('openvino')

QUANTIZATION = Quantization('minmax', (), 30, 15, 0.01, 0.02, 0.998)
OPTIONS = EngineOptions(image_hw=(120, 160))


class Pair:
    """A model and its INT8 version in one folder, and the sentences about them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = folder / 'tiny.xml'
        self.int8 = folder / 'tiny_int8.xml'
        self.said: list[str] = []
        self.warned: list[str] = []

    def write(self, name: str, **options: Any) -> None:
        """Write an IR below the name of one of both."""
        path = write_tiny_ir(self.folder, **options)
        for suffix in ('.xml', '.bin'):
            path.with_suffix(suffix).rename(self.folder / f'{name}{suffix}')

    def fastest(self, options: EngineOptions = OPTIONS) -> str:
        """Return the name of the file that runs."""
        found = ModelVariants(self.model, self.warned.append, self.said.append)
        return found.fastest(options).path.name


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Return a slow model with a fast INT8 version."""
    found = Pair(tmp_path)
    found.write('tiny_int8', quantization=QUANTIZATION, precision='int8')
    found.write('tiny', slow_layers=12)
    return found


@pytest.fixture
def make_slow_int8(pair: Pair) -> Callable[[], None]:
    """Return a function that makes the INT8 version the slower one."""
    def make() -> None:
        pair.write('tiny_int8', slow_layers=12, quantization=QUANTIZATION, precision='int8')
        pair.write('tiny')

    return make


def test_the_faster_one_runs_and_is_named(
        pair: Pair, make_slow_int8: Callable[[], None]) -> None:
    assert pair.fastest() == 'tiny_int8.xml'
    assert 'precision auto runs tiny_int8.xml, which is' in pair.said[-1]
    make_slow_int8()
    pair.said.clear()
    assert pair.fastest() == 'tiny.xml'
    assert not pair.said
    assert not pair.warned


@pytest.mark.parametrize('changes', [
    {'precision': 'f32'}, {'precision': 'bf16'}, {'devices': ('GPU', 'CPU')}])
def test_another_precision_or_device_runs_the_model_itself(
        pair: Pair, changes: dict[str, Any]) -> None:
    assert pair.fastest(replace(OPTIONS, **changes)) == 'tiny.xml'
    assert not pair.said


def test_the_cache_keeps_what_was_measured(
        pair: Pair, tmp_path: Path, make_slow_int8: Callable[[], None]) -> None:
    """Until a file changes; a damaged mark is measured again."""
    options = replace(OPTIONS, cache_dir=tmp_path / 'cache')
    (tmp_path / 'cache').mkdir()
    assert pair.fastest(options) == 'tiny_int8.xml'
    mark, = (tmp_path / 'cache').glob('fastest_*.json')
    assert 0 < json.loads(mark.read_text())['share of the time'] < 1
    mark.write_text('{"share of the time": 2}')
    assert pair.fastest(options) == 'tiny.xml'
    mark.write_text('{"share of the time": 0.5}')
    assert pair.fastest(options) == 'tiny_int8.xml'
    assert 'tiny_int8.xml, which is 2.00 times as fast here as tiny.xml' in pair.said[-1]
    mark.write_text('nonsense')
    assert pair.fastest(options) == 'tiny_int8.xml'
    assert 0 < json.loads(mark.read_text())['share of the time'] < 1
    make_slow_int8()
    assert pair.fastest(options) == 'tiny.xml'


def test_what_was_measured_is_for_these_two_files_sizes_and_cores(
        pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = replace(OPTIONS, cache_dir=tmp_path)

    def mark(**changes: Any) -> Path | None:
        found = ModelVariants(pair.model, pair.warned.append, pair.said.append)
        assert found._int8 is not None
        return found._mark(found._int8, replace(options, **changes))

    assert mark(cache_dir=None) is None
    monkeypatch.setattr(variants, 'usable_cores', lambda: 2)
    marks = [mark(), mark(image_hw=(60, 80)), mark(input_size=70), mark(threads=1)]
    assert mark() == marks[0] and marks[0].parent == tmp_path
    pair.write('tiny_int8', quantization=QUANTIZATION, precision='int8', gain=2.0)
    pair.write('tiny', slow_layers=12)
    marks.append(mark())
    monkeypatch.setattr(variants, 'usable_cores', lambda: 8)
    marks.append(mark())
    assert len(set(marks)) == 6


def test_a_model_that_is_quantized_itself_has_no_int8_version(pair: Pair) -> None:
    pair.write('tiny', quantization=QUANTIZATION, precision='int8')
    assert pair.fastest() == 'tiny.xml'
    assert not pair.said and not pair.warned


@pytest.mark.parametrize('damaged', [
    'nonsense', '[1]', '{"share of the time": 0}', '{"share of the time": null}', '{"other": 1}',
    '{"share of the time": NaN}', '{"share of the time": Infinity}',
    '{"share of the time": 1%s}' % ('0' * 400), b'\xff'])
def test_a_damaged_mark_counts_as_none(tmp_path: Path, damaged: str | bytes) -> None:
    mark = tmp_path / 'mark'
    mark.write_bytes(damaged.encode() if isinstance(damaged, str) else damaged)
    assert variants._known(mark) is None
    mark.write_text('{"share of the time": 0.5}')
    assert variants._known(mark) == 0.5
    assert variants._known(None) is variants._known(tmp_path) is None


@pytest.mark.parametrize(('options', 'warning'), [
    ({'quantization': QUANTIZATION, 'source_sha256': '1' * 64}, 'not made of the same model'),
    ({'quantization': QUANTIZATION, 'kind': 'metric', 'max_depth_m': 20.0}, 'not made of'),
    ({}, 'not made of the same model as tiny.xml; make it with `depth_anything_convert quantize'),
    ({'metadata': False}, 'no depth_anything metadata')])
def test_a_file_that_is_no_int8_version_of_the_model_is_named_and_left_alone(
        pair: Pair, options: dict[str, Any], warning: str) -> None:
    pair.write('tiny_int8', **options)
    pair.write('tiny', slow_layers=12)
    assert pair.fastest() == 'tiny.xml'
    assert warning in pair.warned[0]


def test_a_damaged_or_wrong_int8_version_is_named_and_left_alone(
        pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each start, also where the cache remembers it."""
    pair.write('tiny_int8', quantization=QUANTIZATION, wrong_check=True)
    pair.write('tiny', slow_layers=12)
    assert pair.fastest() == 'tiny.xml'
    assert 'tiny_int8.xml does not run instead of tiny.xml' in pair.said[0]
    cache = tmp_path / 'cache'
    cache.mkdir()
    assert pair.fastest(replace(OPTIONS, cache_dir=cache)) == 'tiny.xml'
    with monkeypatch.context() as patch:
        patch.setattr(variants, 'Engine', lambda files, options: pytest.fail('measured'))
        assert pair.fastest(replace(OPTIONS, cache_dir=cache)) == 'tiny.xml'
    assert pair.said == pair.said[:1] * 3
    pair.int8.with_suffix('.bin').write_bytes(b'')
    assert pair.fastest() == 'tiny.xml'
    assert 'the INT8 version beside the model is not used' in pair.warned[0]


@pytest.mark.parametrize('error', [
    RuntimeError('bad allocation'), InferenceTimeoutError('CPU', 120.0, True)])
def test_a_failure_that_may_pass_is_named_and_not_remembered(
        pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    start = Engine._start_on

    def fail(engine: Engine, device: str) -> None:
        if engine._files.path.name == 'tiny_int8.xml':
            raise error
        start(engine, device)

    options = replace(OPTIONS, cache_dir=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Engine, '_start_on', fail)
        for number in (1, 2):
            assert pair.fastest(options) == 'tiny.xml'
            assert len(pair.said) == number and str(error) in pair.said[-1]
    assert pair.fastest(options) == 'tiny_int8.xml'


@pytest.mark.parametrize(('changes', 'expected'), [
    ({}, True), ({'precision': 'int8', 'converter_version': '9'}, True),
    ({'licence': 'MIT', 'source_name': 'other.onnx'}, True),
    ({'model_version': 'v1'}, False), ({'description': '{"color": "bgr"}'}, False),
    ({'quantization': None}, False),
    ({'encoder': 'vitb'}, False), ({'kind': 'metric'}, False), ({'max_depth_m': 80.0}, False),
    ({'patch_multiple': 16}, False), ({'resize': 'stretch'}, False),
    ({'mean_rgb': (0.5, 0.5, 0.5)}, False),
    ({'std_rgb': (0.5, 0.5, 0.5)}, False), ({'input_size': 126}, False),
    ({'fixed_size_hw': (56, 84)}, False), ({'source_sha256': '1' * 64}, False),
    ({'has_shift': False}, False), ({'focal_px': 300.0}, False), ({'sky_threshold': 0.5}, False)])
def test_a_version_of_a_model_makes_the_same_depth_of_the_same_image(
        changes: dict[str, Any], expected: bool) -> None:
    int8 = replace(TINY_INFO, **{'quantization': QUANTIZATION, **changes})
    assert variants._is_version_of(int8, TINY_INFO) is expected
    assert not variants._is_version_of(int8, replace(TINY_INFO, quantization=QUANTIZATION))


@pytest.mark.parametrize(('seconds', 'rounds', 'expected'), [
    ([0.1, 0.08, 0.05, 0.06, 0.07], 5, 0.5), ([0.3, 0.2, 0.1, 0.1, 0.1], 4, 1.0)])
def test_the_best_times_of_both_are_compared_in_turns_for_a_second(
        monkeypatch: pytest.MonkeyPatch, seconds: list[float], rounds: int,
        expected: float) -> None:
    """The other one takes 0.1 s per image."""
    now_s, images = 0.0, []

    class Timed:

        def __init__(self, seconds: list[float]) -> None:
            self.left = iter(seconds)

        def submit(self, image: ColorImage, on_done: Callable[[Any], None]) -> None:
            nonlocal now_s
            now_s += next(self.left)
            images.append((self, image.size_hw))
            on_done(np.zeros((1, 1), np.float32))

    monkeypatch.setattr(variants, 'time', SimpleNamespace(monotonic=lambda: now_s))
    first, other = Timed([0.1] * 5), Timed(seconds)
    assert variants._relative_time(other, first, (12, 16)) == pytest.approx(expected)
    assert images == [(first, (12, 16)), (other, (12, 16))] * rounds


def test_without_one_nothing_is_measured(
        pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, 'Engine', lambda files, options: pytest.fail('measured'))
    pair.int8.unlink()
    assert pair.fastest() == 'tiny.xml'
    assert not pair.said
    assert not pair.warned


@pytest.mark.parametrize(('share', 'file'), [(0.94, 'tiny_int8.xml'), (0.96, 'tiny.xml')])
def test_it_is_timed_once_for_all_image_sizes_and_runs_from_a_gain_of_five_percent(
        pair: Pair, monkeypatch: pytest.MonkeyPatch, share: float, file: str) -> None:
    timed: list[tuple[str, str]] = []

    def relative_time(engine: Engine, first: Engine, image_hw: tuple[int, int]) -> float:
        timed.append((engine._files.path.name, first._files.path.name))
        return share

    monkeypatch.setattr(variants, '_relative_time', relative_time)
    found = ModelVariants(pair.model, pair.warned.append, pair.said.append)
    for image_hw in (OPTIONS.image_hw, (60, 80)):
        assert found.fastest(replace(OPTIONS, image_hw=image_hw)).path.name == file
    assert timed == [('tiny_int8.xml', 'tiny.xml')]


def test_changing_the_precision_changes_the_files(pair: Pair) -> None:
    engine = SwitchableEngine(pair.model, OPTIONS, pair.warned.append, pair.said.append)
    try:
        assert engine.info.quantization == QUANTIZATION
        done: list[object] = []
        engine.switch(replace(OPTIONS, precision='f32'), (OPTIONS.image_hw,), done.append)
        assert until(lambda: done)
        assert done == [None]
        assert engine.info.quantization is None
    finally:
        engine.close()
