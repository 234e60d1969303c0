"""Branches that are left out in training and never else."""

import pytest

torch = pytest.importorskip('torch')

from depth_anything_ros.networks.depth_anything import DepthAnything  # noqa: E402, I100
from depth_anything_ros.networks.drop_path import DropPath, set_drop_path  # noqa: E402
from depth_anything_ros.networks.models import EncoderSpec  # noqa: E402
from depth_anything_ros.networks.vit import Block  # noqa: E402


def test_branches_vanish_for_a_share_of_the_images_and_the_mean_stays() -> None:
    torch.manual_seed(0)
    drop = DropPath().train()
    drop.rate = 0.25
    found = drop(torch.ones(4000, 2, 3))
    values = found[:, 0, 0]
    assert (found == values[:, None, None]).all()
    assert values.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (values == 0).float().mean() == pytest.approx(0.25, abs=0.03)


def test_outside_training_and_without_a_rate_nothing_changes() -> None:
    branch = torch.rand(8, 3)
    drop = DropPath()
    assert drop.train()(branch) is branch
    drop.rate = 0.9
    assert drop.eval()(branch) is branch


def test_rates_rise_with_depth_over_the_branches(tiny: EncoderSpec) -> None:
    network = DepthAnything(tiny, 'v2')
    set_drop_path(network, 0.2)
    rates = [drop.rate for block in network.pretrained.blocks
             for drop in (block.drop1, block.drop2)]
    assert rates == pytest.approx([0.02 * number for number in range(1, 11)])


def test_a_block_that_is_left_out_returns_what_it_was_given(tiny: EncoderSpec) -> None:
    torch.manual_seed(0)
    block, tokens = Block(tiny), torch.rand(400, 5, tiny.width)
    set_drop_path(block, 0.8)
    unchanged = (block.train()(tokens) == tokens).flatten(1).all(dim=1)
    assert unchanged.float().mean() == pytest.approx(0.4 * 0.8, abs=0.08)
    assert not (block.eval()(tokens) == tokens).flatten(1).all(dim=1).any()
