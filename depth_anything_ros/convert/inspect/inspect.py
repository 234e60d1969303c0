"""What a model file is, whatever its format."""

from pathlib import Path

from depth_anything_ros.convert.inspect.report import Inspection
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.networks.models import MODELS, ModelSpec


def inspect(path: Path, table: tuple[ModelSpec, ...] = MODELS) -> Inspection:
    """
    Return what lies at ``path``; nothing in it is executed.

    CheckpointError or ModelError say why it is nothing of the family; MissingDependencyError if
    torch is missing for a .pth file.
    """
    if not path.exists():
        raise CheckpointError(path, 'there is no such file', 'check the path')
    if path.suffix == '.xml':
        from depth_anything_ros.convert.inspect.ir import inspect_ir
        return inspect_ir(path, table)
    if path.suffix == '.onnx':
        from depth_anything_ros.convert.inspect.onnx import inspect_onnx
        return inspect_onnx(path, table)
    from depth_anything_ros.convert.inspect.checkpoint import inspect_checkpoint
    return inspect_checkpoint(path, table)
