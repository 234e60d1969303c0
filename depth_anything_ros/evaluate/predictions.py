"""Runs a model over image files: several images in flight, predictions in a fixed order."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.inference.devices import device_names
from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.media.size_order import network_size_of, order_by_size
from depth_anything_ros.model_info import ExecutionPrecision

# While one image is computed, the second request takes the resized pixels of the next one.
_REQUESTS = 2
# No camera waits for the result, and a large model takes minutes on a small machine.
_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class ModelOptions:
    """
    How to run a model.

    ``input_size`` 0 is the default of the model; ``device`` is one OpenVINO device, or several in
    order of preference, separated by commas.
    """

    input_size: int = 0
    device: str = 'CPU'
    precision: ExecutionPrecision = 'auto'


@dataclass(frozen=True)
class ModelFacts:
    """The model of an evaluation, from its metadata, and how it was executed."""

    file: str
    source_name: str
    encoder: str
    kind: str
    precision: str
    device: str
    execution_precision: str
    input_size: int


@dataclass(frozen=True)
class Prediction:
    """An image, BGR u8 [H, W, 3], and its depth f32 [h, w] at the size of the network."""

    image_bgr: U8
    depth: F32


Outcome = Prediction | Exception
_Pending = tuple[U8, 'SimpleQueue[F32 | Exception]']


def open_engine(model: Path, options: ModelOptions) -> Engine:
    """Start a model; ModelError or DeviceError if it cannot run."""
    return Engine(model, EngineOptions(
        devices=device_names(options.device), precision=options.precision, requests=_REQUESTS,
        timeout_s=_TIMEOUT_S, input_size=options.input_size))


def model_facts(model: Path, engine: Engine) -> ModelFacts:
    """Return the facts of a model that ``engine`` runs."""
    info, state = engine.info, engine.state
    return ModelFacts(model.name, info.source_name, info.encoder, info.kind, info.precision,
                      state.execution_device, state.execution_precision, state.input_size)


def compute_order(files: Sequence[Path], *engines: Engine) -> list[int]:
    """Return the indices of ``files`` in an order in which no engine compiles a size twice."""
    return order_by_size(files, *(network_size_of(engine.info, engine.state.input_size)
                                  for engine in engines if engine.info.fixed_size_hw is None))


def predict(engine: Engine, files: Sequence[Path], order: Sequence[int]) -> Iterator[Outcome]:
    """
    Yield the prediction for each file, or its error, in ``order``.

    While the caller handles one, the next ones are computed.
    """
    pending: deque[_Pending | Exception] = deque()
    for index in order:
        pending.append(_start(engine, files[index]))
        if len(pending) > engine.capacity:
            yield _finish(pending.popleft())
    while pending:
        yield _finish(pending.popleft())


def _start(engine: Engine, file: Path) -> _Pending | Exception:
    done: SimpleQueue[F32 | Exception] = SimpleQueue()
    try:
        image = read_picture(file)
        engine.submit(image, done.put)
    except DepthAnythingError as error:
        return error
    return image.pixels, done


def _finish(started: _Pending | Exception) -> Outcome:
    if isinstance(started, Exception):
        return started
    image_bgr, done = started
    outcome = done.get()
    return outcome if isinstance(outcome, Exception) else Prediction(image_bgr, outcome)
