"""The files that users of other software start from, all made from one checkpoint."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
import os
from pathlib import Path
from queue import SimpleQueue
import time
from typing import Any

from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.errors import MissingDependencyError, ModelError
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.networks.models import MEAN_RGB, MODELS, ModelSpec, STD_RGB
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.transforms import normalize, resize_for_network
from tools.transformers_parity import load_transformers_model

# Each is made from the one before.
HUB, ONNX, IR = 'transformers', 'naive.onnx', 'naive.xml'
FILES = (HUB, ONNX, IR)
Size = tuple[int, int]
Compute = Callable[[U8], F32]

# The second request lets the next image be prepared while the first computes.
_REQUESTS = 2
_TIMEOUT_S = 300.0


def make_files(checkpoint: Path, info: ModelInfo, folder: Path, network_hw: tuple[int, int],
               last: str, table: tuple[ModelSpec, ...] = MODELS) -> None:
    """
    Write FILES into ``folder``, up to ``last``; ``info`` says what the checkpoint is.

    A folder as the hub has it; an ONNX file of that model for one image of ``network_hw``, as
    ``torch.onnx.export`` makes it; and the IR that ``ovc`` makes of that. Errors are those of the
    libraries, CheckpointError and MissingDependencyError; what was made before stays.
    """
    model = load_transformers_model(checkpoint, info, table)
    model.save_pretrained(folder / HUB)
    if last != HUB:
        _export(model, folder / ONNX, network_hw)
    if last == IR:
        import openvino

        openvino.save_model(openvino.convert_model(folder / ONNX), folder / IR)


def _export(model: Any, path: Path, network_hw: tuple[int, int]) -> None:
    import torch

    torch.onnx.export(model, (torch.zeros(1, 3, *network_hw),), path, dynamo=True, verbose=False,
                      input_names=['pixel_values'], output_names=['predicted_depth'])


@dataclass(frozen=True)
class Task:
    """What a peer runs on: its file or folder, and the sizes of the images and of the network."""

    file: Path
    precision: str
    input_size: int
    image_hw: Size
    network_hw: Size


@dataclass(frozen=True)
class Opened:
    """A peer that is ready: the precision it executes in, one image, images/s for some seconds."""

    precision: str
    threads: Callable[[], int]
    compute: Compute
    rate: Callable[[Sequence[U8], float], float]


def open_peer(kind: str, task: Task) -> Opened:
    """Load a peer, one of KINDS; errors are those of its library and of this package."""
    return KINDS[kind](task)


def rate_in_a_loop(compute: Compute, images: Sequence[U8], seconds: float) -> float:
    """Return images per second of one call after the other."""
    started, count = time.monotonic(), 0
    for image in cycle(images):
        compute(image)
        count += 1
        if time.monotonic() >= started + seconds:
            break
    return count / (time.monotonic() - started)


def _open_engine(task: Task) -> Opened:
    from depth_anything_ros.inference.engine import Engine, EngineOptions
    from depth_anything_ros.inference.pool import wait_for_one

    engine = Engine(task.file, EngineOptions(
        precision=task.precision, requests=_REQUESTS, timeout_s=_TIMEOUT_S,
        input_size=task.input_size, image_hw=task.image_hw))
    if engine.network_hw != task.network_hw:
        (height, width), (wanted_height, wanted_width) = engine.network_hw, task.network_hw
        raise ModelError(task.file, f'it computes {width}x{height} and not '
                         f'{wanted_width}x{wanted_height}', 'give models of one network size')

    def compute(image: U8) -> F32:
        return wait_for_one(partial(engine.submit, ColorImage(image, 'bgr')))

    def rate(images: Sequence[U8], seconds: float) -> float:
        done: SimpleQueue[F32 | Exception] = SimpleQueue()
        started, count = time.monotonic(), 0
        for image in cycle(images):
            engine.submit(ColorImage(image, 'bgr'), done.put)
            count += 1
            if count > engine.capacity:
                _take(done)
            if time.monotonic() >= started + seconds:
                break
        for _ in range(min(count, engine.capacity)):
            _take(done)
        return count / (time.monotonic() - started)

    quantized = 'int8 and ' if engine.info.precision == 'int8' else ''
    return Opened(quantized + engine.execution_precision, partial(_engine_threads, task), compute,
                  rate)


def _take(done: 'SimpleQueue[F32 | Exception]') -> None:
    outcome = done.get()
    if isinstance(outcome, Exception):
        raise outcome


def _engine_threads(task: Task) -> int:
    """Return what a model compiled as the engine compiles it is given."""
    from depth_anything_ros.benchmark.bare_model import BareModel
    return BareModel(task.file, task.input_size, task.precision, task.image_hw).threads


def _openvino_threads(compiled: Any) -> int:
    return int(compiled.get_property('INFERENCE_NUM_THREADS'))


def _open_pytorch(task: Task, dtype: str = 'float32', compiled: bool = False) -> Opened:
    try:
        import torch
        from transformers import DepthAnythingForDepthEstimation
    except ImportError as error:
        raise MissingDependencyError(error.name or 'transformers', 'this peer',
                                     'pip install torch transformers') from error
    element = getattr(torch, dtype)
    model = DepthAnythingForDepthEstimation.from_pretrained(task.file).eval().to(element)
    if compiled:
        model = torch.compile(model)

    def compute(image: U8) -> F32:
        with torch.inference_mode():
            given = torch.from_numpy(_prepared(image, task)).to(element)
            depth: F32 = model(pixel_values=given).predicted_depth[0].float().numpy()
        return depth

    return _looped('f32' if dtype == 'float32' else 'bf16', torch.get_num_threads, compute)


def _open_onnxruntime(task: Task) -> Opened:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError('onnxruntime', 'this peer',
                                     'pip install onnxruntime') from error
    before = _running_threads()
    session = onnxruntime.InferenceSession(task.file, providers=['CPUExecutionProvider'])
    # The caller is one of them; the session does not tell how many it has chosen.
    threads = _running_threads() - before + 1
    name = session.get_inputs()[0].name

    def compute(image: U8) -> F32:
        depth: F32 = session.run(None, {name: _prepared(image, task)})[0][0]
        return depth

    return _looped('f32', lambda: threads, compute)


def _open_plain_openvino(task: Task) -> Opened:
    from depth_anything_ros.inference.devices import execution_summary
    import openvino

    compiled = openvino.Core().compile_model(task.file, 'CPU')

    def compute(image: U8) -> F32:
        depth: F32 = compiled(_prepared(image, task))[0][0]
        return depth

    return _looped(execution_summary(compiled)[1], partial(_openvino_threads, compiled), compute)


def _looped(precision: str, threads: Callable[[], int], compute: Compute) -> Opened:
    return Opened(precision, threads, compute, partial(rate_in_a_loop, compute))


def _prepared(image: U8, task: Task) -> F32:
    return normalize(resize_for_network(image, task.network_hw), MEAN_RGB, STD_RGB)


def _running_threads() -> int:
    return len(os.listdir('/proc/self/task'))


KINDS: dict[str, Callable[[Task], Opened]] = {
    'engine': _open_engine,
    'pytorch_eager': _open_pytorch,
    'pytorch_bf16': partial(_open_pytorch, dtype='bfloat16'),
    'pytorch_compile': partial(_open_pytorch, compiled=True),
    'onnxruntime': _open_onnxruntime,
    'openvino_plain': _open_plain_openvino,
}
