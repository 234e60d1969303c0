"""The machine that a figure was measured on, and what a process on it uses: CPU time, memory."""

from collections.abc import Mapping
from pathlib import Path
import platform

from depth_anything_ros.process import usable_cores

ThreadTimes = Mapping[int, float]


def describe_machine() -> str:
    """Return the processor, the cores in use, whether it has bf16, and the versions that count."""
    from depth_anything_ros.inference.devices import cpu_info, has_bf16
    import openvino
    native = 'with bf16' if has_bf16() else 'without bf16'
    processor = cpu_info('model name') or platform.processor() or platform.machine()
    return (f'{processor}, {usable_cores()} cores, {native}; Python {platform.python_version()}, '
            f'OpenVINO {openvino.__version__.split("-")[0]}')


def thread_times(pid: int) -> ThreadTimes:
    """Return the CPU time [s] of each thread of a process so far, by thread id."""
    times = {}
    for task in Path(f'/proc/{pid}/task').iterdir():
        try:
            nanoseconds = int((task / 'schedstat').read_text(encoding='utf-8').split()[0])
        except OSError:
            # The thread ended after the folder was listed.
            continue
        times[int(task.name)] = nanoseconds / 1e9
    return times


def cpu_seconds(before: ThreadTimes, after: ThreadTimes, without_busiest: int = 0) -> float:
    """Return the CPU time [s] between two readings, without that of the busiest threads."""
    each = sorted(seconds - before.get(thread, 0.0) for thread, seconds in after.items())
    return sum(each[:len(each) - without_busiest])


def resident_mib(pid: int) -> float:
    """Return the private memory of a process that is in RAM, in MiB."""
    return memory_mib(pid, 'RssAnon')


def memory_mib(pid: int, field: str) -> float:
    """Return a memory field of /proc/PID/status, such as VmHWM, in MiB."""
    for line in Path(f'/proc/{pid}/status').read_text(encoding='utf-8').splitlines():
        name, _, rest = line.partition(':')
        if name == field:
            return int(rest.split()[0]) / 1024
    return float('nan')
