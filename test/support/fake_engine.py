"""An inference engine that answers when and as the test says."""

from collections.abc import Callable
import threading
from typing import Any

from depth_anything_ros.vision.color_image import ColorImage
import numpy as np
from waiting import until

Answer = np.ndarray | Exception


class FakeEngine:
    """
    Keeps every submission until ``answer`` is called for it.

    With ``automatic`` each is answered inside ``submit``. Clearing ``gate`` makes ``submit``
    block; an exception in ``refuse`` is raised by it.
    """

    def __init__(self, capacity: int = 1, automatic: bool = False) -> None:
        self.capacity = capacity
        self.automatic = automatic
        self.submitted: list[tuple[ColorImage, Callable[[Any], None]]] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.refuse: Exception | None = None

    def submit(self, image: ColorImage, on_done: Callable[[Any], None]) -> None:
        """Keep the image and its ``on_done``."""
        self.entered.set()
        self.gate.wait()
        if self.refuse is not None:
            raise self.refuse
        self.submitted.append((image, on_done))
        if self.automatic:
            on_done(depth_of(image))

    def answer(self, index: int, outcome: Answer | None = None) -> None:
        """Wait for the submission number ``index`` and answer it, by default with its depth."""
        assert until(lambda: len(self.submitted) > index), f'nothing was submitted as {index}'
        image, on_done = self.submitted[index]
        on_done(depth_of(image) if outcome is None else outcome)


def depth_of(image: ColorImage) -> np.ndarray:
    """Return what the fake engine computes: the first channel as f32."""
    return image.pixels[..., 0].astype(np.float32)
