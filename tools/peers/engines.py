"""The peers: which ones there are, the files they start from, and how each one runs."""

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
from depth_anything_ros.errors import MissingDependencyError, ModelError, SettingsError
from depth_anything_ros.model_info import ExecutionPrecision, ModelInfo
from depth_anything_ros.networks.models import EncoderSpec, MEAN_RGB, MODELS, STD_RGB
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.transforms import network_size, normalize, resize_for_network
from tools.transformers_parity import load_transformers_model

Size = tuple[int, int]
Compute = Callable[[U8], F32]
# The files that other software starts from, in the order in which they are made.
HUB, ONNX, ONNX_INT8, IR = 'transformers', 'naive.onnx', 'naive_int8.onnx', 'naive.xml'
FILES = (HUB, ONNX, ONNX_INT8, IR)
# Kind of peer, and the file that it starts from.
OTHERS = {'pytorch_eager': HUB, 'pytorch_bf16': HUB, 'pytorch_compile': HUB,
          'onnxruntime': ONNX, 'onnxruntime_int8': ONNX_INT8, 'openvino_plain': IR}
# Those that end in f32 run as on a CPU without bf16.
OWN_BF16, OWN_F32, OWN_INT8, OWN_INT8_F32 = 'openvino_bf16', 'openvino_f32', 'int8', 'int8_f32'
OWN = (OWN_BF16, OWN_F32, OWN_INT8, OWN_INT8_F32)
REFERENCE = 'pytorch_eager'

# With two requests the next image is prepared while the first one computes.
_REQUESTS = 2
_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Peer:
    """One of KINDS under the name of its figures; ``file`` need not exist yet."""

    name: str
    kind: str
    file: Path
    precision: ExecutionPrecision = 'auto'


@dataclass(frozen=True)
class Sizes:
    """The size of the images and of the network, the same for all peers."""

    image_hw: tuple[int, int]
    input_size: int
    network_hw: tuple[int, int]


def read_infos(models: Sequence[Path]) -> list[ModelInfo]:
    """Return the metadata of the IRs; ModelError for one that cannot be read."""
    from depth_anything_ros.inference.ir import read_model
    import openvino

    core = openvino.Core()
    return [read_model(core, model)[1] for model in models]


def resolve_sizes(info: ModelInfo, input_size: int, image_hw: tuple[int, int]) -> Sizes:
    """Return the sizes for the first IR; ``input_size`` 0 is its own."""
    size = input_size or info.input_size
    return Sizes(image_hw, size, info.fixed_size_hw
                 or network_size(image_hw, size, info.patch_multiple))


def choose_peers(models: Sequence[Path], infos: Sequence[ModelInfo], folder: Path,
                 names: Sequence[str]) -> list[Peer]:
    """
    Return the peers with these names, or all; the files of other software are in ``folder``.

    SettingsError for an unknown name, ModelError for two IRs of the same name.
    """
    peers: dict[str, Peer] = {}
    for model, info in zip(models, infos):
        names_here = ((OWN_INT8, OWN_INT8_F32) if info.precision == 'int8' else
                      (OWN_BF16, OWN_F32))
        found = [Peer(names_here[0], 'engine', model), Peer(names_here[1], 'engine', model, 'f32')]
        if found[0].name in peers:
            raise ModelError(model, f'{peers[found[0].name].file} is such a model already',
                             'give one IR with int8 and one with floating point weights')
        peers |= {peer.name: peer for peer in found}
    peers |= {name: Peer(name, name, folder / file) for name, file in OTHERS.items()}
    for name in names:
        if name not in peers:
            raise SettingsError('peers', name, f'one of {", ".join(peers)}')
    return [peer for name, peer in peers.items() if not names or name in names]


def make_files(checkpoint: Path, info: ModelInfo, folder: Path, network_hw: tuple[int, int],
               last: str, table: tuple[EncoderSpec, ...] = MODELS) -> None:
    """
    Write FILES into ``folder``, up to ``last``; ``info`` is the metadata of the checkpoint.

    They are a folder in the layout of the Hugging Face hub, an ONNX file of that model for one
    image of ``network_hw``, made by ``torch.onnx.export``, that file with the products in INT8 by
    ONNX Runtime's dynamic quantization, and the IR that ``ovc`` makes of the ONNX file.
    Raises the errors of the libraries, CheckpointError and MissingDependencyError; files written
    before the error remain.
    """
    model = load_transformers_model(checkpoint, info, table)
    model.save_pretrained(folder / HUB)
    if last != HUB:
        _export(model, folder / ONNX, network_hw)
    if last in (ONNX_INT8, IR):
        _quantize(folder / ONNX, folder / ONNX_INT8)
    if last == IR:
        import openvino

        openvino.save_model(openvino.convert_model(folder / ONNX), folder / IR)


def _export(model: Any, path: Path, network_hw: tuple[int, int]) -> None:
    import torch

    torch.onnx.export(model, (torch.zeros(1, 3, *network_hw),), path, dynamo=True, verbose=False,
                      input_names=['pixel_values'], output_names=['predicted_depth'])


def _quantize(path: Path, quantized: Path) -> None:
    """Quantize the products only: convolutions that ONNX Runtime quantizes are slow."""
    from onnxruntime.quantization import quantize_dynamic, QuantType

    quantize_dynamic(path, quantized, op_types_to_quantize=['MatMul', 'Gemm'],
                     weight_type=QuantType.QInt8)


@dataclass(frozen=True)
class PeerTask:
    """What a peer computes: its file or folder, precision, and the sizes of images and network."""

    file: Path
    precision: ExecutionPrecision
    input_size: int
    image_hw: Size
    network_hw: Size


@dataclass(frozen=True)
class LoadedPeer:
    """A loaded peer: executed precision, threads, depth of one image, images/s over a time [s]."""

    precision: str
    threads: Callable[[], int]
    compute: Compute
    rate: Callable[[Sequence[U8], float], float]


def load_peer(kind: str, task: PeerTask) -> LoadedPeer:
    """Load a peer, one of KINDS; raises errors of its library and of this package."""
    return KINDS[kind](task)


def rate_in_a_loop(compute: Compute, images: Sequence[U8], seconds: float) -> float:
    """Return images per second of consecutive calls."""
    started, count = time.monotonic(), 0
    for image in cycle(images):
        compute(image)
        count += 1
        if time.monotonic() >= started + seconds:
            break
    return count / (time.monotonic() - started)


def _load_engine(task: PeerTask) -> LoadedPeer:
    from depth_anything_ros.inference.engine import Engine, EngineOptions
    from depth_anything_ros.inference.pool import wait_for_one

    # Not load_model(): its infer_many() compiles for throughput, and the node for latency.
    engine = Engine(task.file, EngineOptions(
        precision=task.precision, requests=_REQUESTS, timeout_s=_TIMEOUT_S,
        input_size=task.input_size, image_hw=task.image_hw))
    if engine.state.network_hw != task.network_hw:
        (height, width), (wanted_height, wanted_width) = engine.state.network_hw, task.network_hw
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
                _raise_failure(done.get())
            if time.monotonic() >= started + seconds:
                break
        for _ in range(min(count, engine.capacity)):
            _raise_failure(done.get())
        return count / (time.monotonic() - started)

    quantized = 'int8 and ' if engine.info.precision == 'int8' else ''
    return LoadedPeer(quantized + engine.state.execution_precision, partial(_engine_threads, task),
                      compute, rate)


def _raise_failure(outcome: F32 | Exception) -> None:
    if isinstance(outcome, Exception):
        raise outcome


def _engine_threads(task: PeerTask) -> int:
    """Return the number of threads of a model that is compiled like the engine."""
    from depth_anything_ros.benchmark.bare_model import BareModel
    return BareModel(task.file, task.input_size, task.precision, task.image_hw).threads


def _openvino_threads(compiled: Any) -> int:
    return int(compiled.get_property('INFERENCE_NUM_THREADS'))


def _load_pytorch(task: PeerTask, dtype: str = 'float32', compiled: bool = False) -> LoadedPeer:
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
            pixels = torch.from_numpy(_prepared(image, task)).to(element)
            depth: F32 = model(pixel_values=pixels).predicted_depth[0].float().numpy()
        return depth

    return _looped('f32' if dtype == 'float32' else 'bf16', torch.get_num_threads, compute)


def _load_onnxruntime(task: PeerTask, precision: str = 'f32') -> LoadedPeer:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError('onnxruntime', 'this peer',
                                     'pip install onnxruntime') from error
    before = _running_threads()
    session = onnxruntime.InferenceSession(task.file, providers=['CPUExecutionProvider'])
    # The calling thread is one of them; the session has no property for the number.
    threads = len(_running_threads() - before) + 1
    name = session.get_inputs()[0].name

    def compute(image: U8) -> F32:
        depth: F32 = session.run(None, {name: _prepared(image, task)})[0][0]
        return depth

    return _looped(precision, lambda: threads, compute)


def _load_plain_openvino(task: PeerTask) -> LoadedPeer:
    from depth_anything_ros.inference.devices import execution_summary, open_core

    compiled = open_core().compile_model(task.file, 'CPU')

    def compute(image: U8) -> F32:
        depth: F32 = compiled(_prepared(image, task))[0][0]
        return depth

    return _looped(execution_summary(compiled)[1], partial(_openvino_threads, compiled), compute)


def _looped(precision: str, threads: Callable[[], int], compute: Compute) -> LoadedPeer:
    return LoadedPeer(precision, threads, compute, partial(rate_in_a_loop, compute))


def _prepared(image: U8, task: PeerTask) -> F32:
    return normalize(resize_for_network(image, task.network_hw), MEAN_RGB, STD_RGB)


def _running_threads() -> set[str]:
    """Return the numbers of the threads of this process."""
    return set(os.listdir('/proc/self/task'))


KINDS: dict[str, Callable[[PeerTask], LoadedPeer]] = {
    'engine': _load_engine,
    'pytorch_eager': _load_pytorch,
    'pytorch_bf16': partial(_load_pytorch, dtype='bfloat16'),
    'pytorch_compile': partial(_load_pytorch, compiled=True),
    'onnxruntime': _load_onnxruntime,
    'onnxruntime_int8': partial(_load_onnxruntime, precision='int8 and f32'),
    'openvino_plain': _load_plain_openvino,
}
