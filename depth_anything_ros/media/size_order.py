"""Picture files in an order in which each size of the network input is compiled once."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from depth_anything_ros.media.pictures import read_size_hw
from depth_anything_ros.model_info import ModelInfo, Size
from depth_anything_ros.vision.transforms import model_input_hw

# Returns the size (height, width) of the network input for an image of (height, width).
NetworkSize = Callable[[Size], Size]


def network_size_of(info: ModelInfo, input_size: int = 0) -> NetworkSize:
    """Return the sizes of a model's input; ``input_size`` 0 stands for the model's default."""
    return partial(_network_size, info, input_size)


def order_by_size(files: Sequence[Path | None], *network_sizes: NetworkSize) -> list[int]:
    """
    Return the indices of ``files`` with equal sizes of the network input side by side.

    Groups and files keep their order otherwise. With the sizes of a second model, files of equal
    size for both are side by side within those of the first. Only headers are read; None and
    files of unknown size form a group of their own.
    """
    sizes_hw = [read_size_hw(file) if file and network_sizes else None for file in files]
    groups = [_first_of_equal([network_hw(size_hw) if size_hw and min(size_hw) > 0 else None
                               for size_hw in sizes_hw])
              for network_hw in network_sizes]
    return sorted(range(len(files)), key=lambda index: [group[index] for group in groups])


def _network_size(info: ModelInfo, input_size: int, image_hw: Size) -> Size:
    return model_input_hw(info, image_hw, input_size)


def _first_of_equal(sizes: Sequence[Size | None]) -> list[int]:
    """Return for each size the index at which an equal one comes first."""
    first: dict[Size | None, int] = {}
    return [first.setdefault(size, index) for index, size in enumerate(sizes)]
