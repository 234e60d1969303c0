"""ONNX files without their weights: the parts on disk, the opset and the metadata."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from depth_anything_ros.errors import CheckpointError, INSTALL_CONVERT, MissingDependencyError
from depth_anything_ros.foreign_files import foreign_file, is_utf8
from depth_anything_ros.model_info import ModelInfo, SECTION

_PREFIX = f'{SECTION}.'
_EXPORT_AGAIN = 'copy or download all its files again, or export it again'


@dataclass(frozen=True)
class OnnxFile:
    """
    An ONNX file without its weights.

    ``files`` are the file itself and its weight files; ``info`` are its metadata, None where this
    package did not export it. ``inputs`` and ``outputs`` are the names of those of the graph,
    ``names`` those of its tensors and operators, ``properties`` the metadata of other exporters.
    """

    path: Path
    files: tuple[Path, ...]
    opset: int
    info: ModelInfo | None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    properties: Mapping[str, str] = field(default_factory=dict)


def read_onnx_file(path: Path) -> OnnxFile:
    """
    Read the structure of an ONNX file, not its weights.

    CheckpointError if it is not an ONNX file, if a weight file is outside its folder, missing or
    too short, or if the metadata of this package are unusable.
    """
    model = _load(path)
    ends: dict[Path, int] = {}
    for tensor in _tensors(model.graph):
        if tensor.data_location == tensor.EXTERNAL:
            file, end = _external_data(path, tensor)
            ends[file] = max(ends.get(file, 0), end)
    for file, end in ends.items():
        if not file.is_file():
            raise CheckpointError(file, f'this file with weights of {path.name} is missing',
                                  _EXPORT_AGAIN)
        if foreign := foreign_file(file):
            raise CheckpointError(file, *foreign)
        if file.stat().st_size < end:
            raise CheckpointError(file, f'it is truncated: {file.stat().st_size} bytes of {end}',
                                  _EXPORT_AGAIN)
    opset = next((entry.version for entry in model.opset_import if not entry.domain), 0)
    stored = {tensor.name for tensor in model.graph.initializer}
    return OnnxFile(
        path, (path, *sorted(ends)), opset, _read_info(path, model),
        tuple(one.name for one in model.graph.input if one.name not in stored),
        tuple(one.name for one in model.graph.output),
        frozenset(stored | {node.name for node in model.graph.node}),
        {one.key: one.value for one in model.metadata_props})


def require_utf8(path: Path) -> None:
    """Raise CheckpointError for a path that ONNX Runtime cannot open."""
    if not is_utf8(path):
        raise CheckpointError(path, 'ONNX Runtime opens only paths in UTF-8',
                              'rename the file or folder')


def metadata_props(info: ModelInfo) -> dict[str, str]:
    """Return the metadata entries of an ONNX file for ``info``."""
    return {f'{_PREFIX}{name}': text for name, text in info.to_strings().items()}


def _load(path: Path) -> Any:
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError('onnx', f'reading {path.name}', INSTALL_CONVERT) from error
    if not path.is_file():
        raise CheckpointError(path, 'there is no such file', 'give the path of an .onnx file')
    if foreign := foreign_file(path):
        raise CheckpointError(path, *foreign)
    # The parser of protobuf messages raises types that depend on how it was built.
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise _not_onnx(path, type(error).__name__) from error
    if not model.graph.node:
        raise _not_onnx(path, 'it has no operators')
    return model


def _not_onnx(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(path, f'it is truncated or not an ONNX file ({reason})', _EXPORT_AGAIN)


def _external_data(path: Path, tensor: Any) -> tuple[Path, int]:
    """Return the file of a tensor and the offset at which the tensor ends there, in bytes."""
    entry = {one.key: one.value for one in tensor.external_data}
    location = entry.get('location', '')
    if not _is_inside(location):
        raise CheckpointError(path, f'it places weights in {location!r}, which is outside its '
                              'folder', 'export it again with the weights beside it')
    try:
        offset, length = int(entry.get('offset', 0)), int(entry.get('length', 0))
    except ValueError as error:
        raise _not_onnx(path, f'the place of a tensor is unreadable: {error}') from error
    if min(offset, length) < 0:
        raise _not_onnx(path, 'a tensor has a negative place')
    return path.parent / location, offset + length


def _is_inside(location: str) -> bool:
    """Return whether a location is a file below the folder, on any system; links are followed."""
    plain = PurePosixPath(location)
    return (bool(plain.parts) and not plain.is_absolute() and '..' not in plain.parts
            and '\0' not in location and not PureWindowsPath(location).anchor
            and '..' not in PureWindowsPath(location).parts)


def _tensors(graph: Any) -> list[Any]:
    """Return the stored tensors of a graph and of the graphs in its nodes."""
    tensors = [*graph.initializer, *(part for one in graph.sparse_initializer
                                     for part in (one.values, one.indices))]
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        tensors += [*([attribute.t] if attribute.HasField('t') else []), *attribute.tensors]
        for inner in (*([attribute.g] if attribute.HasField('g') else []), *attribute.graphs):
            tensors += _tensors(inner)
    return tensors


def _read_info(path: Path, model: Any) -> ModelInfo | None:
    entries: Mapping[str, str] = {
        one.key.removeprefix(_PREFIX): one.value for one in model.metadata_props
        if one.key.startswith(_PREFIX)}
    if not entries:
        return None
    try:
        return ModelInfo.from_strings(entries)
    except ValueError as error:
        raise CheckpointError(path, f'its depth_anything metadata is unusable ({error})',
                              'export it again') from error
