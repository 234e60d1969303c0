"""A model over many images: several in flight, results in the order of submission."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.inference.ir import read_model
from depth_anything_ros.media.pictures import read_picture, read_size_hw
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.vision.transforms import network_size

Progress = Callable[[int, int], None]

# The second request lets the next image be resized and queued while the first computes.
_REQUESTS = 2
# Nobody waits for one image: large models on small machines take their time.
_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class RunOptions:
    """
    How to run a model.

    ``input_size`` 0 takes the model's own; ``device`` one or several in order of preference,
    separated by commas; ``precision`` auto, f32, bf16 or f16.
    """

    input_size: int = 0
    device: str = 'CPU'
    precision: str = 'auto'


@dataclass(frozen=True)
class ModelFacts:
    """What ran: the model as its metadata tells it, and how it was executed."""

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
    """An image as BGR [H, W, 3] and what the network gives for it, of the network's size."""

    image_bgr: U8
    depth: F32


Outcome = Prediction | Exception


def open_engine(model: Path, options: RunOptions) -> Engine:
    """Start a model; ModelError or DeviceError say why it does not run."""
    devices = tuple(name.strip() for name in options.device.split(',') if name.strip())
    return Engine(model, EngineOptions(devices=devices, precision=options.precision,
                                       requests=_REQUESTS, timeout_s=_TIMEOUT_S,
                                       input_size=options.input_size))


def read_info(model: Path) -> ModelInfo:
    """Return what an IR says about itself, without compiling it; ModelError if it is none."""
    import openvino as ov
    return read_model(ov.Core(), model)[1]


def describe(model: Path, engine: Engine) -> ModelFacts:
    """Return the facts of a started model."""
    info = engine.info
    return ModelFacts(model.name, info.source_name, info.encoder, info.kind, info.precision,
                      engine.execution_device, engine.execution_precision, engine.input_size)


def order_of_work(engine: Engine, files: Sequence[Path],
                  other: Engine | None = None) -> list[int]:
    """
    Return the indices of ``files`` with equal sizes together: each new size compiles anew.

    With ``other``, a second model for the same files, its sizes lie together within those.
    """
    engines = [one for one in (engine, other) if one and one.info.fixed_size_hw is None]
    if not engines:
        return list(range(len(files)))
    sizes = [[network_size(size_hw, one.input_size, one.info.patch_multiple) for one in engines]
             if (size_hw := read_size_hw(file)) and min(size_hw) > 0 else [] for file in files]
    return sorted(range(len(files)), key=lambda index: (sizes[index], index))


def predict(engine: Engine, files: Sequence[Path], order: Sequence[int]) -> Iterator[Outcome]:
    """
    Yield what becomes of each file, in ``order``: a prediction or the reason there is none.

    While the caller looks at one, the next ones are computed.
    """
    waiting: deque[tuple[U8, SimpleQueue[F32 | Exception]] | Exception] = deque()
    for index in order:
        waiting.append(_start(engine, files[index]))
        if len(waiting) > engine.capacity:
            yield _finish(waiting.popleft())
    while waiting:
        yield _finish(waiting.popleft())


def _start(engine: Engine,
           file: Path) -> tuple[U8, 'SimpleQueue[F32 | Exception]'] | Exception:
    done: SimpleQueue[F32 | Exception] = SimpleQueue()
    try:
        image = read_picture(file)
        engine.submit(image, done.put)
    except DepthAnythingError as error:
        return error
    return image.pixels, done


def _finish(started: tuple[U8, 'SimpleQueue[F32 | Exception]'] | Exception) -> Outcome:
    if isinstance(started, Exception):
        return started
    image, done = started
    outcome = done.get()
    return outcome if isinstance(outcome, Exception) else Prediction(image, outcome)
