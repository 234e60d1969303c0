"""What a checkpoint is: the types and shapes of its tensors, and which model it holds."""

from collections.abc import Callable
import math
from pathlib import Path
import re

from depth_anything_ros.convert.inspect.report import (
    describe_files, Inspection, Tensor, with_identity)
from depth_anything_ros.convert.sources.checkpoints import (
    find_files, Layout, layout_of, read_tensor_specs, SAFETENSORS, TensorSpec)
from depth_anything_ros.convert.sources.da3_names import official_da3_name
from depth_anything_ros.convert.sources.hf_folder import official_name
from depth_anything_ros.convert.sources.identity import (
    checkpoint_evidence, identify_checkpoint, resolve_identity)
from depth_anything_ros.networks.models import EncoderSpec

_TITLES: dict[Layout, str] = {
    'official': 'official', 'huggingface': 'Hugging Face', 'da3': 'Depth Anything 3'}
_OFFICIAL: dict[Layout, Callable[[str], str]] = {
    'official': str, 'huggingface': official_name, 'da3': official_da3_name}


def inspect_checkpoint(path: Path, table: tuple[EncoderSpec, ...]) -> Inspection:
    """
    Return what a .pth or .safetensors file or a folder of an -hf repository is.

    CheckpointError if it is damaged or something else.
    """
    found = find_files(path, table)
    specs = {name: spec for file in found.files
             for name, spec in read_tensor_specs(file).items()}
    layout = layout_of(path, specs)
    official = _OFFICIAL[layout]
    model = identify_checkpoint(path, {
        official(name) or name: spec.shape for name, spec in specs.items()}, table)
    inspection, digests = describe_files(
        path, f'{_format(path)}, {_TITLES[layout]} layout', found.files,
        map(_tensor, specs.values()))
    return with_identity(inspection, resolve_identity(
        path, model, checkpoint_evidence(path, digests, model, found.config)))


def _format(path: Path) -> str:
    if path.is_dir():
        return 'folder of a hub repository'
    return 'safetensors' if path.suffix == SAFETENSORS else 'PyTorch checkpoint'


def _tensor(spec: TensorSpec) -> Tensor:
    elements, bits = math.prod(spec.shape), re.search(r'\d+', spec.dtype)
    return Tensor(spec.dtype, elements, elements * (int(bits[0]) if bits else 8) // 8)
