"""The files of a model that is read, which no output may replace."""

from collections.abc import Iterable
from pathlib import Path

from depth_anything_ros.convert.sources.hf_folder import weight_files
from depth_anything_ros.convert.sources.onnx_files import read_onnx_file
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.inference.ir import check_ir_files


def source_files(source: Path) -> tuple[Path, ...]:
    """
    Return the files whose sha256 identifies a checkpoint, folder, ONNX file or IR.

    CheckpointError or ModelError if one of them is missing.
    """
    if source.suffix == '.xml':
        return check_ir_files(source)
    if source.suffix == '.onnx':
        return read_onnx_file(source).files
    if source.is_dir():
        return tuple(weight_files(source)[0])
    if not source.is_file():
        raise CheckpointError(source, 'there is no such file', 'give a Depth Anything checkpoint, '
                              'ONNX file or IR')
    return (source,)


def is_part_of(sources: Iterable[Path], path: Path) -> bool:
    """Return whether an existing ``path`` is one of the files of ``sources``, also by a link."""
    return any(path.samefile(file) for source in sources for file in source_files(source))
