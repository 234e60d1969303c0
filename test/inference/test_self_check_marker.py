"""A self-check that was passed is not repeated, and nothing else passes in its name."""

from collections.abc import Callable
from dataclasses import replace
import os
from pathlib import Path
import shutil

from depth_anything_ros.errors import DeviceError
from depth_anything_ros.inference import devices
from depth_anything_ros.inference.devices import self_check_marker
from depth_anything_ros.inference.engine import Engine, EngineOptions
import pytest

ov = pytest.importorskip('openvino')

OPTIONS = EngineOptions(precision='f32', image_hw=(28, 28), input_size=28)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the models that were checked, in a list that grows with each check."""
    checked: list[Path] = []
    check = Engine._check

    def counted(engine: Engine, device: str) -> None:
        checked.append(engine._path)
        check(engine, device)

    monkeypatch.setattr(Engine, '_check', counted)
    return checked


@pytest.fixture
def model(tiny_ir: Path, tmp_path: Path) -> Path:
    """Return a model that a test may change."""
    for suffix in ('.xml', '.bin'):
        shutil.copy(tiny_ir.with_suffix(suffix), tmp_path)
    return tmp_path / tiny_ir.name


@pytest.fixture
def cache(tmp_path: Path) -> EngineOptions:
    """Return options with a cache."""
    folder = tmp_path / 'cache'
    folder.mkdir()
    return replace(OPTIONS, cache_dir=folder)


def start(model: Path, options: EngineOptions) -> None:
    """Open an engine, which computes an image, and close it."""
    Engine(model, options).close()


def exchange(path: Path, other: Path) -> None:
    """Put the content of another file where ``path`` is, as who copies a model does."""
    later_ns = path.stat().st_mtime_ns + 1
    copy = shutil.copy(other, path.with_suffix('.new'))
    os.utime(copy, ns=(later_ns, later_ns))
    os.replace(copy, path)


def test_with_a_cache_a_model_is_checked_once(
        model: Path, cache: EngineOptions, checks: list[Path]) -> None:
    for _ in range(3):
        start(model, cache)
    assert checks == [model]


def test_without_a_cache_it_is_checked_at_every_start(model: Path, checks: list[Path]) -> None:
    for _ in range(2):
        start(model, OPTIONS)
    assert checks == [model] * 2


def test_another_release_checks_again(
        model: Path, cache: EngineOptions, checks: list[Path],
        monkeypatch: pytest.MonkeyPatch) -> None:
    start(model, cache)
    monkeypatch.setattr(devices, '__version__', 'next')
    for _ in range(2):
        start(model, cache)
    assert checks == [model] * 2


def test_it_is_remembered_for_the_device_that_runs_the_model(
        model: Path, cache: EngineOptions, checks: list[Path]) -> None:
    for _ in range(2):
        start(model, replace(cache, devices=('GPU.7', 'CPU')))
    assert checks == [model]


def test_another_precision_is_checked_and_each_is_remembered(
        model: Path, cache: EngineOptions, checks: list[Path],
        monkeypatch: pytest.MonkeyPatch) -> None:
    # Otherwise auto is f32.
    monkeypatch.setattr(devices, 'is_bf16_slower', lambda: False)
    for precision in ('f32', 'auto', 'f32', 'auto'):
        start(model, replace(cache, precision=precision))
    assert len(checks) == 2


def test_what_does_not_change_the_outcome_needs_no_other_check(
        model: Path, cache: EngineOptions, checks: list[Path]) -> None:
    start(model, cache)
    start(model, replace(cache, input_size=56, requests=2, timeout_s=5.0))
    assert len(checks) == 1


def test_other_weights_under_the_same_name_are_checked(
        model: Path, make_ir: Callable[..., Path], cache: EngineOptions,
        checks: list[Path]) -> None:
    """They have the same size, and the old ones are still proven."""
    wrong = make_ir(gain=3.0)
    right = shutil.copy(model.with_suffix('.bin'), model.with_suffix('.right'))
    start(model, cache)
    exchange(model.with_suffix('.bin'), wrong.with_suffix('.bin'))
    for _ in range(2):
        with pytest.raises(DeviceError, match='CPU computes something else'):
            start(model, cache)
    exchange(model.with_suffix('.bin'), Path(right))
    start(model, cache)
    assert len(checks) == 3


@pytest.mark.parametrize(('last', 'fact'), [
    (36, 'CPU computes something else'), (44, r'an array of \[3, .* instead of one depth map')])
def test_weights_damaged_without_a_trace_in_size_and_time_are_checked(
        model: Path, cache: EngineOptions, checks: list[Path], last: int, fact: str) -> None:
    """The first 36 bytes are weights, the others the axis of a sum."""
    start(model, cache)
    weights = model.with_suffix('.bin')
    before = weights.stat()
    weights.write_bytes(bytes(last) + weights.read_bytes()[last:])
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DeviceError, match=fact):
        start(model, cache)
    assert len(checks) == 2


def test_a_copy_of_a_model_under_another_name_needs_no_other_check(
        model: Path, cache: EngineOptions, checks: list[Path]) -> None:
    start(model, cache)
    for suffix in ('.xml', '.bin'):
        shutil.copy(model.with_suffix(suffix), model.with_name(f'copy{suffix}'))
    start(model.with_name('copy.xml'), cache)
    assert checks == [model]


def test_another_description_of_the_same_weights_is_checked(
        model: Path, make_ir: Callable[..., Path], cache: EngineOptions,
        checks: list[Path]) -> None:
    start(model, cache)
    exchange(model, make_ir(wrong_check=True))
    with pytest.raises(DeviceError, match='CPU computes something else'):
        start(model, cache)
    assert len(checks) == 2


def test_a_model_that_fails_is_checked_and_refused_again(
        make_ir: Callable[..., Path], cache: EngineOptions, checks: list[Path]) -> None:
    wrong = make_ir(wrong_check=True)
    for _ in range(2):
        with pytest.raises(DeviceError, match='CPU computes something else'):
            start(wrong, cache)
    assert checks == [wrong] * 2


def test_a_start_without_a_check_proves_nothing(
        make_ir: Callable[..., Path], cache: EngineOptions, checks: list[Path]) -> None:
    wrong = make_ir(wrong_check=True)
    start(wrong, replace(cache, self_check=False))
    assert checks == []
    with pytest.raises(DeviceError, match='CPU computes something else'):
        start(wrong, cache)


def test_a_cache_that_was_emptied_is_filled_again(
        model: Path, cache: EngineOptions, checks: list[Path]) -> None:
    for _ in range(2):
        start(model, cache)
        assert cache.cache_dir is not None
        for file in cache.cache_dir.iterdir():
            file.unlink()
    assert len(checks) == 2


def test_a_cache_that_nobody_may_look_into_costs_a_check_and_not_the_start(
        model: Path, tmp_path: Path, checks: list[Path]) -> None:
    """As a folder of another user, here one in which every file has too long a path."""
    folder = tmp_path
    while (missing := 4070 - len(str(folder))) > 1:
        folder /= 'x' * min(200, missing - 1)
    folder.mkdir(parents=True)
    with pytest.raises(OSError):
        (folder / f'self_check_{16 * "0"}.passed').exists()
    start(model, replace(OPTIONS, cache_dir=folder))
    assert checks == [model]


@pytest.mark.parametrize('device', ['GPU', 'GPU.1', 'NPU'])
def test_devices_with_drivers_are_never_remembered(
        tmp_path: Path, device: str) -> None:
    assert self_check_marker(ov.Core(), 'digest', device, 'f32', tmp_path) is None
    assert self_check_marker(ov.Core(), 'digest', 'CPU', 'f32', tmp_path) is not None
