"""What is known about the processor."""

import platform
import sys

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
