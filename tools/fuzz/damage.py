"""Random damage of files, from one bit to 1 MiB, as faults of a disk or an interrupted copy do."""

from pathlib import Path
from random import Random

MOST_BYTES = 2 ** 20


def damaged(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Return other content of the same or a smaller size, and what was done to it."""
    changed, size = bytearray(content), len(content)
    if not size:
        return b'\1', 'one byte into an empty file'
    length = min(size, max(1, int(2 ** rng.uniform(0, 20))), MOST_BYTES)
    first = rng.randrange(size - length + 1)
    kind = rng.choice(('bits', 'zeros', 'noise', 'moved', 'cut'))
    if kind == 'bits':
        places = {rng.randrange(8 * size) for _ in range(rng.choice((1, 1, 10, 100)))}
        for place in places:
            changed[place // 8] ^= 1 << place % 8
        return bytes(changed), f'{len(places)} bits turned over, one at byte {min(places) // 8}'
    if kind == 'cut':
        return bytes(changed[:size - length]), f'{length} bytes cut off'
    changed[first:first + length] = {
        'zeros': bytes(length), 'noise': rng.randbytes(length),
        'moved': content[size - length:]}[kind]
    return bytes(changed), f'{kind}: {length} bytes at byte {first}'


def damage_file(path: Path, rng: Random) -> str:
    """Damage a file in place and return what was done to it."""
    content, what = damaged(path.read_bytes(), rng)
    path.write_bytes(content)
    return f'{path.name}: {what}'
