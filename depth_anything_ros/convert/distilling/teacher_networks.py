"""A teacher's network at work: OpenVINO on the CPU, PyTorch elsewhere."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from depth_anything_ros.convert.network.family import Network
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.vision.transforms import normalize
import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    import openvino

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
# A BGR picture u8 [H, W, 3] of a size that the network takes, to the network's map f32 [H, W].
Compute = Callable[[U8], F32]

_MOST_COMPILED = 4


def with_openvino(xml_path: Path, info: ModelInfo) -> Compute:
    """
    Return an IR on the CPU at the precision that the CPU likes best.

    It is compiled for each size; the sizes used last are kept.
    """
    compiled: OrderedDict[tuple[int, ...], openvino.CompiledModel] = OrderedDict()

    def compute(picture: U8) -> F32:
        size = picture.shape[:2]
        if size not in compiled:
            compiled[size] = _compile(xml_path, size)
        compiled.move_to_end(size)
        if len(compiled) > _MOST_COMPILED:
            compiled.popitem(last=False)
        output = compiled[size]([normalize(picture, info.mean_rgb, info.std_rgb)])[0]
        return np.array(output[0], np.float32)

    return compute


def _compile(xml_path: Path, size: tuple[int, ...]) -> 'openvino.CompiledModel':
    import openvino

    core = openvino.Core()
    try:
        model = core.read_model(xml_path)
        model.reshape([1, 3, *size])
        return core.compile_model(model, 'CPU', {'PERFORMANCE_HINT': 'LATENCY'})
    except RuntimeError as error:
        raise CheckpointError(xml_path, f'OpenVINO cannot run it at {size[1]}x{size[0]} ({error})',
                              'take another size or another teacher') from error


def with_torch(network: Network, device: str) -> Compute:
    """Return a network in PyTorch on ``device``, in bf16 where that is a GPU."""
    given = network.input
    network = network.to(device)

    def compute(picture: U8) -> F32:
        image = torch.from_numpy(normalize(picture, given.mean_rgb, given.std_rgb)).to(device)
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16,
                                                    enabled=device != 'cpu'):
            depth: F32 = network(image)[0].float().cpu().numpy()
        return depth

    return compute
