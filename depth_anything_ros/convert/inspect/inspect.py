"""What a model file is, whatever its format."""

from pathlib import Path

from depth_anything_ros.convert.inspect.checkpoint import inspect_checkpoint
from depth_anything_ros.convert.inspect.graphs import inspect_ir, inspect_onnx
from depth_anything_ros.convert.inspect.report import Inspection
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.networks.models import EncoderSpec, MODELS


def inspect(path: Path, table: tuple[EncoderSpec, ...] = MODELS) -> Inspection:
    """
    Return what the file or folder at ``path`` is; no code in it is executed.

    CheckpointError or ModelError say why it is not a Depth Anything model; MissingDependencyError
    if torch is missing for a .pth file, or onnx for an .onnx file.
    """
    if not path.exists():
        raise CheckpointError(path, 'there is no such file', 'check the path')
    if path.suffix == '.xml':
        return inspect_ir(path, table)
    if path.suffix == '.onnx':
        return inspect_onnx(path, table)
    return inspect_checkpoint(path, table)
