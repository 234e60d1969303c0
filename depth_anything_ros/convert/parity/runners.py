"""The same network through PyTorch, ONNX Runtime and OpenVINO, always in f32 on the CPU."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TYPE_CHECKING

from depth_anything_ros.arrays import F32
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.inference.devices import open_core
from depth_anything_ros.inference.ir import error_reason
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from depth_anything_ros.networks.depth_anything import DepthAnything

# The second entry keeps OpenVINO from rounding the input of layers with weights in 8 bits.
_F32 = {'INFERENCE_PRECISION_HINT': 'f32', 'DYNAMIC_QUANTIZATION_GROUP_SIZE': 0}

Backend = Literal['PyTorch', 'ONNX Runtime', 'OpenVINO']


@dataclass(frozen=True)
class Runner:
    """A network with its runtime: ``run`` maps a normalised image [1, 3, H, W] to depth [H, W]."""

    backend: Backend
    run: Callable[[F32], F32]


def torch_runner(network: 'DepthAnything') -> Runner:
    """Return PyTorch running a network."""
    import torch

    def run(image: F32) -> F32:
        with torch.inference_mode():
            depth: F32 = network(torch.from_numpy(image))[0].numpy()
        return depth

    return Runner('PyTorch', run)


def onnx_runner(onnx_path: Path) -> Runner:
    """
    Return ONNX Runtime running a file with one image as input and one depth map as output.

    CheckpointError where it cannot load the file, or later cannot run it at some size.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # The runtime raises a type of its own for each kind of failure.
    try:
        session = onnxruntime.InferenceSession(onnx_path, options,
                                               providers=['CPUExecutionProvider'])
    except Exception as error:
        raise _failed(onnx_path, 'ONNX Runtime', error) from error
    given = session.get_inputs()[0]
    element = np.float16 if given.type == 'tensor(float16)' else np.float32

    def run(image: F32) -> F32:
        try:
            output = session.run(None, {given.name: _batch(image.astype(element), given.shape[0])})
        except Exception as error:
            raise _failed(onnx_path, f'ONNX Runtime at {image.shape[3]}x{image.shape[2]}',
                          error) from error
        return _first_map(output[0], image)

    return Runner('ONNX Runtime', run)


def ir_runner(xml_path: Path) -> Runner:
    """Return OpenVINO running an IR; CheckpointError where it cannot run it at some size."""
    def run(image: F32) -> F32:

        core = open_core()
        try:
            model = core.read_model(xml_path)
            shape = model.input(0).partial_shape
            batch = _batch(image, shape[0].get_length() if shape[0].is_static else None)
            model.reshape(list(batch.shape))
            compiled = core.compile_model(model, 'CPU', _F32)
            output = compiled([batch])[0]
        except RuntimeError as error:
            raise _failed(xml_path, f'OpenVINO at {image.shape[3]}x{image.shape[2]}',
                          error) from error
        return _first_map(output, image).copy()

    return Runner('OpenVINO', run)


def _batch(image: F32, count: object) -> F32:
    """Return the image repeated for a network with a fixed batch of ``count``."""
    return np.repeat(image, count, axis=0) if isinstance(count, int) and count > 1 else image


def _first_map(output: npt.NDArray[np.floating], image: F32) -> F32:
    """Return the first depth map [H, W] of an output that may have further axes of length 1."""
    maps = output.reshape(-1, *output.shape[-2:]) if output.shape[-1:] != (1,) else output[..., 0]
    first: F32 = maps.reshape(-1, *maps.shape[-2:])[0].astype(np.float32)
    return first


def _failed(path: Path, what: str, error: Exception) -> CheckpointError:
    return CheckpointError(path, f'{what} cannot run it ({error_reason(error)})',
                           'export it again, or give the --height and --width it was made for')
