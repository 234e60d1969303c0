"""The execution precisions that a user may ask for, as choices of a command line."""

from enum import Enum


class Precision(str, Enum):
    """Execution precision; auto lets the device choose."""

    auto = 'auto'
    f32 = 'f32'
    bf16 = 'bf16'
    f16 = 'f16'
