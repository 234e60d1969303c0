"""Runs a model over image files: several images in flight, predictions in a fixed order."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from depth_anything_ros.api import DepthModel, load_model
from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.media.size_order import network_size_of, order_by_size
from depth_anything_ros.model_info import ExecutionPrecision
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.geometry import image_focal_metres, Intrinsics

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


Outcome = Prediction | DepthAnythingError


def focal_metres(depth_model: DepthModel, depth: F32, camera: Intrinsics) -> F32:
    """Return metres [h, w] of a model that needs the focal length, +inf at infinity."""
    return image_focal_metres(depth_model.info, camera, depth, depth_model.state.input_size)


def open_model(model: Path, options: ModelOptions) -> DepthModel:
    """Start a model; ModelError or DeviceError if it cannot run."""
    return load_model(
        model, device=options.device, precision=options.precision, hint='LATENCY',
        input_size=options.input_size, request_timeout=_TIMEOUT_S, sizes_kept=1)


def model_facts(file: Path, model: DepthModel) -> ModelFacts:
    """Return the facts of a model that runs, which was read from ``file``."""
    info, state = model.info, model.state
    return ModelFacts(file.name, info.source_name, info.encoder, info.kind, info.precision,
                      state.execution_device, state.execution_precision, state.input_size)


def compute_order(files: Sequence[Path], *models: DepthModel) -> list[int]:
    """Return the indices of ``files`` in an order in which no model compiles a size twice."""
    return order_by_size(files, *(network_size_of(model.info, model.state.input_size)
                                  for model in models if model.info.fixed_size_hw is None))


def predict(model: DepthModel, files: Sequence[Path], order: Sequence[int]) -> Iterator[Outcome]:
    """
    Yield the prediction for each file, or its error, in ``order``.

    While the caller handles one, the next ones are computed.
    """
    read: deque[U8 | DepthAnythingError] = deque()

    def images() -> Iterator[U8]:
        for index in order:
            try:
                image_bgr = to_bgr(read_picture(files[index]))
            except DepthAnythingError as error:
                read.append(error)
            else:
                read.append(image_bgr)
                yield image_bgr

    depths = model.infer_many(images(), output_size='native', return_exceptions=True)
    for depth in depths:
        while isinstance(image := read.popleft(), DepthAnythingError):
            yield image
        yield depth if isinstance(depth, DepthAnythingError) else Prediction(image, depth)
    yield from (error for error in read if isinstance(error, DepthAnythingError))
