"""The weights of a checkpoint in the model of ``transformers``, which most users start from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from depth_anything_ros.convert.network.encoders import ENCODERS, EncoderSpec
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.model_info import ModelInfo


def load_transformers_model(checkpoint: Path, info: ModelInfo,
                            table: tuple[EncoderSpec, ...] = ENCODERS) -> Any:
    """
    Return ``DepthAnythingForDepthEstimation`` in f32 with the very weights of a checkpoint.

    Kind, version and range are those of ``info``, which an IR of the same checkpoint says.
    CheckpointError if the checkpoint cannot be read or its tensors have no place there,
    MissingDependencyError without transformers.
    """
    from depth_anything_ros.convert.reading.loading import load_network
    from depth_anything_ros.convert.reading.variants import Asked
    from depth_anything_ros.tools.transformers_parity import random_model

    loaded = load_network(
        checkpoint, Asked(info.kind, info.model_version, info.max_depth_m), table)
    spec = next(spec for spec in table if spec.name == loaded.variant.encoder)
    model = random_model(spec, loaded.variant.model_version, loaded.variant.max_depth_m)
    official = loaded.network.state_dict()
    try:
        model.load_state_dict(to_hub_layout(official, model.state_dict()), strict=True)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(checkpoint, f'transformers cannot hold its weights ({error})',
                              'try another version of transformers') from error
    return model.eval().requires_grad_(False)


def to_hub_layout(official: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return official weights under the names of ``wanted``, a state dict in the layout of the hub.

    ``to_official`` itself tells where each row of a tensor belongs: it is asked with the rows
    numbered by the tensor of ``wanted`` that they come from. ValueError names weights that have no
    place.
    """
    from depth_anything_ros.convert.reading.hub_layout import to_official
    import torch

    names = list(wanted)
    places = to_official({name: torch.full((len(wanted[name]),), number)
                          for number, name in enumerate(names)})
    if different := sorted(places.keys() ^ official.keys()):
        raise ValueError(f'only one of the two has {", ".join(different[:3])}')
    found = {}
    for name, owners in places.items():
        for owner in owners.unique().tolist():
            found[names[owner]] = official[name][owners == owner]
    return found
