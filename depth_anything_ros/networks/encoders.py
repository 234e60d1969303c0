"""
The encoders of the Depth Anything family, one row each.

Source: the papers and the published configurations of Depth Anything V1 and V2; vitt, which is
distilled and not published, has the width and heads of DeiT-Ti (Touvron et al., 2021).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from depth_anything_ros.model_info import ModelVersion

PATCH = 14
GRID = 37
INPUT_SIZE = PATCH * GRID
MEAN_RGB = (0.485, 0.456, 0.406)
STD_RGB = (0.229, 0.224, 0.225)
READ_BLOCKS = 4
UNKNOWN_LICENCE = 'unknown'

FeedForward = Literal['mlp', 'swiglu']
Shapes = Mapping[str, tuple[int, ...]]
_NANO_KEY = 'encoder.stem.weight'


@dataclass(frozen=True)
class EncoderSpec:
    """
    Sizes of one encoder with its DPT head.

    ``blocks_v2`` are the transformer blocks (from 0) that the V2 head reads; ``licence`` is that
    of the published V2 weights.
    """

    name: str
    width: int
    depth: int
    heads: int
    features: int
    out_channels: tuple[int, int, int, int]
    blocks_v2: tuple[int, int, int, int]
    licence: str
    feed_forward: FeedForward = 'mlp'

    @property
    def hidden_width(self) -> int:
        """Return the width inside the feed-forward part: 4x, or 2/3 of it, to 8, for SwiGLU."""
        if self.feed_forward == 'mlp':
            return 4 * self.width
        return (8 * self.width // 3 + 7) // 8 * 8

    def blocks_read(self, version: ModelVersion) -> tuple[int, ...]:
        """Return the blocks that the head reads: V1 takes the last four."""
        if version == 'v1':
            return tuple(range(self.depth - READ_BLOCKS, self.depth))
        return self.blocks_v2


ENCODERS = (
    EncoderSpec('vits', 384, 12, 6, 64, (48, 96, 192, 384), (2, 5, 8, 11), 'Apache-2.0'),
    EncoderSpec('vitb', 768, 12, 12, 128, (96, 192, 384, 768), (2, 5, 8, 11), 'CC-BY-NC-4.0'),
    EncoderSpec('vitl', 1024, 24, 16, 256, (256, 512, 1024, 1024), (4, 11, 17, 23),
                'CC-BY-NC-4.0'),
    EncoderSpec('vitg', 1536, 40, 24, 384, (1536, 1536, 1536, 1536), (9, 19, 29, 39),
                UNKNOWN_LICENCE, 'swiglu'),
    EncoderSpec('vitt', 192, 12, 3, 32, (24, 48, 96, 192), (2, 5, 8, 11), UNKNOWN_LICENCE),
)


def find_encoder(shapes: Shapes, table: tuple[EncoderSpec, ...] = ENCODERS) -> EncoderSpec:
    """
    Return the encoder of ``table`` that a state dict with these tensor shapes belongs to.

    Width and depth decide. ValueError says what was found instead.
    """
    position = shapes.get('pretrained.pos_embed', ())
    if not position:
        raise ValueError('it has no tensor pretrained.pos_embed')
    width = position[-1]
    depth = len({key.split('.')[2] for key in shapes if key.startswith('pretrained.blocks.')})
    for spec in table:
        if (spec.width, spec.depth) == (width, depth):
            return spec
    known = ', '.join(f'{spec.name} {spec.width}x{spec.depth}' for spec in table)
    raise ValueError(f'its encoder is {width} wide and {depth} blocks deep, known are {known}')


@dataclass(frozen=True)
class NanoSpec:
    """The convolutional network of ``network.nano``, which is distilled; it has one size."""

    name: str = 'nano'
    licence: str = UNKNOWN_LICENCE


NANO = NanoSpec()
Member: TypeAlias = EncoderSpec | NanoSpec


def identify_network(shapes: Shapes, table: tuple[EncoderSpec, ...] = ENCODERS) -> Member:
    """Return the member that a state dict belongs to; ValueError as ``find_encoder``."""
    return NANO if _NANO_KEY in shapes else find_encoder(shapes, table)
