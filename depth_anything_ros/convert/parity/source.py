"""The source of an IR as a reference in f32: a checkpoint, an ONNX file or another IR."""

from dataclasses import dataclass
from pathlib import Path

from depth_anything_ros.convert.parity.limits import DEVICE_LIMITS, Limits
from depth_anything_ros.convert.parity.measure import Gates
from depth_anything_ros.convert.parity.runners import ir_runner, onnx_runner, Runner, torch_runner
from depth_anything_ros.convert.sources.checkpoints import read_checkpoint
from depth_anything_ros.convert.sources.onnx_files import read_onnx_file
from depth_anything_ros.convert.sources.records import sha256_of
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.inference.ir import check_ir_files
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.networks.depth_anything import build_network
from depth_anything_ros.networks.models import identify_network, ModelSpec


@dataclass(frozen=True)
class Source:
    """A reference, what the IR may differ from it, and notes for people."""

    runner: Runner
    limits: Limits
    notes: tuple[str, ...]


def open_source(path: Path, info: ModelInfo, table: tuple[ModelSpec, ...]) -> Source:
    """
    Return the source at ``path`` as the reference for an IR that says ``info``.

    Kind, version and range are those of the IR. CheckpointError if the source cannot be used.
    """
    runner, digest = _open(path, info, table)
    notes = []
    if digest != info.source_sha256:
        notes.append(f'the IR was made from another file: its sha256 is {info.source_sha256}, '
                     f'that of {path} is {digest}')
    return Source(runner, _limits(info), tuple(notes))


def _open(path: Path, info: ModelInfo, table: tuple[ModelSpec, ...]) -> tuple[Runner, str]:
    if path.suffix == '.onnx':
        return onnx_runner(path), sha256_of(read_onnx_file(path).files)
    if path.suffix == '.xml':
        return ir_runner(path), sha256_of(check_ir_files(path))
    checkpoint = read_checkpoint(path, table)
    try:
        member = identify_network(checkpoint.shapes, table)
        network = build_network(member, info.model_version, info.max_depth_m,
                               checkpoint.state_dict)
    except ValueError as error:
        raise CheckpointError(path, f'its tensors are not those of a Depth Anything network '
                              f'({error})', 'give the checkpoint that the IR was made from'
                              ) from error
    if member.name != info.encoder:
        raise CheckpointError(path, f'it is {member.name} and the IR is {info.encoder}',
                              'give the checkpoint that the IR was made from')
    return torch_runner(network), checkpoint.sha256


def _limits(info: ModelInfo) -> Limits:
    """Return the gates of a conversion; INT8 has those of a device, as it is no exact copy."""
    if info.precision == 'int8':
        return DEVICE_LIMITS
    return Limits(max_error=Gates().allowed('OpenVINO', info.precision))
