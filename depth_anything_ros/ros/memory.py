"""Keeping the memory of images in the process from one message to the next."""

import ctypes
import sys

# Names and numbers of glibc's malloc.h; 32 MiB is the largest threshold that it accepts.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MMAP_THRESHOLD_BYTES = 32 * 2 ** 20
_TRIM_THRESHOLD_BYTES = 128 * 2 ** 20
_ARENAS = 2


def keep_freed_memory() -> bool:
    """
    Tell glibc to reuse the memory of large messages instead of giving it back each time.

    Otherwise every 640x480 image costs some 640 page faults and takes twice the time to receive.
    Up to 128 MiB that were used once stay with the process. Few arenas: with one per thread each
    model that is loaded anew leaves freed memory in others. Returns False, and changes nothing,
    where the C library is another one.
    """
    if not sys.platform.startswith('linux'):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    return mallopt is not None and bool(
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
        and mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES)
        and mallopt(_M_ARENA_MAX, _ARENAS))
