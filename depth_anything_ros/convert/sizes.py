"""Sizes that a model can be fixed to."""

from collections.abc import Sequence
from pathlib import Path

from depth_anything_ros.errors import CheckpointError

Size = tuple[int, int]


def check_sizes(path: Path, size_hw: Size | None, multiple: int) -> None:
    """Raise CheckpointError unless each side is a multiple of ``multiple`` or 0, which is open."""
    for name, side in zip(('height', 'width'), size_hw or ()):
        if side % multiple or side < 0:
            below = max(side // multiple, 1) * multiple
            raise CheckpointError(path, f'a {name} of {side} is no multiple of {multiple}',
                                  f'take {below} or {below + multiple}')


def check_batch(path: Path, batch: int) -> None:
    """Raise CheckpointError unless the batch is a number of images, or 0, which is open."""
    if batch < 0:
        raise CheckpointError(path, f'a batch of {batch} images is impossible',
                              'give a positive number, or 0 to leave it open')


def fixed_size(path: Path, size_hw: Size | None) -> Size | None:
    """
    Return the size that a model is fixed to, None if both sides are open.

    CheckpointError if only one side is fixed, which an IR cannot say of itself.
    """
    if size_hw is None or not any(size_hw):
        return None
    if not all(size_hw):
        raise CheckpointError(path, 'only one of height and width is fixed',
                              'give --height and --width, or neither')
    return size_hw


def sizes_allowed(sizes_hw: Sequence[Size], size_hw: Size | None) -> tuple[Size, ...]:
    """Return the sizes to compare at for a model with these fixed sides, each once."""
    height, width = size_hw or (0, 0)
    return tuple(dict.fromkeys((height or one[0], width or one[1]) for one in sizes_hw))
