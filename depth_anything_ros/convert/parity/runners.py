"""The same network through PyTorch, ONNX Runtime and OpenVINO, always in f32 on the CPU."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TYPE_CHECKING

from depth_anything_ros.arrays import F32
from depth_anything_ros.convert.sources.description import Description
from depth_anything_ros.convert.sources.onnx_files import require_utf8
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
# The types of inputs beside the image.
_TYPES = {'tensor(int64)': np.int64, 'tensor(int32)': np.int32, 'tensor(float)': np.float32,
          'tensor(float16)': np.float16}


@dataclass(frozen=True)
class Runner:
    """
    A network with its runtime: ``run`` maps a normalised image [1, 3, H, W] to depth [H, W].

    ``run_sky`` maps it to the network's map of sky, None for a network without one.
    """

    backend: Backend
    run: Callable[[F32], F32]
    run_sky: Callable[[F32], F32] | None = None


def torch_runner(network: 'DepthAnything') -> Runner:
    """Return PyTorch running a network."""
    import torch

    def run(image: F32, index: int = 0) -> F32:
        with torch.inference_mode():
            values: F32 = network.maps(torch.from_numpy(image))[index][0].numpy()
        return values

    return Runner('PyTorch', run, partial(run, index=1) if network.spec.is_v3 else None)


def onnx_runner(onnx_path: Path, described: Description | None = None) -> Runner:
    """
    Return ONNX Runtime running a file with one image as input and depth as its first output.

    Any other network is ``described``; its output becomes what its IR gives. CheckpointError where
    it cannot load the file, or later cannot run it at some size.
    """
    import onnxruntime

    require_utf8(onnx_path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # The runtime raises a type of its own for each kind of failure.
    try:
        session = onnxruntime.InferenceSession(onnx_path, options,
                                               providers=['CPUExecutionProvider'])
    except Exception as error:
        raise _failed(onnx_path, 'ONNX Runtime', error) from error
    constants = described.constants if described else {}
    inputs = {one.name: one for one in session.get_inputs()}
    given = next(one for name, one in inputs.items() if name not in constants)
    element = np.float16 if given.type == 'tensor(float16)' else np.float32
    fixed = {name: np.full(inputs[name].shape, value, _TYPES.get(inputs[name].type, np.float32))
             for name, value in constants.items()}

    def run(image: F32) -> dict[str, npt.NDArray[np.floating]]:
        batch = _batch(image.astype(element), given.shape[0])
        try:
            outputs = session.run(None, {given.name: batch, **fixed})
        except Exception as error:
            raise _failed(onnx_path, f'ONNX Runtime at {image.shape[3]}x{image.shape[2]}',
                          error) from error
        return dict(zip((one.name for one in session.get_outputs()), outputs))

    return _runner(onnx_path, 'ONNX Runtime', run, len(session.get_outputs()), described)


def ir_runner(xml_path: Path, described: Description | None = None) -> Runner:
    """Return OpenVINO running an IR; CheckpointError where it cannot run it at some size."""
    constants = described.constants if described else {}
    try:
        outputs = len(open_core().read_model(xml_path).outputs)
    except RuntimeError as error:
        raise _failed(xml_path, 'OpenVINO', error) from error

    def run(image: F32) -> dict[str, npt.NDArray[np.floating]]:
        core = open_core()
        try:
            model = core.read_model(xml_path)
            inputs = dict(enumerate(model.inputs))
            fixed = {index: np.full(list(port.shape), constants[name],
                                    port.element_type.to_dtype())
                     for index, port in inputs.items() for name in {*constants} & port.get_names()}
            given = next(index for index in inputs if index not in fixed)
            shape = inputs[given].partial_shape
            batch = _batch(image, shape[0].get_length() if shape[0].is_static else None)
            model.reshape({given: list(batch.shape)})
            found = core.compile_model(model, 'CPU', _F32)({given: batch, **fixed})
        except RuntimeError as error:
            raise _failed(xml_path, f'OpenVINO at {image.shape[3]}x{image.shape[2]}',
                          error) from error
        return {next(iter(sorted(port.get_names())), str(index)): values.copy()
                for index, (port, values) in enumerate(found.items())}

    return _runner(xml_path, 'OpenVINO', run, outputs, described)


def _runner(path: Path, backend: Backend,
            run: Callable[[F32], dict[str, npt.NDArray[np.floating]]], outputs: int,
            described: Description | None) -> Runner:
    """Return a runner of a network whose outputs ``run`` returns by their names."""
    def output(found: dict[str, npt.NDArray[np.floating]],
               name: str) -> npt.NDArray[np.floating]:
        if name not in found:
            raise CheckpointError(path, f'it has no output {name}, its outputs are '
                                  f'{", ".join(found)}', 'give the file that was described')
        return found[name]

    def run_depth(image: F32) -> F32:
        if described is None:
            return _first_map(next(iter(run(image).values())), image)
        found = run(described.image(image))
        values = output(found, described.depth_output or next(iter(found)))
        return described.depth(_first_map(values, image))

    def run_sky(image: F32) -> F32:
        if described is None:
            return _first_map(list(run(image).values())[1], image)
        values = output(run(described.image(image)), described.sky_output)
        return described.sky(_first_map(values, image))

    has_sky = bool(described.sky_output) if described else outputs > 1
    return Runner(backend, run_depth, run_sky if has_sky else None)


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
