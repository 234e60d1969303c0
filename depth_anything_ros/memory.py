"""Keeping the memory of images and maps in the process from one to the next."""

import ctypes
import sys

# Names and numbers of glibc's malloc.h; 32 MiB is the largest threshold that it accepts.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MMAP_THRESHOLD_BYTES = 32 * 2 ** 20
USUAL_BYTES, MOST_BYTES = 128 * 2 ** 20, 2 ** 31 - 1
_ARENAS = 2


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
