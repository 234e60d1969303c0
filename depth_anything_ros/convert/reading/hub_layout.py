"""
From the tensor names of the -hf repositories (transformers) to those of the official checkpoints.

The same tensors under other names: query, key and value apart, and the fusion layers counted from
the coarsest. Releases of transformers name some of them differently; all those names are known.
"""

from collections.abc import Mapping
import re

import torch
from torch import Tensor

_PREFIXES = ('backbone.', 'neck.')
_BLOCK = r'backbone\.encoder\.layer\.(\d+)\.'
_RULES = (
    (r'backbone\.embeddings\.(cls_token|mask_token)', r'pretrained.\1'),
    (r'backbone\.embeddings\.position_embeddings', 'pretrained.pos_embed'),
    (r'backbone\.embeddings\.patch_embeddings\.projection\.', 'pretrained.patch_embed.proj.'),
    (r'backbone\.layernorm\.', 'pretrained.norm.'),
    (_BLOCK + r'(norm[12])\.', r'pretrained.blocks.\1.\2.'),
    (_BLOCK + r'layer_scale([12])\.lambda1', r'pretrained.blocks.\1.ls\2.gamma'),
    (_BLOCK + r'attention\.(?:output\.dense|o_proj)\.', r'pretrained.blocks.\1.attn.proj.'),
    (_BLOCK + r'mlp\.(fc[12])\.', r'pretrained.blocks.\1.mlp.\2.'),
    (_BLOCK + r'mlp\.weights_in\.', r'pretrained.blocks.\1.mlp.w12.'),
    (_BLOCK + r'mlp\.(?:weights_out|down_proj)\.', r'pretrained.blocks.\1.mlp.w3.'),
    (r'neck\.reassemble_stage\.layers\.(\d)\.projection\.', r'depth_head.projects.\1.'),
    (r'neck\.reassemble_stage\.layers\.(\d)\.resize\.', r'depth_head.resize_layers.\1.'),
    (r'head\.conv1\.', 'depth_head.scratch.output_conv1.'),
    (r'head\.conv2\.', 'depth_head.scratch.output_conv2.0.'),
    (r'head\.conv3\.', 'depth_head.scratch.output_conv2.2.'),
)
# Several tensors that are one in the official layout, and the first letters of the parts in order.
_JOINED = (
    (_BLOCK + r'attention\.(?:attention\.)?(query|key|value|[qkv]_proj)\.', 'attn.qkv', 'qkv'),
    (_BLOCK + r'mlp\.(gate|up)_proj\.', 'mlp.w12', 'gu'),
)
_CONV = re.compile(r'neck\.convs\.([0-3])\.')
_FUSION = re.compile(r'neck\.fusion_stage\.layers\.([0-3])\.')
_FUSED = (
    (r'projection\.', 'out_conv.'),
    (r'residual_layer([12])\.convolution([12])\.', r'resConfUnit\1.conv\2.'),
)


def is_hub_layout(names: Mapping[str, object]) -> bool:
    """Return whether these are tensor names of transformers."""
    return any(name.startswith(_PREFIXES) for name in names)


def to_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """
    Return the same weights under their official names.

    ValueError names tensors that belong to no Depth Anything model and parts that are missing.
    """
    result: dict[str, Tensor] = {}
    parts: dict[tuple[str, str], dict[str, Tensor]] = {}
    unknown = []
    for name, value in state_dict.items():
        if part := _part(name):
            official, order, letter = part
            parts.setdefault((official, order), {})[letter] = value
        elif (official := _official(name)) and official not in result:
            result[official] = value
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(f'unexpected: {_some(unknown)}')
    for (official, order), found in parts.items():
        if missing := [letter for letter in order if letter not in found]:
            raise ValueError(f'missing: the part {_some(missing)} of {official}')
        result[official] = torch.cat([found[letter] for letter in order])
    return result


def _part(name: str) -> tuple[str, str, str] | None:
    """Return the official name of the whole, its parts in order and which of them this is."""
    for pattern, whole, order in _JOINED:
        if match := re.match(pattern, name):
            rest = name[match.end():]
            return f'pretrained.blocks.{match[1]}.{whole}.{rest}', order, match[2][0]
    return None


def _official(name: str) -> str:
    """Return the official name of one tensor, empty if there is none."""
    for pattern, replacement in _RULES:
        if match := re.match(pattern, name):
            return match.expand(replacement) + name[match.end():]
    if match := _CONV.match(name):
        return f'depth_head.scratch.layer{int(match[1]) + 1}_rn.{name[match.end():]}'
    if match := _FUSION.match(name):
        rest = name[match.end():]
        for pattern, replacement in _FUSED:
            if inner := re.match(pattern, rest):
                official = inner.expand(replacement) + rest[inner.end():]
                return f'depth_head.scratch.refinenet{4 - int(match[1])}.{official}'
    return ''


def _some(names: list[str], count: int = 3) -> str:
    more = f' and {len(names) - count} more' if len(names) > count else ''
    return ', '.join(names[:count]) + more
