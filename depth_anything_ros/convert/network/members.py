"""The members of the family as a checkpoint tells them apart: encoders by shape, nano by name."""

from dataclasses import dataclass
from typing import TypeAlias

from depth_anything_ros.convert.network.encoders import (
    ENCODERS, EncoderSpec, find_encoder, Shapes, UNKNOWN_LICENCE)

_NANO_KEY = 'encoder.stem.weight'


@dataclass(frozen=True)
class NanoSpec:
    """The convolutional network of ``network.nano``, which is distilled; it has one size."""

    name: str = 'nano'
    licence: str = UNKNOWN_LICENCE


NANO = NanoSpec()
Member: TypeAlias = EncoderSpec | NanoSpec


def find_member(shapes: Shapes, table: tuple[EncoderSpec, ...] = ENCODERS) -> Member:
    """Return the member that a state dict belongs to; ValueError as ``find_encoder``."""
    return NANO if _NANO_KEY in shapes else find_encoder(shapes, table)
