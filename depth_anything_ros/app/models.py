"""The models that visitors choose from, and the one of them that is loaded."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
import threading
import time

from depth_anything_ros.api import DepthModel, load_model
from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.errors import ModelError
from depth_anything_ros.inference.devices import open_core
from depth_anything_ros.inference.engine import EngineState
from depth_anything_ros.inference.ir import read_model_info
from depth_anything_ros.media.size_order import network_size_of
from depth_anything_ros.model_info import ExecutionPrecision, ModelInfo, Size
from depth_anything_ros.resources import shipped_model

# Network sizes that a loaded model keeps compiled.
_SIZES_KEPT = 4


@dataclass(frozen=True)
class ModelChoice:
    """A model and how to run it; ``input_size`` 0 is the default of the model."""

    path: Path
    input_size: int = 0
    device: str = 'CPU'
    precision: ExecutionPrecision = 'auto'


@dataclass(frozen=True)
class Inference:
    """A map [H, W] of the size of its image, the seconds it took, and what computed it."""

    depth: F32
    seconds: float
    info: ModelInfo
    state: EngineState

    def sentence(self, choice: ModelChoice) -> str:
        """Return the model, its device and the time, for a visitor."""
        height, width = self.state.network_hw
        return (f'{choice.path.stem} ({self.info.kind}, {self.info.precision}) on '
                f'{self.state.execution_device} in {self.state.execution_precision}, network '
                f'input {width}×{height}: {self.seconds * 1000:.0f} ms')


def find_models(folder: Path, first: Path) -> dict[Path, ModelInfo]:
    """
    Return the IRs to choose from: ``first``, that of the package, those in ``folder``.

    Files that are not usable IRs are left out, but ``first`` raises ModelError.
    """
    models = {first: read_model_info(first)}
    for path in (shipped_model(), *sorted(folder.glob('*.xml'))):
        if path.resolve() not in {known.resolve() for known in models}:
            try:
                models[path] = read_model_info(path)
            except ModelError:
                continue
    return models


def find_devices() -> list[str]:
    """Return the OpenVINO devices of this machine."""
    return list(open_core().available_devices)


class ModelSlot:
    """
    Keeps one model loaded, the one that was used last.

    One job uses it at a time; others wait. ``close`` releases it; idempotent.
    """

    def __init__(self, load: Callable[..., DepthModel] = load_model) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._loaded: tuple[ModelChoice, DepthModel] | None = None
        self._compiled: deque[Size] = deque(maxlen=_SIZES_KEPT)

    @contextmanager
    def use(self, choice: ModelChoice, image_hw: Size) -> Iterator[DepthModel]:
        """Yield the model, loaded and compiled for images of this size if it was not yet."""
        with self._lock:
            if self._loaded is None or self._loaded[0] != choice:
                self._release()
                model = self._load(
                    choice.path, device=choice.device, precision=choice.precision,
                    input_size=choice.input_size, image_hw=image_hw, sizes_kept=_SIZES_KEPT)
                self._loaded = choice, model
                self._compiled.append(model.state.network_hw)
            yield self._loaded[1]

    def infer(self, choice: ModelChoice, image_bgr: U8) -> Inference:
        """Return the depth of an image; the time does not contain loading and compiling."""
        image_hw = (image_bgr.shape[0], image_bgr.shape[1])
        with self.use(choice, image_hw) as model:
            network_hw = network_size_of(model.info, choice.input_size)(image_hw)
            if network_hw in self._compiled:
                self._compiled.remove(network_hw)
            else:
                model.infer(image_bgr, output_size='native')
            self._compiled.append(network_hw)
            start = time.perf_counter()
            depth = model.infer(image_bgr)
            return Inference(depth, time.perf_counter() - start, model.info, model.state)

    def close(self) -> None:
        """Wait for the job that runs, then release the model."""
        with self._lock:
            self._release()

    def _release(self) -> None:
        if self._loaded is not None:
            self._loaded[1].close()
            self._loaded = None
        self._compiled.clear()
