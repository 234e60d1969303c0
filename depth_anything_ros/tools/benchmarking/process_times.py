"""What a process takes: CPU time by thread, and memory."""

from collections.abc import Mapping
from pathlib import Path

Times = Mapping[int, float]


def thread_times(pid: int) -> Times:
    """Return the CPU time in seconds that each thread of a process has taken, by its id."""
    times = {}
    for task in Path(f'/proc/{pid}/task').iterdir():
        try:
            nanoseconds = int((task / 'schedstat').read_text(encoding='utf-8').split()[0])
        except OSError:
            # The thread has ended meanwhile.
            continue
        times[int(task.name)] = nanoseconds / 1e9
    return times


def taken(before: Times, after: Times, without_busiest: int = 0) -> float:
    """Return the CPU time [s] between two readings, without that of the busiest threads."""
    each = sorted(seconds - before.get(thread, 0.0) for thread, seconds in after.items())
    return sum(each[:len(each) - without_busiest])


def resident_mib(pid: int) -> float:
    """Return the memory of a process that is in RAM and its own, in MiB."""
    return memory_mib(pid, 'RssAnon')


def memory_mib(pid: int, field: str) -> float:
    """Return a field of /proc/PID/status that counts memory, in MiB."""
    for line in Path(f'/proc/{pid}/status').read_text(encoding='utf-8').splitlines():
        name, _, rest = line.partition(':')
        if name == field:
            return int(rest.split()[0]) / 1024
    return float('nan')
