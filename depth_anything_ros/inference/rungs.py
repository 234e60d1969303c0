"""One model at several input sizes, each in an engine of its own."""

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from depth_anything_ros.inference.engine import Engine, EngineOptions, Size
from depth_anything_ros.inference.model_file import read_model
from depth_anything_ros.inference.rate_choice import ladder
from depth_anything_ros.vision.transforms import network_size


class Rungs:
    """
    The engines that exist of a ladder of input sizes; rung 0 is the largest.

    The first engine finds the device and proves it, the others take the same. A model of one
    fixed size has one rung. All methods belong to one thread at a time, but ``is_ready``.
    """

    def __init__(self, path: Path, options: EngineOptions, log: Callable[[str], None]) -> None:
        import openvino as ov
        self._path = path
        self._options = options
        self._log = log
        self._engines: dict[int, Engine] = {}
        _, self.info = read_model(ov.Core(), path)
        largest = options.input_size or self.info.input_size
        self.sizes = ((largest,) if self.info.fixed_size_hw else
                      ladder(largest, self.info.patch_multiple))

    @property
    def pixels(self) -> tuple[int, ...]:
        """Return the pixels of the network on each rung, for the first image size."""
        sizes_hw = (network_size(self._options.image_hw, size, self.info.patch_multiple)
                    for size in self.sizes)
        return tuple(height * width for height, width in sizes_hw)

    def engine(self, rung: int) -> Engine:
        """Return the engine of a rung, compiled for the first image size if it is new."""
        if rung not in self._engines:
            self._open(rung, self._options.image_hw)
        return self._engines[rung]

    def prepare(self, rung: int, image_hw: Size) -> None:
        """Let the rung compute an image of this size once; raises what went wrong."""
        if rung in self._engines:
            self._engines[rung].warm_up(image_hw)
        else:
            self._open(rung, image_hw)

    def is_ready(self, rung: int, image_hw: Size) -> bool:
        """Return whether the rung computes such an image without compiling anything."""
        engine = self._engines.get(rung)
        return engine is not None and engine.is_compiled_for(image_hw)

    def keep(self, rungs: Collection[int]) -> None:
        """Close the engines of all other rungs."""
        for rung in set(self._engines) - set(rungs):
            self._engines.pop(rung).close()

    def _open(self, rung: int, image_hw: Size) -> None:
        engine = Engine(self._path, replace(
            self._options, input_size=self.sizes[rung], image_hw=image_hw), self._log)
        self._options = replace(self._options, devices=(engine.device,), self_check=False)
        self._engines[rung] = engine
