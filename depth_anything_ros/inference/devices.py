"""OpenVINO devices: which there are and how one is told what we want of it."""

from pathlib import Path
from typing import Literal, TYPE_CHECKING

if TYPE_CHECKING:
    import openvino as ov

PerformanceHint = Literal['LATENCY', 'THROUGHPUT']


def is_available(core: 'ov.Core', device: str) -> bool:
    """Return whether OpenVINO sees ``device``; GPU stands for the first of several."""
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
