"""Which machine a figure was measured on."""

import os
from pathlib import Path
import platform


def describe_machine() -> str:
    """Return processor, cores in use, bf16 support and the versions that matter."""
    import openvino
    cores = len(os.sched_getaffinity(0))
    abilities = openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
    native = 'with bf16' if 'BF16' in abilities else 'without bf16'
    return (f'{_processor()}, {cores} cores, {native}; Python {platform.python_version()}, '
            f'OpenVINO {openvino.__version__.split("-")[0]}')


def _processor() -> str:
    for line in Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines():
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()
