"""One sha256 for a model, whether it is one file or several."""

from collections.abc import Iterable
import hashlib
from pathlib import Path

_CHUNK_BYTES = 1 << 20


def sha256_of(files: Iterable[Path]) -> str:
    """
    Return the sha256 of one file, or one that stands for several.

    That of several files is the sha256 of their sorted hexadecimal digests, each followed by a
    line feed (``sha256sum FILES | cut -c -64 | sort | sha256sum``): names and order do not count.
    """
    digests = sorted(_sha256(file) for file in files)
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256(''.join(f'{digest}\n' for digest in digests).encode()).hexdigest()


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open('rb') as content:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
