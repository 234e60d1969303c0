"""
An independent implementation computes the same depth from the same weights.

The weights go through a folder as ``transformers`` writes it, in one file or in shards, so this
proves the reading of such folders too.
"""

from dataclasses import replace
from typing import Any

from depth_anything_ros.networks.models import EncoderSpec, MODELS
import pytest

pytest.importorskip('torch')
pytest.importorskip('transformers')
pytest.importorskip('safetensors')

from tools.transformers_parity import parity  # noqa: E402

LIMIT = 1e-4
VITS, _, VITL, VITG = MODELS[:4]
# Depth, blocks read, feed-forward and layout of the head are real; no two may look the same.
NARROW = tuple(
    replace(spec, width=width, heads=3, features=16,
            out_channels=(24, 24, 24, 24) if spec is VITG else (8, 12, 16, 24))
    for spec, width in zip(MODELS, (48, 60, 48, 48)))
# All of its sizes but the number of blocks, which would take a minute.
SHORT_VITL = replace(VITL, depth=5, blocks_v2=(0, 1, 3, 4))
MEMBERS = [(version, None, spec) for version in ('v1', 'v2') for spec in NARROW]
METRIC = [('v2', 20, NARROW[0])]


@pytest.mark.parametrize('spec', [VITS, SHORT_VITL], ids=lambda spec: spec.name)
def test_real_sizes_agree(spec: EncoderSpec) -> None:
    assert parity(spec.name, table=(spec,), shard_size='100MB') < LIMIT


@pytest.mark.parametrize(('version', 'max_depth_m', 'spec'), [*MEMBERS, *METRIC],
                         ids=lambda value: getattr(value, 'name', None))
def test_every_member_of_the_family_agrees(
        version: Any, max_depth_m: float | None, spec: EncoderSpec) -> None:
    assert parity(spec.name, version, max_depth_m, NARROW) < LIMIT
