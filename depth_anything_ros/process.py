"""This process: cores, freed memory, priorities, signal stacks, variables of Fast DDS."""

from collections.abc import Iterator
from contextlib import contextmanager
import ctypes
import os
import sys
import threading

# They name the file with the profiles of Fast DDS: in ROS 2 Humble and Jazzy, since Kilted.
DDS_PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
# The most freed memory that a process keeps, for a node and for a training.
NODE_BYTES, TRAINING_BYTES = 128 * 2 ** 20, 2 ** 31 - 1
# Numbers of glibc's malloc.h; 32 MiB is the largest threshold that it accepts.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MMAP_THRESHOLD_BYTES = 32 * 2 ** 20
_ARENAS = 2
_NICENESS_STEP, _HIGHEST_NICENESS = 10, 19


def usable_cores() -> int:
    """Return how many CPU cores this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def keep_freed_memory(most_bytes: int = NODE_BYTES) -> bool:
    """
    Let glibc keep freed memory of images and maps for the next ones, up to ``most_bytes`` < 2 GiB.

    Without this, every 640x480 image costs about 640 page faults and takes twice the time to
    receive. The number of arenas is limited too: with one arena per thread, each model that is
    loaded leaves freed memory in another arena. Returns False, and changes nothing, where the C
    library is not glibc.
    """
    if not sys.platform.startswith('linux'):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    return mallopt is not None and bool(
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
        and mallopt(_M_TRIM_THRESHOLD, most_bytes)
        and mallopt(_M_ARENA_MAX, _ARENAS))


@contextmanager
def keep_signal_stack() -> Iterator[None]:
    """
    Run the block, then give this thread the alternate signal stack that it had before.

    OpenVINO's CPU plugin sets such a stack when a Core loads it, and frees it with the Core. Where
    a second Core was made meanwhile, the thread keeps the freed stack, and the next signal, such
    as Ctrl-C, ends the process with a segmentation fault. Only Linux has this problem.
    """
    if not sys.platform.startswith('linux'):
        yield
        return
    sigaltstack, before = ctypes.CDLL(None).sigaltstack, _SignalStack()
    sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        sigaltstack(ctypes.byref(before), None)


class _SignalStack(ctypes.Structure):
    """``stack_t`` of Linux' signal.h."""

    _fields_ = [('sp', ctypes.c_void_p), ('flags', ctypes.c_int), ('size', ctypes.c_size_t)]


@contextmanager
def lower_priority() -> Iterator[None]:
    """
    Run the block with a niceness 10 higher on this thread, then restore the niceness.

    Threads that the block starts inherit the niceness, so theirs is restored as well. Restoring
    needs CAP_SYS_NICE or RLIMIT_NICE; without them, and where the system is not Linux, the block
    runs at the normal priority, because these threads could never leave the low one.
    """
    if not _can_restore_priority():
        yield
        return
    this_thread, others = threading.get_native_id(), _thread_ids()
    normal = os.getpriority(os.PRIO_PROCESS, this_thread)
    os.setpriority(os.PRIO_PROCESS, this_thread,
                   min(_HIGHEST_NICENESS, normal + _NICENESS_STEP))
    try:
        yield
    finally:
        for thread_id in {this_thread, *(_thread_ids() - others)}:
            _set_niceness(thread_id, normal)


def _can_restore_priority() -> bool:
    """Try it on a short-lived thread, which keeps the low priority if restoring fails."""
    if sys.platform != 'linux':
        return False
    restored = []

    def try_it() -> None:
        thread_id = threading.get_native_id()
        normal = os.getpriority(os.PRIO_PROCESS, thread_id)
        os.setpriority(os.PRIO_PROCESS, thread_id, normal + 1)
        try:
            os.setpriority(os.PRIO_PROCESS, thread_id, normal)
        except PermissionError:
            return
        restored.append(True)

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    return bool(restored)


def _thread_ids() -> set[int]:
    return {int(name) for name in os.listdir('/proc/self/task')}


def _set_niceness(thread_id: int, niceness: int) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, thread_id, niceness)
    except ProcessLookupError:
        return
