"""What a checkpoint, an ONNX file or an IR is, without running it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from depth_anything_ros.convert.sources.identity import ResolvedIdentity
from depth_anything_ros.convert.sources.records import combined_sha256, file_digests
from depth_anything_ros.model_info import Kind, ModelInfo, ModelVersion, Quantization, SelfCheck
from depth_anything_ros.networks.models import UNKNOWN_LICENCE

# Types that hold weights; the others hold shapes and indices.
_WEIGHT_TYPES = ('f64', 'f32', 'f16', 'bf16', 'i8', 'u8', 'i4', 'u4')
_FACTS = ('encoder', 'kind', 'model_version', 'max_depth_m', 'licence')


@dataclass(frozen=True)
class Tensor:
    """Type, number of elements and bytes of one stored tensor."""

    dtype: str
    elements: int
    size_bytes: int


@dataclass(frozen=True)
class Inspection:
    """
    The findings on a file; None where it states nothing.

    ``what`` is its format in words. ``files`` maps names to bytes. ``sha256`` is that of the
    weights, see ``records.combined_sha256``. ``origins`` maps facts to their evidence.
    ``input_shape`` [N, 3, H, W] has 0 for a free dimension; ``precision`` maps types to their
    share of the bytes of all weights. For an ONNX file that is not Depth Anything, ``family`` is
    the known family that it belongs to, ``refusal`` why that cannot be used, ``facts`` are those
    known of it, and ``missing`` maps those that must be described to their meaning.
    ``description`` are the facts that an IR was made with; ``focal_px`` and ``range_m`` are those
    of ``ModelInfo``.
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
    family: str | None = None
    refusal: str = ''
    facts: Mapping[str, object] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    description: str = ''
    focal_px: float | None = None
    range_m: tuple[float, float] | None = None


def describe_files(path: Path, what: str, files: Iterable[Path], tensors: Iterable[Tensor]
                   ) -> tuple[Inspection, tuple[str, ...]]:
    """Return an inspection without the identity of the model, and the sha256 of each file."""
    found = list(files)
    digests = file_digests(found)
    parameters, precision = _count_weights(tensors)
    return Inspection(
        str(path), what, {file.name: file.stat().st_size for file in found},
        combined_sha256(digests), parameters, precision), digests


def with_identity(inspection: Inspection, identity: ResolvedIdentity) -> Inspection:
    """Return the inspection with the facts of a model and their evidence."""
    facts = {name: getattr(identity, name) for name in _FACTS}
    return replace(
        inspection, encoder=identity.encoder.value, kind=identity.kind.value,
        model_version=identity.model_version.value, max_depth_m=identity.max_depth_m.value,
        licence=identity.licence.value or UNKNOWN_LICENCE, source_name=identity.source_name,
        origins={name: fact.origin for name, fact in facts.items() if fact.origin})


def with_metadata(inspection: Inspection, info: ModelInfo) -> Inspection:
    """Return the inspection with the part of a graph's metadata that is not its identity."""
    return replace(
        inspection, source_name=info.source_name, source_sha256=info.source_sha256,
        converter_version=info.converter_version, self_check=info.self_check,
        quantization=info.quantization, description=info.description,
        focal_px=info.focal_px, range_m=info.range_m)


def _count_weights(tensors: Iterable[Tensor]) -> tuple[int, dict[str, float]]:
    """Return the number of weights and the share of each type in their bytes."""
    weights = [tensor for tensor in tensors if tensor.dtype in _WEIGHT_TYPES]
    sizes: dict[str, int] = {}
    for tensor in weights:
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.size_bytes
    total = max(sum(sizes.values()), 1)
    largest_first = sorted(sizes.items(), key=lambda item: -item[1])
    return (sum(tensor.elements for tensor in weights),
            {dtype: size / total for dtype, size in largest_first})
