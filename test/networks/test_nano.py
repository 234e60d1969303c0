"""Nano: its context block, its depth, and which state dicts it loads."""

from collections.abc import Callable

import pytest

torch = pytest.importorskip('torch')

from depth_anything_ros.networks.depth_anything import build_network  # noqa: E402, I100
from depth_anything_ros.networks.models import (  # noqa: E402
    identify_network, NANO, NANO_INPUT, VIT_INPUT)
from depth_anything_ros.networks.nano import Context, NanoDepth  # noqa: E402
from torch import nn, Tensor  # noqa: E402

Weights = dict[str, Tensor]


def test_the_context_is_a_transformer_block_over_all_places() -> None:
    torch.manual_seed(0)
    context = Context(6, 16, 4)
    layer = nn.TransformerEncoderLayer(16, 4, 32, 0.0, 'gelu', batch_first=True, norm_first=True)
    layer.load_state_dict({
        'self_attn.in_proj_weight': context.qkv.weight, 'self_attn.in_proj_bias': context.qkv.bias,
        **{f'{theirs}.{kind}': getattr(getattr(context, ours), kind)
           for theirs, ours in (('self_attn.out_proj', 'proj'), ('linear1', 'fc1'),
                                ('linear2', 'fc2'), ('norm1', 'norm1'), ('norm2', 'norm2'))
           for kind in ('weight', 'bias')}})
    path = torch.randn(2, 6, 3, 5)
    with torch.no_grad():
        tokens = context.enter(path).flatten(2).transpose(1, 2)
        expected = layer(tokens).transpose(1, 2).reshape(2, 16, 3, 5)
        found = context(path)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        path[0, :, 0, 0] += 5
        changed = (context(path) - found).abs().amax(1)
    assert changed[0].min() > 1e-4 and changed[1].max() == 0


def test_the_depth_has_the_size_of_each_image_of_a_batch(
        make_nano: Callable[..., Weights]) -> None:
    network = build_network(NANO, 'v2', None, make_nano())
    image = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    depth = network(image)
    assert depth.shape == (2, 64, 96) and depth.dtype == torch.float32
    torch.testing.assert_close(depth[1:], network(image[1:]), rtol=1e-4, atol=1e-4)
    assert depth.std() > 0.01 and (depth[0] - depth[1]).abs().max() > 0.01


def test_the_depth_is_never_negative_but_in_training(make_nano: Callable[..., Weights]) -> None:
    weights = make_nano()
    weights['head.output.bias'] = torch.zeros(1)
    network = build_network(NANO, 'v2', None, weights)
    assert isinstance(network, NanoDepth)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    depth, free = network(image), network.unbounded(image)
    assert free.min() < 0 < free.max()
    assert torch.equal(depth, free.clamp(min=0))


def test_nano_is_identified_by_its_tensor_names_and_loads_strictly(
        make_nano: Callable[..., Weights]) -> None:
    weights = make_nano()
    assert identify_network({name: tuple(value.shape) for name, value in weights.items()}) is NANO
    del weights['head.context.qkv.bias']
    with pytest.raises(ValueError, match='missing: head.context.qkv.bias'):
        build_network(NANO, 'v2', None, weights)


def test_each_network_names_sizes_that_it_takes() -> None:
    assert VIT_INPUT.sizes_hw == ((518, 518), (392, 518), (518, 686))
    assert VIT_INPUT.card_size_hw == (196, 252)
    assert NanoDepth.input_spec == NANO_INPUT
    assert NANO_INPUT.sizes_hw == ((288, 288), (224, 288), (288, 384))
    assert NANO_INPUT.card_size_hw == (192, 256)
