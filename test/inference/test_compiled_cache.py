"""Compiled models on disk: damage never reaches a depth map, and the folder does not grow."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
import gc
import os
from pathlib import Path
import random
from typing import Any

from depth_anything_ros.files import atomic_path
from depth_anything_ros.inference import compiled_cache, devices
from depth_anything_ros.inference.compiled_cache import CompiledModelCache
from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.inference.pool import wait_for_one
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.self_check import self_check_image
import numpy as np
import pytest

ov = pytest.importorskip('openvino')

IMAGE = ColorImage(self_check_image((28, 42)), 'bgr')
DAMAGES = 20


@pytest.fixture
def options(tmp_path: Path) -> EngineOptions:
    """Return options with an empty cache."""
    (tmp_path / 'cache').mkdir()
    return EngineOptions(precision='f32', image_hw=(28, 42), input_size=28,
                         cache_dir=tmp_path / 'cache')


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list with one entry for every graph that is built, which is then compiled."""
    built: list[int] = []
    compile_model = CompiledModelCache.compiled_model

    def counted(cache: CompiledModelCache, build: Callable[[], Any], *rest: Any) -> Any:
        def counted_build() -> Any:
            built.append(1)
            return build()

        return compile_model(cache, counted_build, *rest)

    monkeypatch.setattr(CompiledModelCache, 'compiled_model', counted)
    return built


def start(model: Path, options: EngineOptions) -> tuple[np.ndarray, list[str]]:
    """Open an engine; return the depth of one image and the warnings."""
    lines: list[str] = []
    engine = Engine(model, options, lines.append)
    try:
        return wait_for_one(partial(engine.submit, IMAGE)), lines
    finally:
        engine.close()


def blobs(options: EngineOptions) -> list[Path]:
    """Return the files of the cache."""
    assert options.cache_dir is not None
    return sorted(options.cache_dir.glob('*.blob'))


def left_behind(path: Path) -> Path:
    """Return the file that remains where a process is killed while it writes ``path``."""
    with atomic_path(path) as file:
        file.touch()
        copy = path.parent / 'copy'
        file.parent.rename(copy)
    copy.rename(file.parent)
    return file


def damages(size: int) -> Iterator[tuple[str, Callable[[bytearray], object]]]:
    """Yield random damages: bits turned over, bytes erased or replaced, an end cut off."""
    numbers = random.Random(16)
    for number in range(DAMAGES):
        length = min(size, int(2 ** numbers.uniform(0, 20)))
        first = numbers.randrange(size - length + 1)
        if number % 4 == 0:
            places = [numbers.randrange(8 * size) for _ in range(numbers.choice([1, 100]))]
            yield f'bits {places[:3]}', partial(_turn_bits, places)
        elif number % 4 == 1:
            yield f'{length} zeros at {first}', partial(_replace, first, bytes(length))
        elif number % 4 == 2:
            yield f'{length} bytes at {first}', partial(
                _replace, first, numbers.randbytes(length))
        else:
            yield f'cut at {first}', partial(_cut, first)


def _turn_bits(places: list[int], content: bytearray) -> None:
    for place in places:
        content[place // 8] ^= 1 << place % 8


def _replace(first: int, part: bytes, content: bytearray) -> None:
    content[first:first + len(part)] = part


def _cut(first: int, content: bytearray) -> None:
    del content[first:]


def test_no_damage_of_a_compiled_model_changes_the_depth(
        make_ir: Callable[..., Path], options: EngineOptions) -> None:
    """Also with the time of the file unchanged, as after a fault of the disk."""
    model = make_ir(slow_layers=2)
    expected, lines = start(model, options)
    blob, = blobs(options)
    assert not lines and blob.stat().st_size > 2 ** 17
    whole, before = blob.read_bytes(), blob.stat()
    for name, damage in damages(len(whole)):
        content = bytearray(whole)
        damage(content)
        blob.write_bytes(content)
        os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
        depth, lines = start(model, options)
        np.testing.assert_allclose(depth, expected, atol=1e-5, err_msg=name)
        damaged = [f'the compiled model {blob} is damaged; it is compiled again']
        assert lines == (damaged if content != whole else []), name
        assert start(model, options)[1] == [], 'the damaged file was replaced'


def test_a_compiled_model_under_the_name_of_another_is_not_used(
        make_ir: Callable[..., Path], options: EngineOptions) -> None:
    unchecked = replace(options, self_check=False)
    models = make_ir(), make_ir(gain=3.0)
    expected = [start(model, unchecked)[0] for model in models]
    first, second = blobs(options)
    swapped = first.read_bytes(), second.read_bytes()
    first.write_bytes(swapped[1])
    second.write_bytes(swapped[0])
    for model, depth in zip(models, expected):
        found, lines = start(model, unchecked)
        np.testing.assert_allclose(found, depth, atol=1e-5)
        assert len(lines) == 1 and 'is damaged' in lines[0]


def test_a_compiled_model_is_used_by_the_next_start_and_gives_the_same_depth(
        tiny_ir: Path, options: EngineOptions, compilations: list[int]) -> None:
    first, _ = start(tiny_ir, options)
    compilations.clear()
    again, lines = start(tiny_ir, options)
    assert not compilations and not lines
    assert np.array_equal(first, again)


@pytest.mark.parametrize('precision', ['auto', 'f32'])
def test_the_next_start_computes_in_the_same_precision(
        tiny_ir: Path, options: EngineOptions, precision: str) -> None:
    states = []
    for _ in range(2):
        engine = Engine(tiny_ir, replace(options, precision=precision))
        states.append((engine.state, engine.capacity))
        engine.close()
    assert states[0] == states[1]


@pytest.mark.parametrize('change', [
    {'input_size': 42}, {'precision': 'auto'}, {'hint': 'THROUGHPUT'}, {'image_hw': (42, 28)}])
def test_what_changes_the_graph_or_its_execution_is_compiled(
        tiny_ir: Path, options: EngineOptions, compilations: list[int],
        change: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    # Otherwise auto is f32.
    monkeypatch.setattr(devices, 'is_bf16_slower', lambda: False)
    start(tiny_ir, replace(options, self_check=False))
    compilations.clear()
    start(tiny_ir, replace(options, self_check=False, **change))  # type: ignore[arg-type]
    assert compilations


def test_a_file_that_the_device_refuses_is_compiled_again(
        tiny_ir: Path, options: EngineOptions) -> None:
    """Its sha256 is right, as after an update that this package cannot see."""
    expected, _ = start(tiny_ir, options)
    blob, = blobs(options)
    content = b'no compiled model' * 100
    blob.write_bytes(content + compiled_cache._digest(blob, content))
    depth, lines = start(tiny_ir, options)
    assert np.array_equal(depth, expected)
    assert len(lines) == 1 and 'is refused by CPU (' in lines[0] and '\n' not in lines[0]
    assert start(tiny_ir, options)[1] == []


def test_a_cache_that_cannot_be_written_is_a_warning(
        tiny_ir: Path, options: EngineOptions) -> None:
    assert options.cache_dir is not None
    missing = replace(options, cache_dir=options.cache_dir / 'gone')
    depth, lines = start(tiny_ir, missing)
    assert depth.shape == (28, 42)
    assert lines and all('is not stored, so the next start takes longer' in line
                         for line in lines)
    # Python 3.12 crashes here if the compiled model is still in use.
    gc.collect()


def test_old_models_that_cannot_be_removed_are_a_warning_of_their_own(
        tiny_ir: Path, options: EngineOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    start(tiny_ir, options)
    older, = blobs(options)

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr(compiled_cache, 'CACHE_BYTES', 1)
    monkeypatch.setattr(Path, 'unlink', refuse)
    _, lines = start(tiny_ir, replace(options, input_size=42))
    assert set(lines) == {f'old compiled models stay in {older.parent}, which may grow: '
                          f'[Errno 13] Permission denied: {str(older)!r}'}
    assert len(blobs(options)) == 2


def test_the_models_used_longest_ago_are_removed(
        tiny_ir: Path, options: EngineOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    start(tiny_ir, options)
    first, = blobs(options)
    foreign = first.with_name('person_detection.blob')
    unfinished = left_behind(first.with_name(f'depth_anything_{"0" * 64}.blob'))
    openvino = first.with_name('12345678901234567890.blob')
    for number, file in enumerate((openvino, unfinished, foreign)):
        file.write_bytes(bytes(first.stat().st_size))
        os.utime(file, (number, number))
    monkeypatch.setattr(compiled_cache, 'CACHE_BYTES', int(2.5 * first.stat().st_size))
    start(tiny_ir, replace(options, input_size=42))
    assert not openvino.exists() and not unfinished.parent.exists()
    second, = set(blobs(options)) - {first, foreign}
    os.utime(first, (1, 1))
    start(tiny_ir, options)
    os.utime(second, (2, 2))
    start(tiny_ir, replace(options, input_size=56))
    assert first in blobs(options) and second not in blobs(options)
    assert foreign in blobs(options) and len(blobs(options)) == 3


def test_marks_of_self_checks_are_removed_with_the_models_of_their_time(
        tiny_ir: Path, options: EngineOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that of a model which is checked once and used at every start stays."""
    start(tiny_ir, options)
    first, = blobs(options)
    mark, = first.parent.glob('*.passed')
    old = mark.with_name('self_check_0123456789abcdef.passed')
    old.touch()
    unfinished = left_behind(mark.with_name('fastest_0123456789abcdef.json'))
    for file in (old, mark, unfinished):
        os.utime(file, (1, 1))
    start(tiny_ir, replace(options, input_size=42))
    assert old.exists() and unfinished.exists(), 'nothing is removed while there is room'
    monkeypatch.setattr(compiled_cache, 'CACHE_BYTES', int(2.5 * first.stat().st_size))
    start(tiny_ir, replace(options, input_size=56))
    assert mark.exists() and not old.exists() and not unfinished.parent.exists()


def test_a_model_larger_than_the_limit_is_kept_alone(
        tiny_ir: Path, options: EngineOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_cache, 'CACHE_BYTES', 1)
    for input_size in (28, 42):
        start(tiny_ir, replace(options, input_size=input_size))
    assert len(blobs(options)) == 1
