"""A disk that is nearly full, as far as a process can tell."""

from collections.abc import Iterator
from contextlib import contextmanager
import resource


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """Let writes of this process beyond ``size_bytes`` of a file fail with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
