"""Names of the files that go out: the reference's flat ones, and never one for two images."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from depth_anything_ros.errors import ImageError


def unique_stems(names: Sequence[str]) -> list[str]:
    """
    Return a file name without suffix for each of ``names``, which are relative paths.

    It is the input's own stem, as in the reference. Inputs that would share it get their folders
    in front, joined by '_'; ImageError names two that still share one.
    """
    flat = [PurePosixPath(name).stem for name in names]
    counts = Counter(flat)
    stems = [stem if counts[stem] == 1 else _with_folders(name)
             for name, stem in zip(names, flat)]
    seen: dict[str, str] = {}
    for name, stem in zip(names, stems):
        if stem in seen:
            raise ImageError(f'{seen[stem]} and {name} would both be written as {stem}; rename '
                             'one of them or run them one after the other')
        seen[stem] = name
    return stems


def check_inputs_stay(inputs: Iterable[Path], outputs: Iterable[Path]) -> None:
    """Raise ImageError where an output would replace one of the inputs."""
    written = {path.resolve() for path in outputs}
    for path in inputs:
        if path.resolve() in written:
            raise ImageError(f'the output would replace its input {path}; choose another --outdir')


def _with_folders(name: str) -> str:
    parts = PurePosixPath(name).with_suffix('').parts
    return '_'.join(part for part in parts if part not in ('/', '.', '..'))
