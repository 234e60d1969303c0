"""What is known about the processor, and the options of devices."""

from functools import partial
import platform
import sys
import time
from types import SimpleNamespace

from depth_anything_ros.inference import devices
import numpy as np
import pytest


@pytest.mark.parametrize(('bf16', 'flags', 'expected'), [
    (False, 'avx512f', False), (True, 'avx512f avx512_bf16', True), (True, '', True),
    (True, 'avx512_bf16 amx_bf16 amx_tile', False)])
def test_bf16_is_measured_where_there_is_no_amx(
        monkeypatch: pytest.MonkeyPatch, bf16: bool, flags: str, expected: bool) -> None:
    """One that is clearly slower than f32 is not used."""
    monkeypatch.setattr(devices, 'has_bf16', lambda: bf16)
    monkeypatch.setattr(devices, 'cpu_info', lambda name: flags)
    measured = []

    def product(precision: str, seconds: dict[str, float]) -> SimpleNamespace:
        measured.append(precision)
        return SimpleNamespace(infer=lambda inputs: time.sleep(seconds[precision]))

    for bf16_s, slower in ((0.008, expected), (0.0001, False)):
        monkeypatch.setattr(devices, '_product',
                            partial(product, seconds={'f32': 0.002, 'bf16': bf16_s}))
        assert devices.is_bf16_slower.__wrapped__() is slower
    assert measured == (['bf16', 'f32'] * 2 if expected else [])


@pytest.mark.parametrize('precision', ['f32', 'bf16'])
def test_the_measured_product_is_right(precision: str) -> None:
    tokens = np.arange(128 * 384, dtype=np.float32).reshape(128, 384) % 7
    if precision == 'bf16' and not devices.has_bf16():
        pytest.skip('the CPU has no bf16')
    found = devices._product(precision).infer([tokens])[0]
    assert found.shape == (128, 768)
    np.testing.assert_allclose(found[:, 0], tokens.mean(1), rtol=0.01)


def test_only_auto_on_the_cpu_depends_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, 'is_bf16_slower', lambda: True)
    found = [devices.precision_on(*asked) for asked in (
        ('CPU', 'auto'), ('CPU', 'bf16'), ('GPU', 'auto'))]
    assert found == ['f32', 'bf16', 'auto']


@pytest.mark.skipif(not sys.platform.startswith('linux') or platform.machine() != 'x86_64',
                    reason='only Linux on x86-64 names the instructions so')
def test_linux_names_the_instruction_sets() -> None:
    assert 'sse2' in devices.cpu_info('flags').split() and devices.cpu_info('nothing') == ''


@pytest.mark.parametrize(('device', 'precision', 'threads', 'expected'), [
    ('CPU', 'auto', 0, {}), ('CPU', 'f32', 0, {'INFERENCE_PRECISION_HINT': 'f32'}),
    ('NPU', 'f16', 0, {'INFERENCE_PRECISION_HINT': 'f16'}), ('NPU', 'f32', 0, {}),
    ('CPU', 'auto', 2, {'INFERENCE_NUM_THREADS': '2', 'ENABLE_CPU_PINNING': 'NO'})])
def test_a_device_gets_the_options_that_it_supports(
        monkeypatch: pytest.MonkeyPatch, device: str, precision: str, threads: int,
        expected: dict[str, str]) -> None:
    """An NPU computes in f16 and INT8, never in f32."""
    monkeypatch.setattr(devices, 'is_bf16_slower', lambda: False)
    names = ['INFERENCE_PRECISION_HINT', 'INFERENCE_NUM_THREADS', 'ENABLE_CPU_PINNING']
    for hint in ({}, {'PERFORMANCE_HINT': 'LATENCY'}):
        core = SimpleNamespace(get_property=lambda *_, known=(*names, *hint): known)
        found = devices.compile_options(
            core, device, precision, 'LATENCY', threads)  # type: ignore[arg-type]
        assert found == {**hint, **expected}


def test_what_depends_on_a_device_depends_on_each_property_that_its_models_depend_on(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The release of its driver, for example; a device need not have such a list.

    It also depends on the releases of this package and of OpenVINO.
    """
    ov = pytest.importorskip('openvino')
    facts: dict[str, object] = {'FULL_DEVICE_NAME': 'Arc', 'CACHING_PROPERTIES': ['DRIVER'],
                                'DRIVER': 1}

    def get_property(device: str, name: str) -> object:
        if name not in facts:
            raise RuntimeError(f'{device} has no {name}')
        return facts[name]

    core = SimpleNamespace(get_property=get_property)
    seen = set()
    for changed in ({}, {'DRIVER': 2}, {'FULL_DEVICE_NAME': 'Iris'}):
        facts.update(changed)
        seen.add(devices.fingerprint(core, 'GPU', 'model'))  # type: ignore[arg-type]
    for module in (devices, ov):
        monkeypatch.setattr(module, '__version__', 'next')
        seen.add(devices.fingerprint(core, 'GPU', 'model'))  # type: ignore[arg-type]
    assert len(seen) == 5
    facts.clear()
    assert devices.fingerprint(core, 'GPU', 'model') not in seen  # type: ignore[arg-type]
