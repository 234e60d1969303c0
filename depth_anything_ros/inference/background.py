"""Work on a thread of its own that gives way to what else the process computes."""

from collections.abc import Iterator
from contextlib import contextmanager
import os
import sys
import threading

_STEPS_DOWN = 10
_LOWEST = 19


@contextmanager
def giving_way() -> Iterator[None]:
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
