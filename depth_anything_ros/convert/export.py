"""Writes ONNX files from PyTorch, with free or fixed height and width, and IR files."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import logging
from pathlib import Path
from typing import Any, TYPE_CHECKING
import warnings

from depth_anything_ros.convert.sources.onnx_files import metadata_props, require_utf8
from depth_anything_ros.convert.sources.records import sha256_of
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.model_info import ModelInfo, SECTION, WEIGHTS_SHA256
from depth_anything_ros.networks.depth_anything import DepthAnything
import torch

if TYPE_CHECKING:
    import openvino

# Batch, and rows and columns in multiples of the network, of the traced image. All differ, so that
# the exporter cannot confuse two axes.
_TRACED = (2, 5, 7)
# The capacity of one file of protocol buffers, less some room for the operators.
_ONE_FILE_BYTES = 2 ** 31 - 2 ** 24
_UNKNOWN = 'unknown'


@dataclass(frozen=True)
class OnnxOptions:
    """
    The form of an ONNX file.

    ``batch`` 0 and a side of ``size_hw`` that is 0 are free; None frees both sides. ``opset``
    None lets the exporter choose; 17 and later work. ``external_data`` puts the weights into a
    second file, NAME.onnx.data.
    """

    batch: int = 0
    size_hw: tuple[int, int] | None = None
    opset: int | None = None
    external_data: bool = True


def export_onnx(network: DepthAnything, onnx_path: Path, options: OnnxOptions | None = None,
                info: ModelInfo | None = None) -> None:
    """
    Write the network with input ``image`` f32 [N, 3, H, W] and output ``depth`` f32 [N, H, W].

    Version 3 has a second output of the same size, ``sky``. H and W that ``options`` leave free
    are multiples of ``network.input_spec.multiple``. ``info`` is written into the metadata of the
    file. CheckpointError, with the name of the file alone because its folder may be a temporary
    one, if the network cannot be exported, OSError if the file cannot be written.
    """
    options = options or OnnxOptions()
    require_utf8(onnx_path)
    if not options.external_data:
        _check_one_file(network, onnx_path)
    example, free_axes = _example(options, network.input_spec.multiple)
    try:
        with _quiet():
            program = torch.onnx.export(
                _AllMaps(network).eval() if network.spec.is_v3 else network, (example,),
                dynamo=True, verbose=False, input_names=['image'],
                output_names=['depth', 'sky'] if network.spec.is_v3 else ['depth'],
                dynamic_shapes={'image': free_axes}, opset_version=options.opset)
            opset = program.model.opset_imports.get('')
            if options.opset not in (None, opset):
                raise CheckpointError(
                    onnx_path.name, f'torch {torch.__version__} writes opset {opset}, not '
                    f'{options.opset}', 'leave out --opset, or give one from 17 on')
            if info is not None:
                program.model.metadata_props.update(metadata_props(info))
            program.save(onnx_path, external_data=options.external_data)
    except OSError as error:
        raise _unwritable(onnx_path, 'ONNX file', error) from error
    except torch.onnx.OnnxExporterError as error:
        raise CheckpointError(
            onnx_path.name, f'torch {torch.__version__} could not export the network ({error})',
            'install another version of torch, 2.6 or later') from error


class _AllMaps(torch.nn.Module):
    """A network with all its outputs."""

    def __init__(self, network: DepthAnything) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.network.maps(image)


def _example(options: OnnxOptions, multiple: int) -> tuple[torch.Tensor, dict[int, Any]]:
    """Return the image to trace with, and the symbol of each free axis."""
    batch, rows, columns = _TRACED
    height, width = options.size_hw or (0, 0)
    free_axes = {} if options.batch else {0: torch.export.Dim('batch')}
    if not height:
        free_axes[2] = multiple * torch.export.Dim('rows')
    if not width:
        free_axes[3] = multiple * torch.export.Dim('columns')
    shape = options.batch or batch, 3, height or multiple * rows, width or multiple * columns
    return torch.zeros(shape), free_axes


def _check_one_file(network: DepthAnything, onnx_path: Path) -> None:
    needed = sum(value.numel() * value.element_size() for value in network.parameters())
    if needed > _ONE_FILE_BYTES:
        raise CheckpointError(
            onnx_path.name, f'its weights take {needed / 1e9:.1f} GB and one ONNX file holds 2 GB',
            'keep the weights in a second file (external data)')


def save_ir(model: 'openvino.Model', xml_path: Path, info: ModelInfo) -> None:
    """Write the IR (.xml and .bin) with ``info`` and the sha256 of the .bin in its rt_info."""
    import openvino

    annotate(model, info)
    model.set_rt_info(_UNKNOWN, [SECTION, WEIGHTS_SHA256])
    try:
        openvino.save_model(model, xml_path, compress_to_fp16=info.precision == 'fp16')
    except RuntimeError as error:
        raise _unwritable(xml_path, 'IR', error) from error
    write_weights_sha256(xml_path)


def write_weights_sha256(xml_path: Path) -> None:
    """Write the sha256 of the .bin, known only after both files were written, into the .xml."""
    entry = f'<{WEIGHTS_SHA256} value="%s"'
    before, unknown, after = xml_path.read_bytes().partition((entry % _UNKNOWN).encode())
    assert unknown and unknown not in after
    digest = sha256_of([xml_path.with_suffix('.bin')])
    xml_path.write_bytes(before + (entry % digest).encode() + after)


def annotate(model: 'openvino.Model', info: ModelInfo) -> None:
    """Write ``info`` into the section of the model's rt_info that the runtime reads."""
    for name, text in info.to_strings().items():
        model.set_rt_info(text, [SECTION, name])


def _unwritable(path: Path, what: str, error: Exception) -> OSError:
    return OSError(f'{path}: the {what} could not be written ({error}); is the disk full?')


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's messages about its internals and a missing torchvision."""
    names = ('torch.onnx._internal.exporter._registration',
             'torch.onnx._internal.exporter._compat', 'onnxscript.version_converter')
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', FutureWarning)
            warnings.simplefilter('ignore', DeprecationWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
