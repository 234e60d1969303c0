"""
How far this package's network is from that of ``transformers``, an independent implementation.

Both compute the same random weights, which go through a folder as the Hugging Face hub has them.
The two interpolate the position embedding in different ways, so they are compared at 518x518,
where neither interpolates.
"""

from pathlib import Path
import tempfile
from typing import Any

from depth_anything_ros.convert.network.encoders import ENCODERS, EncoderSpec, INPUT_SIZE, PATCH
from depth_anything_ros.errors import MissingDependencyError
from depth_anything_ros.model_info import ModelVersion


def parity(encoder: str, version: ModelVersion = 'v2', max_depth_m: float | None = None,
           table: tuple[EncoderSpec, ...] = ENCODERS, shard_size: str = '50GB') -> float:
    """
    Return the largest difference at 518x518 in units of the output's standard deviation.

    ``max_depth_m`` makes the network metric; the weights are stored in shards of ``shard_size``.
    """
    from depth_anything_ros.convert.reading.loading import load_network
    from depth_anything_ros.convert.proving.parity import card_input
    from depth_anything_ros.convert.proving.runners import torch_runner
    from depth_anything_ros.convert.reading.variants import Asked
    import numpy as np
    import torch

    spec = next(spec for spec in table if spec.name == encoder)
    image = card_input((INPUT_SIZE, INPUT_SIZE))
    with tempfile.TemporaryDirectory() as name:
        other = random_model(spec, version, max_depth_m)
        other.save_pretrained(name, max_shard_size=shard_size)
        with torch.inference_mode():
            expected = other(pixel_values=torch.from_numpy(image)).predicted_depth[0].numpy()
        del other
        loaded = load_network(Path(name), Asked(), table)
        found = torch_runner(loaded.network).run(image)
    return float(np.abs(found - expected).max() / expected.std())


def random_model(spec: EncoderSpec, version: ModelVersion = 'v2',
                 max_depth_m: float | None = None) -> Any:
    """
    Return the model of ``transformers`` for an encoder, with random weights of a useful scale.

    Its output is neither flat nor cut off by the last activation.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingDependencyError('transformers', 'a second opinion on the network',
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
