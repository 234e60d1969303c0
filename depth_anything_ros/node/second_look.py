"""The second look at an image, mirrored, from which the confidence of the depth comes."""

from collections.abc import Callable
from dataclasses import dataclass

from depth_anything_ros.arrays import F32
from depth_anything_ros.inference.scheduler import Frame, Result
from depth_anything_ros.model_info import Kind
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.confidence import disagreement, mirror
from depth_anything_ros.vision.depth import MetricCorrection, model_inverse_depth

# Mirrored images are a source of their own to the scheduler, so that they replace no image of the
# camera and count as none. The name of a camera has no space.
SECOND_LOOK = ' mirrored'


@dataclass(frozen=True)
class FirstLook:
    """The inverse depth [H, W] of an image, and what converts it to 1/z [1/m]."""

    inverse_depth: F32
    scale_shift: tuple[float, float]


class SecondLooks:
    """
    The second looks at the images of one camera; for the thread that delivers results only.

    ``reset`` may also be called while no frame is in flight. ``offer`` gets the mirrored images.
    ``disagreement`` [H, W] belongs to the latest image that has both looks; it is None without
    one. Depth never waits for it: the confidence of an image uses that of an earlier one.
    """

    def __init__(self, camera: str, kind: Kind, offer: Callable[[Frame], object]) -> None:
        self.disagreement: F32 | None = None
        self._source = f'{camera}{SECOND_LOOK}'
        self._kind = kind
        self._offer = offer
        self._images = 0

    def reset(self) -> None:
        """Forget all looks; the next image has a second one."""
        self.disagreement, self._images = None, 0

    def add(self, stamp_ns: int, image: ColorImage, first: Callable[[], FirstLook],
            every: int) -> None:
        """Offer the mirrored image of every ``every``-th image; of none if that is 0."""
        if every == 0:
            self.reset()
            return
        if self._images % every == 0:
            self._offer(Frame(stamp_ns, lambda: mirror(image), first(), self._source))
        self._images += 1

    def finish(self, result: Result) -> str:
        """Compare a second look with the first one; return why that is impossible, or ''."""
        if isinstance(result.outcome, Exception):
            self.disagreement = None
            return f'confidence without a second look: {result.outcome}'
        first: FirstLook = result.frame.context
        self.disagreement = disagreement(
            first.inverse_depth,
            model_inverse_depth(result.outcome, self._kind, MetricCorrection()),
            first.scale_shift)
        return ''
