"""PyTorch to ONNX to OpenVINO IR, for any height and width."""

from collections.abc import Iterator
from contextlib import contextmanager
import logging
from pathlib import Path
from typing import TYPE_CHECKING
import warnings

from depth_anything_ros.convert.encoders import PATCH
from depth_anything_ros.convert.network import DepthAnything
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.model_info import ModelInfo, SECTION
import torch

if TYPE_CHECKING:
    import openvino

# Batch, rows and columns that PyTorch traces with; all differ, so that none is taken for another.
_TRACED = (2, 5, 7)


def export_onnx(network: DepthAnything, onnx_path: Path) -> None:
    """
    Write the network with input ``image`` f32 [N, 3, H, W] and output ``depth`` f32 [N, H, W].

    N, H and W stay open; H and W must be multiples of 14. The weights lie in a second file.
    """
    batch, rows, columns = _TRACED
    sizes = [torch.export.Dim(name) for name in ('batch', 'rows', 'columns')]
    try:
        with _quiet():
            torch.onnx.export(
                network, (torch.zeros(batch, 3, PATCH * rows, PATCH * columns),), onnx_path,
                dynamo=True, external_data=True, verbose=False,
                input_names=['image'], output_names=['depth'],
                dynamic_shapes={
                    'image': {0: sizes[0], 2: PATCH * sizes[1], 3: PATCH * sizes[2]}})
    except OSError as error:
        raise _unwritable(onnx_path, 'ONNX file', error) from error
    except torch.onnx.OnnxExporterError as error:
        raise CheckpointError(
            onnx_path, f'torch {torch.__version__} could not export the network ({error})',
            'install another version of torch, 2.6 or later') from error


def export_ir(onnx_path: Path, xml_path: Path, info: ModelInfo) -> None:
    """Write the IR (.xml and .bin) with ``info`` in its rt_info."""
    import openvino

    model = openvino.convert_model(onnx_path)
    annotate(model, info)
    try:
        openvino.save_model(model, xml_path, compress_to_fp16=info.precision == 'fp16')
    except RuntimeError as error:
        raise _unwritable(xml_path, 'IR', error) from error


def _unwritable(path: Path, what: str, error: Exception) -> OSError:
    return OSError(f'{path}: the {what} could not be written ({error}); is the disk full?')


def annotate(model: 'openvino.Model', info: ModelInfo) -> None:
    """Write ``info`` into the model's rt_info, where the runtime looks for it."""
    for name, text in info.to_strings().items():
        model.set_rt_info(text, [SECTION, name])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back the exporter's remarks on its own insides and on a missing torchvision."""
    logger = logging.getLogger('torch.onnx._internal.exporter._registration')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', FutureWarning)
            warnings.simplefilter('ignore', DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)
