"""Keeping the memory of images and maps in the process from one to the next."""

from collections.abc import Iterator
from contextlib import contextmanager
import ctypes
import os
import sys
import threading

# Names and numbers of glibc's malloc.h; 32 MiB is the largest threshold that it accepts.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MMAP_THRESHOLD_BYTES = 32 * 2 ** 20
USUAL_BYTES, MOST_BYTES = 128 * 2 ** 20, 2 ** 31 - 1
_ARENAS = 2
_STEPS_DOWN = 10
_LOWEST = 19


def keep_freed_memory(most_bytes: int = USUAL_BYTES) -> bool:
    """
    Tell glibc to reuse the memory of large buffers instead of giving it back each time.

    Otherwise every 640x480 image costs some 640 page faults and takes twice the time to receive.
    Up to ``most_bytes`` that were used once, below 2 GiB, stay with the process. Few arenas: with
    one per thread each model that is loaded anew leaves freed memory in others. Returns False, and
    changes nothing, where the C library is another one.
    """
    if not sys.platform.startswith('linux'):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    return mallopt is not None and bool(
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
        and mallopt(_M_TRIM_THRESHOLD, most_bytes)
        and mallopt(_M_ARENA_MAX, _ARENAS))


@contextmanager
def lower_priority() -> Iterator[None]:
    """
    Run the block on this thread ten steps nicer, where Linux allows to undo that.

    Threads inherit the niceness, so those that the block started get the usual one at its end.
    That takes CAP_SYS_NICE or RLIMIT_NICE; without them nothing changes, lest they stay nice.
    """
    if not _may_return():
        yield
        return
    me, others = threading.get_native_id(), _threads()
    usual = os.getpriority(os.PRIO_PROCESS, me)
    os.setpriority(os.PRIO_PROCESS, me, min(_LOWEST, usual + _STEPS_DOWN))
    try:
        yield
    finally:
        for thread in {me, *(_threads() - others)}:
            _set(thread, usual)


def _may_return() -> bool:
    """Try it on a thread that ends at once, because where it fails that thread stays nice."""
    if sys.platform != 'linux':
        return False
    allowed = []

    def probe() -> None:
        me = threading.get_native_id()
        usual = os.getpriority(os.PRIO_PROCESS, me)
        os.setpriority(os.PRIO_PROCESS, me, usual + 1)
        try:
            os.setpriority(os.PRIO_PROCESS, me, usual)
        except PermissionError:
            return
        allowed.append(True)

    thread = threading.Thread(target=probe)
    thread.start()
    thread.join()
    return bool(allowed)


def _threads() -> set[int]:
    return {int(name) for name in os.listdir('/proc/self/task')}


def _set(thread: int, niceness: int) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, thread, niceness)
    except ProcessLookupError:
        return
