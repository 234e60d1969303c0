"""From a checkpoint on disk to a network that is ready to run, and where it comes from."""

from dataclasses import dataclass
from pathlib import Path

from depth_anything_ros.convert.sources.checkpoints import Checkpoint, read_checkpoint
from depth_anything_ros.convert.sources.identity import (
    checkpoint_evidence, graph_evidence, identify_checkpoint, model_name, ModelIdentity, Overrides,
    resolve_identity)
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.inference.devices import open_core
from depth_anything_ros.inference.ir import read_ir
from depth_anything_ros.networks.depth_anything import build_network, DepthAnything
from depth_anything_ros.networks.models import EncoderSpec, MODELS, UNKNOWN_LICENCE


@dataclass(frozen=True)
class Loaded:
    """A checkpoint, which model it is, and its network in f32."""

    checkpoint: Checkpoint
    identity: ModelIdentity
    network: DepthAnything


def load_network(path: Path, overrides: Overrides,
                 table: tuple[EncoderSpec, ...] = MODELS) -> Loaded:
    """Read a checkpoint of any layout; CheckpointError says why it cannot be used."""
    checkpoint = read_checkpoint(path, table)
    spec = identify_checkpoint(path, checkpoint.shapes, table)
    evidence = checkpoint_evidence(path, checkpoint.digests, spec, checkpoint.config)
    identity = resolve_identity(path, spec, evidence, overrides).require_complete()
    try:
        network = build_network(spec, identity.model_version, identity.max_depth_m,
                                checkpoint.state_dict)
    except ValueError as error:
        raise CheckpointError(path, f'its tensors are not those of {spec.name} ({error})',
                              'download it again, or give the checkpoint of a Depth Anything '
                              'network') from error
    return Loaded(checkpoint, identity, network)


def origin_of(path: Path, table: tuple[EncoderSpec, ...] = MODELS) -> tuple[str, str]:
    """
    Return name and licence of a checkpoint or IR, 'unknown' where no evidence states a licence.

    CheckpointError or ModelError if it cannot be read. ``table`` is searched before ``MODELS``.
    """
    table = (*table, *MODELS)
    if path.suffix == '.xml':
        found = resolve_identity(path, None, graph_evidence(
            path, read_ir(open_core(), path)[1], table))
    else:
        checkpoint = read_checkpoint(path, table)
        spec = identify_checkpoint(path, checkpoint.shapes, table)
        found = resolve_identity(path, spec, checkpoint_evidence(
            path, checkpoint.digests, spec, checkpoint.config))
    return found.source_name or model_name(path), found.licence.value or UNKNOWN_LICENCE
