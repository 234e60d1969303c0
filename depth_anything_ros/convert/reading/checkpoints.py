"""Reading a checkpoint of any layout; its tensors always come out under their official names."""

from dataclasses import dataclass
import math
from pathlib import Path
from typing import Literal

from depth_anything_ros.convert.network.encoders import ENCODERS, EncoderSpec, Shapes
from depth_anything_ros.convert.reading.digests import sha256_of
from depth_anything_ros.convert.reading.evidence import Stated
from depth_anything_ros.convert.reading.hub_folder import check_shards, read_config, weight_files
from depth_anything_ros.convert.reading.hub_layout import is_hub_layout, to_official
from depth_anything_ros.convert.reading.tensor_files import read_tensors
from depth_anything_ros.errors import CheckpointError
from torch import Tensor

Layout = Literal['official', 'huggingface']


@dataclass(frozen=True)
class Checkpoint:
    """
    A state dict under official names (or others: that is checked later) and where it is from.

    ``layout`` is that of the file, ``stated`` what the config.json beside the weights says, None
    where there is none. For the ``sha256`` of several files see ``digests.sha256_of``.
    """

    path: Path
    sha256: str
    state_dict: dict[str, Tensor]
    layout: Layout = 'official'
    stated: Stated | None = None

    @property
    def shapes(self) -> Shapes:
        """Return the shape of each tensor."""
        return {key: tuple(value.shape) for key, value in self.state_dict.items()}

    @property
    def size_bytes(self) -> int:
        """Return how much memory the weights take in f32."""
        return 4 * sum(math.prod(shape) for shape in self.shapes.values())


def read_checkpoint(path: Path, table: tuple[EncoderSpec, ...] = ENCODERS) -> Checkpoint:
    """
    Read a .pth or .safetensors file or a folder with the files of a hub repository.

    ``table`` says which encoders a config.json may describe. CheckpointError says why a file or
    folder cannot be used.
    """
    stated, files = None, [path]
    places: dict[str, str] = {}
    if path.is_dir():
        stated = read_config(path, table)
        files, places = weight_files(path)
    shards = {file.name: read_tensors(file) for file in files}
    if places:
        check_shards(path, places, shards)
    state_dict = {name: value for shard in shards.values() for name, value in shard.items()}
    layout: Layout = 'huggingface' if is_hub_layout(state_dict) else 'official'
    if layout == 'huggingface':
        try:
            state_dict = to_official(state_dict)
        except ValueError as error:
            raise CheckpointError(
                path, f'its tensors are not those of a Depth Anything -hf repository ({error})',
                'download it again or give another one') from error
    return Checkpoint(path, sha256_of(files), state_dict, layout, stated)
