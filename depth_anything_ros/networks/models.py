"""
The models that this package knows, one row each, and which of them a state dict belongs to.

Source: the papers and the published configurations of Depth Anything V1, V2 and 3. Two are not
published but distilled: vitt has the width and heads of DeiT-Ti (Touvron et al., 2021), tiny is
vits with narrower feed-forward parts and a head that ends at its finest grid, for small images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
import re
from typing import Literal, TypeAlias

from depth_anything_ros.model_info import (
    InputRule, Interpolation, ModelInfo, ModelVersion, output_size, Resize, SELF_CHECK_SIZE_HW,
    Size)

PATCH = 14
GRID = 37
INPUT_SIZE = PATCH * GRID
MEAN_RGB = (0.485, 0.456, 0.406)
STD_RGB = (0.229, 0.224, 0.225)
UNKNOWN_LICENCE = 'unknown'
# Of all V1 weights; those of the V2 weights are in the table.
LICENCE_V1 = 'Apache-2.0'
_BLOCKS_READ = 4
_SKY_KEY = 'depth_head.scratch.sky_output_conv2.0.weight'
_FRAME_FIT_KEY = 'depth_head.frame_fit.linear.weight'
_HIDDEN_KEY = 'pretrained.blocks.0.mlp.fc1.weight'
# The finest grid of the head: cells per patch of the image, along each axis.
HEAD_MULTIPLE = 8
_NO_LIMIT = 10 ** 6

FeedForward = Literal['mlp', 'swiglu']
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class InputSpec:
    """
    The image that a network takes: RGB in 0..1, minus ``mean_rgb``, divided by ``std_rgb``.

    Height and width are multiples of ``multiple`` pixels; ``size`` is the usual side that
    ``resize`` fixes. The output has ``output_multiple`` pixels per ``multiple`` of the input, None
    for as many. The other fields are those of ``ModelInfo``.
    """

    multiple: int
    size: int
    mean_rgb: tuple[float, float, float]
    std_rgb: tuple[float, float, float]
    output_multiple: int | None = None
    resize: Resize = 'shortest_side'
    interpolation: Interpolation = 'cubic'
    side_limits: tuple[int, int] | None = None

    @classmethod
    def from_info(cls, info: ModelInfo) -> 'InputSpec':
        """Return the input that the metadata of a model describes."""
        return cls(info.patch_multiple, info.input_size, info.mean_rgb, info.std_rgb,
                   info.output_multiple, info.resize, info.interpolation, info.side_limits)

    @property
    def rule(self) -> InputRule:
        """Return how an image becomes the input."""
        return InputRule(self.multiple, self.resize, self.interpolation, self.side_limits)

    @property
    def card_size_hw(self) -> Size:
        """Return the size of the test card, rounded to multiples that the network takes."""
        height, width = SELF_CHECK_SIZE_HW
        return self._nearest(height), self._nearest(width)

    @property
    def sizes_hw(self) -> tuple[Size, Size, Size]:
        """Return three sizes to compare models at: square, wide, and that of a 4:3 image."""
        side = self._nearest(self.size)
        return (side, side), (self._nearest(3 * side / 4), side), (
            side, self._nearest(4 * side / 3))

    def output_hw(self, size_hw: Size) -> Size:
        """Return the size of the output for an image of ``size_hw``."""
        return output_size(size_hw, self.multiple, self.output_multiple)

    def _nearest(self, side: float) -> int:
        smallest, largest = self.side_limits or (1, _NO_LIMIT)
        side = min(max(side, smallest), largest // self.multiple * self.multiple)
        return max(round(side / self.multiple), -(-smallest // self.multiple)) * self.multiple


VIT_INPUT = InputSpec(PATCH, INPUT_SIZE, MEAN_RGB, STD_RGB)
DA3_INPUT = InputSpec(PATCH, 504, MEAN_RGB, STD_RGB, resize='longest_side', interpolation='area')
TINY_INPUT = InputSpec(PATCH, 196, MEAN_RGB, STD_RGB, HEAD_MULTIPLE)


@dataclass(frozen=True)
class EncoderSpec:
    """
    A model with a vision transformer as encoder and a DPT head: its sizes.

    ``width`` and ``depth`` are channels and number of blocks of the encoder, ``features`` and
    ``out_channels`` the channels of the head. ``blocks_v2`` are the transformer blocks (from 0)
    that the head reads, but for V1; ``licence`` is that of the published V2 or 3 weights. With an
    ``output_multiple`` in ``input_spec`` the head ends at its finest grid, see ``HEAD_MULTIPLE``.
    ``hidden`` is the width inside the feed-forward part, None for the usual one. ``is_v3``: a
    network of version 3, which gives sky beside depth, see ``DepthAnything``. With
    ``has_frame_fit`` the head scales and shifts each map, see ``FrameFit``.
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
    input_spec: InputSpec = VIT_INPUT
    hidden: int | None = None
    is_v3: bool = False
    has_frame_fit: bool = False

    @property
    def hidden_width(self) -> int:
        """Return the width inside the feed-forward part: usually 4x, 2/3 of it for SwiGLU."""
        if self.hidden is not None:
            return self.hidden
        if self.feed_forward == 'mlp':
            return 4 * self.width
        return (8 * self.width // 3 + 7) // 8 * 8

    def blocks_read(self, version: ModelVersion) -> tuple[int, ...]:
        """Return the blocks (from 0) that the head reads; the V1 head reads the last four."""
        if version == 'v1':
            return tuple(range(self.depth - _BLOCKS_READ, self.depth))
        return self.blocks_v2


MODELS = (
    EncoderSpec('vits', 384, 12, 6, 64, (48, 96, 192, 384), (2, 5, 8, 11), 'Apache-2.0'),
    EncoderSpec('vitb', 768, 12, 12, 128, (96, 192, 384, 768), (2, 5, 8, 11), 'CC-BY-NC-4.0'),
    EncoderSpec('vitl', 1024, 24, 16, 256, (256, 512, 1024, 1024), (4, 11, 17, 23),
                'CC-BY-NC-4.0'),
    EncoderSpec('vitg', 1536, 40, 24, 384, (1536, 1536, 1536, 1536), (9, 19, 29, 39),
                UNKNOWN_LICENCE, 'swiglu'),
    EncoderSpec('vitt', 192, 12, 3, 32, (24, 48, 96, 192), (2, 5, 8, 11), UNKNOWN_LICENCE),
    EncoderSpec('tiny', 384, 12, 6, 64, (48, 96, 192, 384), (2, 5, 8, 11), UNKNOWN_LICENCE,
                input_spec=TINY_INPUT, hidden=1152),
    EncoderSpec('da3_vitl', 1024, 24, 16, 256, (256, 512, 1024, 1024), (4, 11, 17, 23),
                'Apache-2.0', input_spec=DA3_INPUT, is_v3=True),
)


def forbids_commercial_use(licence: str) -> bool:
    """Return whether a licence such as CC-BY-NC-4.0 forbids commercial use."""
    return re.search(r'-NC(-|$)', licence.upper()) is not None


def common_licence(licences: Sequence[str]) -> str:
    """
    Return the licence of weights that are derived from weights under all of these.

    It is the one that forbids commercial use, else 'unknown' if one is, else all of them.
    """
    limiting = [one for one in licences if forbids_commercial_use(one)]
    limiting += [one for one in licences if one == UNKNOWN_LICENCE]
    return limiting[0] if limiting else ' AND '.join(dict.fromkeys(licences))


def input_spec_of(name: str | None) -> InputSpec:
    """Return the input of the model of this name; unknown names count as published ones."""
    return next((spec.input_spec for spec in MODELS if spec.name == name), VIT_INPUT)


def find_encoder(name: str, table: tuple[EncoderSpec, ...] = MODELS) -> EncoderSpec:
    """Return the model of this name; ValueError if ``table`` has none."""
    for spec in table:
        if spec.name == name:
            return spec
    raise ValueError(f'no model is called {name}')


def identify_encoder(width: int, depth: int, table: tuple[EncoderSpec, ...] = MODELS,
                     hidden: int | None = None, is_v3: bool = False) -> EncoderSpec:
    """
    Return the model with these sizes; ValueError lists those of ``table``.

    Of several with the same sizes it is the one with the width ``hidden`` inside its feed-forward
    parts, else the first one.
    """
    table = tuple(spec for spec in table if spec.is_v3 == is_v3)
    found = [spec for spec in table if (spec.width, spec.depth) == (width, depth)]
    if not found:
        known = ', '.join(f'{spec.name} {spec.width}x{spec.depth}' for spec in table)
        raise ValueError(f'its encoder is {width} wide and {depth} blocks deep, known are {known}')
    return next((spec for spec in found if spec.hidden_width == hidden), found[0])


def identify_network(shapes: Shapes, table: tuple[EncoderSpec, ...] = MODELS) -> EncoderSpec:
    """
    Return the model that a state dict with these tensor shapes belongs to.

    ``table`` lists the models to choose from. ValueError names the tensor that is missing or the
    sizes that no model has.
    """
    positions = shapes.get('pretrained.pos_embed', ())
    if not positions:
        raise ValueError('it has no tensor pretrained.pos_embed')
    depth = len({key.split('.')[2] for key in shapes if key.startswith('pretrained.blocks.')})
    hidden = next(iter(shapes.get(_HIDDEN_KEY, ())[:1]), None)
    found = identify_encoder(positions[-1], depth, table, hidden, _SKY_KEY in shapes)
    return replace(found, has_frame_fit=True) if _FRAME_FIT_KEY in shapes else found
