"""What is known about the processor, and the options of devices."""

import platform
import sys
from types import SimpleNamespace

from depth_anything_ros.inference import devices
import pytest


@pytest.mark.parametrize(('bf16', 'flags', 'expected'), [
    (False, 'avx512f', False), (True, 'avx512f avx512_bf16', True), (True, '', True),
    (True, 'avx512_bf16 amx_bf16 amx_tile', False)])
def test_bf16_is_in_doubt_without_amx(
        monkeypatch: pytest.MonkeyPatch, bf16: bool, flags: str, expected: bool) -> None:
    monkeypatch.setattr(devices, 'has_bf16', lambda: bf16)
    monkeypatch.setattr(devices, 'cpu_info', lambda name: flags)
    assert devices.is_bf16_in_doubt() is expected


@pytest.mark.skipif(not sys.platform.startswith('linux') or platform.machine() != 'x86_64',
                    reason='only Linux on x86-64 names the instructions so')
def test_linux_names_the_instruction_sets() -> None:
    assert 'sse2' in devices.cpu_info('flags').split() and devices.cpu_info('nothing') == ''


@pytest.mark.parametrize(('device', 'precision', 'threads', 'expected'), [
    ('CPU', 'auto', 0, {}), ('CPU', 'f32', 0, {'INFERENCE_PRECISION_HINT': 'f32'}),
    ('NPU', 'f16', 0, {'INFERENCE_PRECISION_HINT': 'f16'}), ('NPU', 'f32', 0, {}),
    ('CPU', 'auto', 2, {'INFERENCE_NUM_THREADS': '2', 'ENABLE_CPU_PINNING': 'NO'})])
def test_a_device_gets_the_options_that_it_supports(
        device: str, precision: str, threads: int, expected: dict[str, str]) -> None:
    """An NPU computes in f16 and INT8, never in f32."""
    names = ['INFERENCE_PRECISION_HINT', 'INFERENCE_NUM_THREADS', 'ENABLE_CPU_PINNING']
    for hint in ({}, {'PERFORMANCE_HINT': 'LATENCY'}):
        core = SimpleNamespace(get_property=lambda *_, known=(*names, *hint): known)
        found = devices.compile_options(
            core, device, precision, 'LATENCY', threads)  # type: ignore[arg-type]
        assert found == {**hint, **expected}


def test_what_depends_on_a_device_depends_on_each_property_that_its_models_depend_on() -> None:
    """The release of its driver, for example; a device need not have such a list."""
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
    assert len(seen) == 3
    facts.clear()
    assert devices.fingerprint(core, 'GPU', 'model') not in seen  # type: ignore[arg-type]
