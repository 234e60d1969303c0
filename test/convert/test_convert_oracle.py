"""
An independent implementation computes the same depth from the same weights.

The oracle interpolates its position embedding in another way than the reference code does, so
the two are compared at 518x518, where neither interpolates.
"""

from collections.abc import Callable
import re
from typing import Any

from depth_anything_ros.convert.encoders import ENCODERS
import pytest

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

from depth_anything_ros.convert.network import build_network  # noqa: E402, I100
from depth_anything_ros.convert.parity import card_input  # noqa: E402

VITS = ENCODERS[0]
RENAMED = [
    (r'^pretrained\.cls_token$', 'backbone.embeddings.cls_token'),
    (r'^pretrained\.mask_token$', 'backbone.embeddings.mask_token'),
    (r'^pretrained\.pos_embed$', 'backbone.embeddings.position_embeddings'),
    (r'^pretrained\.patch_embed\.proj', 'backbone.embeddings.patch_embeddings.projection'),
    (r'^pretrained\.norm', 'backbone.layernorm'),
    (r'^pretrained\.blocks\.', 'backbone.encoder.layer.'),
    (r'\.attn\.proj\.', '.attention.o_proj.'),
    (r'\.ls(\d)\.gamma', r'.layer_scale\1.lambda1'),
    (r'^depth_head\.projects\.(\d)\.', r'neck.reassemble_stage.layers.\1.projection.'),
    (r'^depth_head\.resize_layers\.(\d)\.', r'neck.reassemble_stage.layers.\1.resize.'),
    (r'^depth_head\.scratch\.output_conv1\.', 'head.conv1.'),
    (r'^depth_head\.scratch\.output_conv2\.0\.', 'head.conv2.'),
    (r'^depth_head\.scratch\.output_conv2\.2\.', 'head.conv3.'),
    (r'\.out_conv\.', '.projection.'),
    (r'\.resConfUnit(\d)\.conv(\d)\.', r'.residual_layer\1.convolution\2.'),
]


def renamed(weights: dict[str, Any]) -> dict[str, Any]:
    """Return official weights under the names that transformers gives them."""
    result = {}
    for name, value in weights.items():
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        name = re.sub(r'^depth_head\.scratch\.layer(\d)_rn\.',
                      lambda match: f'neck.convs.{int(match[1]) - 1}.', name)
        name = re.sub(r'^depth_head\.scratch\.refinenet(\d)\.',
                      lambda match: f'neck.fusion_stage.layers.{4 - int(match[1])}.', name)
        if '.attn.qkv.' in name:
            for part, tensor in zip('qkv', value.chunk(3)):
                result[name.replace('.attn.qkv.', f'.attention.{part}_proj.')] = tensor
        else:
            result[name] = value
    return result


def oracle(blocks_read: tuple[int, ...], max_depth_m: int | None) -> Any:
    backbone = transformers.Dinov2Config(
        hidden_size=VITS.width, num_hidden_layers=VITS.depth, num_attention_heads=VITS.heads,
        image_size=518, patch_size=14, out_indices=[index + 1 for index in blocks_read],
        apply_layernorm=True, reshape_hidden_states=False)
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=VITS.width, patch_size=14,
        neck_hidden_sizes=list(VITS.out_channels), fusion_hidden_size=VITS.features,
        depth_estimation_type='relative' if max_depth_m is None else 'metric',
        max_depth=max_depth_m or 1)
    return transformers.DepthAnythingForDepthEstimation(config).eval()


@pytest.mark.parametrize(('version', 'max_depth_m'), [('v2', None), ('v1', 20)])
def test_transformers_computes_the_same_depth(
        make_weights: Callable[..., dict[str, Any]], version: Any,
        max_depth_m: int | None) -> None:
    weights = make_weights(VITS)
    other = oracle(VITS.blocks_read(version), max_depth_m)
    other.load_state_dict(renamed(weights))
    image = torch.from_numpy(card_input((518, 518)))
    with torch.inference_mode():
        expected = other(pixel_values=image).predicted_depth
        found = build_network(VITS, version, max_depth_m, weights)(image)
    assert expected.std() > 1e-3
    assert (found - expected).abs().max() < 1e-4 * expected.std()
