"""OpenVINO devices: which ones exist, their compile options, and the check of their results."""

from contextlib import suppress
import hashlib
from pathlib import Path
from typing import Literal, TYPE_CHECKING

from depth_anything_ros.process import keep_signal_stack

if TYPE_CHECKING:
    import openvino as ov

PerformanceHint = Literal['LATENCY', 'THROUGHPUT']

# A device is refused where its mean deviation from the f32 result is above this, in standard
# deviations of that result.
SELF_CHECK_LIMIT = 0.1


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


def compile_options(core: 'ov.Core', device: str, precision: str, cache_dir: Path | None,
                    hint: PerformanceHint = 'LATENCY') -> dict[str, str]:
    """Return the properties for ``compile_model`` that ``device`` supports."""
    wanted: dict[str, str] = {'PERFORMANCE_HINT': hint}
    if precision != 'auto' and not (device.startswith('NPU') and precision == 'f32'):
        wanted['INFERENCE_PRECISION_HINT'] = precision
    if cache_dir is not None:
        wanted['CACHE_DIR'] = str(cache_dir)
    supported = set(core.get_property(device, 'SUPPORTED_PROPERTIES'))
    return {name: value for name, value in wanted.items()
            if name in supported or name == 'CACHE_DIR'}


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


def self_check_marker(core: 'ov.Core', xml_path: Path, device: str, precision: str,
                      cache_dir: Path | None) -> Path | None:
    """
    Return the file that marks a passed self-check, or None where the check runs at every start.

    Its name depends on everything that can change the result: the files of the model, the release
    of OpenVINO, the processor and the precision. Devices other than the CPU also depend on their
    drivers, whose updates cannot be seen, so they are checked at every start.
    """
    if cache_dir is None or device != 'CPU':
        return None
    import openvino as ov
    weights = xml_path.with_suffix('.bin').stat()
    facts = hashlib.sha256(xml_path.read_bytes())
    for fact in (weights.st_size, weights.st_mtime_ns, ov.__version__,
                 core.get_property(device, 'FULL_DEVICE_NAME'), precision):
        facts.update(f'\0{fact}'.encode())
    return cache_dir / f'self_check_{facts.hexdigest()[:16]}.passed'
