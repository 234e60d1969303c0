"""What the networks take: sizes in pixels, and how colours are normalised."""

from dataclasses import dataclass

from depth_anything_ros.model_info import CARD_SIZE_HW, ModelInfo
from depth_anything_ros.networks.encoders import INPUT_SIZE, MEAN_RGB, NANO, PATCH, STD_RGB

Size = tuple[int, int]


@dataclass(frozen=True)
class NetworkInput:
    """
    The image that a network takes: RGB in 0..1, less ``mean_rgb``, divided by ``std_rgb``.

    Both sides are multiples of ``multiple`` pixels; ``size`` is the usual short side.
    """

    multiple: int
    size: int
    mean_rgb: tuple[float, float, float]
    std_rgb: tuple[float, float, float]

    @classmethod
    def of(cls, info: ModelInfo) -> 'NetworkInput':
        """Return what a model says of its own input."""
        return cls(info.patch_multiple, info.input_size, info.mean_rgb, info.std_rgb)

    @property
    def card_size_hw(self) -> Size:
        """Return the size of the test card, as near to the usual one as the network takes it."""
        height, width = CARD_SIZE_HW
        return self._nearest(height), self._nearest(width)

    @property
    def sizes_hw(self) -> tuple[Size, Size, Size]:
        """Return three sizes to compare at: square, wide, and as it comes of a 4:3 image."""
        side = self._nearest(self.size)
        return (side, side), (self._nearest(3 * side / 4), side), (
            side, self._nearest(4 * side / 3))

    def _nearest(self, side: float) -> int:
        return max(round(side / self.multiple), 1) * self.multiple


VIT_INPUT = NetworkInput(PATCH, INPUT_SIZE, MEAN_RGB, STD_RGB)
NANO_INPUT = NetworkInput(32, 288, (127 / 255,) * 3, (128 / 255,) * 3)


def input_of(encoder: str | None) -> NetworkInput:
    """Return what networks with an encoder of this name take; others are taken for a ViT."""
    return NANO_INPUT if encoder == NANO.name else VIT_INPUT
