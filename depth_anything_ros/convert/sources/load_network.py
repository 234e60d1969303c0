"""From a checkpoint on disk to a network that is ready to run."""

from dataclasses import dataclass
from pathlib import Path

from depth_anything_ros.convert.sources.checkpoints import Checkpoint, read_checkpoint
from depth_anything_ros.convert.sources.identity import (
    Evidence, ModelIdentity, Overrides, resolve_identity)
from depth_anything_ros.convert.sources.records import read_record
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.networks.depth_anything import build_network, Network
from depth_anything_ros.networks.models import identify_network, MODELS, ModelSpec

_LAYOUT = 'give a Depth Anything V1 or V2 checkpoint in the official layout or that of the -hf ' \
    'repositories, or a distilled nano, not one of another network'


@dataclass(frozen=True)
class Loaded:
    """A checkpoint, what it is, and its network in f32."""

    checkpoint: Checkpoint
    identity: ModelIdentity
    network: Network


def load_network(path: Path, overrides: Overrides,
                 table: tuple[ModelSpec, ...] = MODELS) -> Loaded:
    """Read a checkpoint of any layout; CheckpointError says why it cannot be used."""
    checkpoint = read_checkpoint(path, table)
    member = _identify(checkpoint, table)
    identity = resolve_identity(path, checkpoint.sha256, member, overrides, checkpoint.evidence,
                             _recorded(checkpoint))
    try:
        network = build_network(member, identity.model_version, identity.max_depth_m,
                               checkpoint.state_dict)
    except ValueError as error:
        raise CheckpointError(path, f'its tensors are not those of {member.name} ({error})',
                              _LAYOUT) from error
    return Loaded(checkpoint, identity, network)


def _recorded(checkpoint: Checkpoint) -> Evidence | None:
    """Return what was recorded when this very file was downloaded."""
    record = read_record(checkpoint.path)
    if record is None or checkpoint.sha256 not in record.files.values():
        return None
    return Evidence('the record of the download', record.repository, licence=record.licence)


def _identify(checkpoint: Checkpoint, table: tuple[ModelSpec, ...]) -> ModelSpec:
    try:
        return identify_network(checkpoint.shapes, table)
    except ValueError as error:
        keys = ', '.join(list(checkpoint.state_dict)[:3])
        raise CheckpointError(
            checkpoint.path, f'it is not a Depth Anything checkpoint that can be converted: '
            f'{error} (it starts with {keys})', _LAYOUT) from error
