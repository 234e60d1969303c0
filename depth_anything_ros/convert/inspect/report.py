"""What a checkpoint, an ONNX file or an IR is, without running it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from depth_anything_ros.convert.sources.identity import from_name
from depth_anything_ros.convert.sources.records import sha256_of
from depth_anything_ros.model_info import Kind, ModelInfo, ModelVersion, Quantization, SelfCheck
from depth_anything_ros.networks.models import ModelSpec, UNKNOWN_LICENCE

UNKNOWN = 'unknown, cannot be seen in the tensors'
# Types that hold weights; the others hold shapes and indices.
_WEIGHT_TYPES = ('f64', 'f32', 'f16', 'bf16', 'i8', 'u8', 'i4', 'u4')
_FACTS = ('encoder', 'kind', 'model_version', 'licence')


@dataclass(frozen=True)
class Tensor:
    """Type, number of elements and bytes of one stored tensor."""

    dtype: str
    elements: int
    size_bytes: int


@dataclass(frozen=True)
class Inspection:
    """
    What was found; None where it says nothing.

    ``files`` maps names to bytes. ``sha256`` is that of the weights, see ``digests.sha256_of``.
    ``origins`` says where a fact is from. ``input_shape`` has 0 for a dimension that is free;
    ``precision`` maps types to their share of the bytes of all weights.
    """

    path: str
    what: str
    files: Mapping[str, int]
    sha256: str
    parameters: int
    precision: Mapping[str, float]
    encoder: str | None = None
    kind: Kind | None = None
    model_version: ModelVersion | None = None
    max_depth_m: float | None = None
    licence: str = UNKNOWN_LICENCE
    origins: Mapping[str, str] = field(default_factory=dict)
    input_name: str | None = None
    input_shape: tuple[int, ...] | None = None
    source_name: str | None = None
    source_sha256: str | None = None
    converter_version: str | None = None
    self_check: SelfCheck | None = None
    quantization: Quantization | None = None


def sizes_and_digest(files: Iterable[Path]) -> tuple[dict[str, int], str]:
    """Return the bytes of each file and the sha256 of all."""
    found = list(files)
    return {file.name: file.stat().st_size for file in found}, sha256_of(found)


def count_weights(tensors: Iterable[Tensor]) -> tuple[int, dict[str, float]]:
    """Return how many weights there are and the share of each type in their bytes."""
    weights = [tensor for tensor in tensors if tensor.dtype in _WEIGHT_TYPES]
    sizes: dict[str, int] = {}
    for tensor in weights:
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.size_bytes
    total = max(sum(sizes.values()), 1)
    largest_first = sorted(sizes.items(), key=lambda item: -item[1])
    return (sum(tensor.elements for tensor in weights),
            {dtype: size / total for dtype, size in largest_first})


def from_metadata(bare: Inspection, info: ModelInfo, origin: str) -> Inspection:
    """Return the inspection with what a graph's own metadata says."""
    return replace(
        bare, encoder=info.encoder, kind=info.kind, model_version=info.model_version,
        max_depth_m=info.max_depth_m, licence=info.licence,
        origins=dict.fromkeys(_FACTS, origin), source_name=info.source_name,
        source_sha256=info.source_sha256, converter_version=info.converter_version,
        self_check=info.self_check, quantization=info.quantization)


def from_file_name(bare: Inspection, name: str, table: tuple[ModelSpec, ...]) -> Inspection:
    """Return the inspection with what an official file name says, if it is one."""
    named = from_name(name, table)
    if named is None:
        return bare
    return replace(
        bare, encoder=named.encoder, kind=named.kind, model_version=named.model_version,
        max_depth_m=named.max_depth_m, licence=named.licence,
        origins=dict.fromkeys(_FACTS, named.origin))
