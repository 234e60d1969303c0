"""OpenVINO devices: which ones exist, their compile options, and the check of their results."""

from contextlib import suppress
from functools import cache
import hashlib
from pathlib import Path
import platform
import time
from typing import Literal, TYPE_CHECKING

from depth_anything_ros.arrays import F32
from depth_anything_ros.process import keep_signal_stack
from depth_anything_ros.version import __version__
import numpy as np

if TYPE_CHECKING:
    import openvino as ov

PerformanceHint = Literal['LATENCY', 'THROUGHPUT']

_REPORTED = ('DEVICE_ARCHITECTURE', 'FULL_DEVICE_NAME', 'OPTIMIZATION_CAPABILITIES')
# A device is refused where its mean deviation from the f32 result is above this, in standard
# deviations of that result.
SELF_CHECK_LIMIT = 0.1
# A product like those of a transformer: tokens, and the widths of a layer's input and output. It
# is so short that other work on a busy machine leaves some rounds alone.
_TOKENS, _INPUTS, _OUTPUTS = 128, 384, 768
_ROUNDS = 10
# Time in bf16 ÷ that in f32 from which on f32 is used. Between, processors hardly differ.
_SLOWER = 1.15


def open_core() -> 'ov.Core':
    """
    Return a new Core with the CPU plugin loaded, for everything that compiles a model.

    The plugin changes the signal stack of the thread that loads it; this keeps the thread's own.
    """
    import openvino as ov
    core = ov.Core()
    with keep_signal_stack(), suppress(RuntimeError):
        core.get_versions('CPU')
    return core


def is_available(core: 'ov.Core', device: str) -> bool:
    """Return whether OpenVINO sees ``device``; GPU stands for the first of several GPUs."""
    return any(found == device or found.startswith(f'{device}.')
               for found in core.available_devices)


def compile_options(core: 'ov.Core', device: str, precision: str,
                    hint: PerformanceHint = 'LATENCY', threads: int = 0) -> dict[str, str]:
    """
    Return the properties for ``compile_model`` that ``device`` supports.

    ``threads`` is the largest number of CPU threads, 0: all cores. ``precision`` as in
    ``precision_on``.
    """
    wanted: dict[str, str] = {'PERFORMANCE_HINT': hint}
    precision = precision_on(device, precision)
    if precision != 'auto' and not (device.startswith('NPU') and precision == 'f32'):
        wanted['INFERENCE_PRECISION_HINT'] = precision
    if threads:
        # Pinned threads of two processes would share the same cores and leave others idle.
        wanted |= {'INFERENCE_NUM_THREADS': str(threads), 'ENABLE_CPU_PINNING': 'NO'}
    supported = set(core.get_property(device, 'SUPPORTED_PROPERTIES'))
    return {name: value for name, value in wanted.items() if name in supported}


def precision_on(device: str, precision: str) -> str:
    """Return the precision to ask for: auto is f32 on a CPU that is slower in bf16."""
    return 'f32' if (device, precision) == ('CPU', 'auto') and is_bf16_slower() else precision


def has_bf16() -> bool:
    """Return whether the CPU computes in bf16."""
    return 'BF16' in open_core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')


@cache
def is_bf16_slower() -> bool:
    """
    Return whether the CPU computes in bf16, but faster in f32.

    With AMX it does not. With AVX-512 alone some processors do, so that is measured, once in a
    process, on one core and in a tenth of a second.
    """
    if not has_bf16() or 'amx_bf16' in cpu_info('flags').split():
        return False
    times: dict[str, list[float]] = {'bf16': [], 'f32': []}
    requests = {precision: _product(precision) for precision in times}
    tokens = np.ones((_TOKENS, _INPUTS), np.float32)
    for _ in range(_ROUNDS):
        for precision, request in requests.items():
            started = time.perf_counter()
            request.infer([tokens])
            times[precision].append(time.perf_counter() - started)
    # The first round warms up.
    bf16, f32 = (min(one[1:]) for one in times.values())
    return bf16 > _SLOWER * f32


def _product(precision: str) -> 'ov.InferRequest':
    """Return a request that multiplies tokens [T, inputs] by weights."""
    import openvino as ov
    from openvino import opset13
    weights: F32 = np.full((_INPUTS, _OUTPUTS), 1 / _INPUTS, np.float32)
    tokens = opset13.parameter([_TOKENS, _INPUTS], np.float32)
    product = opset13.matmul(tokens, opset13.constant(weights), False, False)
    core = open_core()
    return core.compile_model(ov.Model([product], [tokens]), 'CPU', compile_options(
        core, 'CPU', precision, threads=1)).create_infer_request()


def cpu_info(name: str) -> str:
    """Return what Linux says about the first processor, such as its ``model name``, or ''."""
    with suppress(OSError):
        for line in Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines():
            key, _, value = line.partition(':')
            if key.strip() == name:
                return value.strip()
    return ''


def execution_summary(compiled: 'ov.CompiledModel') -> tuple[str, str]:
    """Return (device, precision) that really run, for example ('CPU', 'bf16')."""
    devices = compiled.get_property('EXECUTION_DEVICES')
    device = devices if isinstance(devices, str) else ','.join(devices)
    try:
        hint = compiled.get_property('INFERENCE_PRECISION_HINT')
    except RuntimeError:
        return device, 'unknown'
    name = hint.get_type_name() if hasattr(hint, 'get_type_name') else str(hint)
    return device, name


def device_report(core: 'ov.Core', device: str) -> dict[str, str]:
    """
    Return what a report about a device must name: releases, processor or board, drivers.

    A device that OpenVINO does not see has no properties of its own.
    """
    import openvino as ov
    report = {'depth_anything_ros': __version__, 'OpenVINO': ov.__version__,
              'system': f'{platform.platform()}, Python {platform.python_version()}',
              'devices': ', '.join(core.available_devices)}
    supported: list[str] = []
    with suppress(RuntimeError):
        supported = core.get_property(device, 'SUPPORTED_PROPERTIES')
    for name in sorted(supported):
        if name in _REPORTED or name.endswith(('_DRIVER_VERSION', '_COMPILER_VERSION')):
            with suppress(RuntimeError):
                value = core.get_property(device, name)
                report[f'{device} {name}'] = (
                    ', '.join(value) if isinstance(value, list) else str(value))
    return report


def self_check_marker(core: 'ov.Core', digest: str, device: str, precision: str,
                      cache_dir: Path | None) -> Path | None:
    """
    Return the file that marks a passed self-check, or None where the check runs at every start.

    Its name depends on everything that can change the result: the content of the model, whose
    ``digest`` is that of IrFiles, the releases of OpenVINO and of this package, the processor and
    the precision. Devices other than the CPU also depend on their drivers, whose updates cannot be
    seen, so they are checked at every start.
    """
    if cache_dir is None or device != 'CPU':
        return None
    return cache_dir / f'self_check_{fingerprint(core, device, digest, precision)[:16]}.passed'


def fingerprint(core: 'ov.Core', device: str, *facts: object) -> str:
    """Return a sha256 of ``facts``, the device and the releases that a result depends on."""
    import openvino as ov
    digest = hashlib.sha256()
    for fact in (__version__, ov.__version__, device, *_device_facts(core, device), *facts):
        digest.update(f'{fact}\0'.encode())
    return digest.hexdigest()


def _device_facts(core: 'ov.Core', device: str) -> list[str]:
    """Return the properties that compiled models of a device depend on, such as its name."""
    names = {'FULL_DEVICE_NAME'}
    with suppress(RuntimeError):
        names.update(core.get_property(device, 'CACHING_PROPERTIES'))
    facts = []
    for name in sorted(names):
        with suppress(RuntimeError):
            facts.append(f'{name}={core.get_property(device, name)}')
    return facts
