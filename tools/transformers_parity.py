"""
Compares the network of this package with ``transformers``, an independent implementation.

Both load the same random weights from a folder in the layout of the Hugging Face hub. They are
compared at 518x518, because they interpolate the position embedding differently at other sizes.
"""

from collections.abc import Mapping
from pathlib import Path
import tempfile
from typing import Any

from depth_anything_ros.errors import CheckpointError, MissingDependencyError
from depth_anything_ros.model_info import ModelInfo, ModelVersion
from depth_anything_ros.networks.models import EncoderSpec, find_encoder, INPUT_SIZE, MODELS, PATCH


def parity(encoder: str, version: ModelVersion = 'v2', max_depth_m: float | None = None,
           table: tuple[EncoderSpec, ...] = MODELS, shard_size: str = '50GB') -> float:
    """
    Return the largest difference at 518x518 in standard deviations of the output.

    ``max_depth_m`` makes the network metric; the weights are stored in shards of ``shard_size``.
    """
    from depth_anything_ros.convert.parity.measure import card_input
    from depth_anything_ros.convert.parity.runners import torch_runner
    from depth_anything_ros.convert.sources.identity import Overrides
    from depth_anything_ros.convert.sources.load_network import load_network
    import numpy as np
    import torch

    spec = find_encoder(encoder, table)
    image = card_input((INPUT_SIZE, INPUT_SIZE))
    with tempfile.TemporaryDirectory() as name:
        other = random_model(spec, version, max_depth_m)
        other.save_pretrained(name, max_shard_size=shard_size)
        with torch.inference_mode():
            expected = other(pixel_values=torch.from_numpy(image)).predicted_depth[0].numpy()
        del other
        loaded = load_network(Path(name), Overrides(), table)
        found = torch_runner(loaded.network).run(image)
    return float(np.abs(found - expected).max() / expected.std())


def random_model(spec: EncoderSpec, version: ModelVersion = 'v2',
                 max_depth_m: float | None = None) -> Any:
    """
    Return the model of ``transformers`` for an encoder with random weights.

    With their scale the output is neither constant nor clipped by the last activation.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingDependencyError('transformers', 'the comparison of the network',
                                     "pip install 'depth_anything_ros[test]'") from error
    backbone = transformers.Dinov2Config(
        hidden_size=spec.width, num_hidden_layers=spec.depth, num_attention_heads=spec.heads,
        image_size=INPUT_SIZE, patch_size=PATCH, apply_layernorm=True, reshape_hidden_states=False,
        out_indices=[index + 1 for index in spec.blocks_read(version)],
        use_swiglu_ffn=spec.feed_forward == 'swiglu')
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=spec.width, patch_size=PATCH,
        neck_hidden_sizes=list(spec.out_channels), fusion_hidden_size=spec.features,
        depth_estimation_type='relative' if max_depth_m is None else 'metric',
        max_depth=int(max_depth_m or 1))
    model = transformers.DepthAnythingForDepthEstimation(config).eval()
    _randomise(model)
    return model


def _randomise(model: Any) -> None:
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith(('bias', 'cls_token', 'mask_token')):
                value.copy_(0.1 * noise)
            elif 'lambda' in name:
                value.copy_(0.3 * (1 + 0.2 * noise))
            elif 'norm' in name:
                value.copy_(1 + 0.2 * noise)
            elif name.endswith('position_embeddings'):
                value.copy_(0.5 * noise)
            else:
                value.copy_(noise / value[0].numel() ** 0.5)
        model.head.conv3.weight.abs_()
        model.head.conv3.bias.fill_(0.1)


def load_transformers_model(checkpoint: Path, info: ModelInfo,
                            table: tuple[EncoderSpec, ...] = MODELS) -> Any:
    """
    Return ``DepthAnythingForDepthEstimation`` in f32 with the weights of a checkpoint.

    Kind, version and range are those of ``info``, the metadata of an IR of the same checkpoint.
    CheckpointError if the checkpoint cannot be read or does not fit, MissingDependencyError
    without transformers.
    """
    from depth_anything_ros.convert.sources.identity import Overrides
    from depth_anything_ros.convert.sources.load_network import load_network
    from tools.transformers_parity import random_model

    loaded = load_network(
        checkpoint, Overrides(info.kind, info.model_version, info.max_depth_m), table)
    spec = find_encoder(loaded.identity.encoder, table)
    model = random_model(spec, loaded.identity.model_version, loaded.identity.max_depth_m)
    official = loaded.network.state_dict()
    try:
        model.load_state_dict(to_hub_layout(official, model.state_dict()), strict=True)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(checkpoint, f'transformers cannot hold its weights ({error})',
                              'try another version of transformers') from error
    return model.eval().requires_grad_(False)


def to_hub_layout(official: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return official weights under the names of ``wanted``, a state dict in the hub layout.

    ``to_official`` maps in the other direction. Applied to tensors that hold the number of their
    name, it shows for each row of an official tensor which hub tensor it belongs to. ValueError
    names weights that exist on one side only.
    """
    from depth_anything_ros.convert.sources.hf_folder import to_official
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
