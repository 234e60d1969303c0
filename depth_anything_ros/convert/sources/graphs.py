"""
ONNX files and IRs as sources: read, brought to the form of this package, fixed to one shape.

That form is one input ``image`` f32 [N, 3, H, W] and one output ``depth`` f32 [N, H, W], which is
followed by ``sky`` of the same size where the network names sky.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TYPE_CHECKING

from depth_anything_ros.convert.sources.described_graph import bring_to_form, port_name
from depth_anything_ros.convert.sources.description import complete, Description
from depth_anything_ros.convert.sources.identity import from_file_name
from depth_anything_ros.convert.sources.onnx_files import read_onnx_file
from depth_anything_ros.convert.sources.records import sha256_of
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.inference.ir import check_ir_files, error_reason, read_ir
from depth_anything_ros.model_info import ModelInfo, Precision, Size
from depth_anything_ros.networks.models import input_spec_of, InputSpec
import numpy as np

if TYPE_CHECKING:
    import openvino

_WANTED = 'give a network that maps one image [N,3,H,W], RGB and normalised, to one depth map'
_WANTED_OR = f'{_WANTED}, or describe another one with --describe FILE.yaml'
# Constants of 8 bit below this size are indices and the like, not weights.
_SMALL_BYTES = 4096
_OUTPUTS = ('depth', 'sky')


@dataclass(frozen=True)
class Graph:
    """
    A network ``image`` f32 [N, 3, H, W] to ``depth`` f32 [N, H, W], with or without ``sky``.

    ``size_hw`` is its only size, None where it is free; ``precision`` is that of the stored
    weights; ``info`` are its metadata, None without; ``sha256`` is as in
    ``records.combined_sha256``. ``changes`` are lines for people on what was changed to reach this
    form. ``described`` is None for Depth Anything.
    """

    path: Path
    model: 'openvino.Model'
    sha256: str
    size_bytes: int
    size_hw: Size | None
    precision: Precision
    info: ModelInfo | None
    input_spec: InputSpec
    changes: tuple[str, ...]
    described: Description | None = None


def is_graph(path: Path) -> bool:
    """Return whether the name is that of an ONNX file or an IR."""
    return path.suffix in ('.onnx', '.xml')


def read_graph(path: Path, encoder: str | None = None,
               facts: Mapping[str, Any] | None = None) -> Graph:
    """
    Read an ONNX file or an IR; CheckpointError or ModelError name what makes it unusable.

    With ``facts`` it is another network than Depth Anything, see ``Description``. Without metadata
    the input of the network follows from ``encoder``, else from the file name.
    """
    model, info, files = _read_onnx(path) if path.suffix == '.onnx' else _read_ir(path)
    described: Description | None = None
    if facts is not None:
        info, described = None, complete(path, facts, fixed=_is_fixed(model))
        model, changes = bring_to_form(path, model, described)
        size_hw, batch = _fixed(path, model.input(0), described.multiple or 1)
        input_spec = _described_input(path, model, described, size_hw, batch)
    else:
        changes = _renamed(path, model, info)
        named = from_file_name(path.name, ())
        input_spec = InputSpec.from_info(info) if info else input_spec_of(
            encoder or (named.encoder if named else None))
        size_hw, batch = _fixed(path, model.input(0), input_spec.multiple)
    trial_hw = size_hw or input_spec.card_size_hw
    model, more = _normalise(path, model, trial_hw, input_spec.output_hw(trial_hw), batch)
    return Graph(path, model, sha256_of(files), sum(file.stat().st_size for file in files),
                 size_hw, stored_precision(model), info, input_spec, (*changes, *more),
                 described)


def stored_precision(model: 'openvino.Model') -> Precision:
    """Return the precision of most constants: int8 where a large one has 8 bit or less."""
    sizes = {'f32': 0, 'f16': 0, 'int8': 0}
    for node in model.get_ops():
        if node.get_type_name() == 'Constant':
            name = node.get_element_type().get_type_name()
            count = node.get_byte_size()
            if name in ('i8', 'u8', 'i4', 'u4') and count > _SMALL_BYTES:
                name = 'int8'
            sizes[name] = sizes.get(name, 0) + count
    if sizes['int8']:
        return 'int8'
    return 'fp16' if sizes['f16'] > sizes['f32'] else 'fp32'


def check_sizes(path: Path, size_hw: Size | None, multiple: int) -> None:
    """Raise CheckpointError unless each side is a multiple of ``multiple`` or 0, which is free."""
    for name, side in zip(('height', 'width'), size_hw or ()):
        if side % multiple or side < 0:
            below = max(side // multiple, 1) * multiple
            raise CheckpointError(path, f'a {name} of {side} is not a multiple of {multiple}',
                                  f'give {below} or {below + multiple}')


def check_batch(path: Path, batch: int) -> None:
    """Raise CheckpointError unless the batch is a number of images, or 0, which is free."""
    if batch < 0:
        raise CheckpointError(path, f'a batch of {batch} images is impossible',
                              'give a positive number, or 0 to leave it free')


def fixed_size(path: Path, size_hw: Size | None) -> Size | None:
    """
    Return the size that a model is fixed to, None if both sides are free.

    CheckpointError if only one side is fixed, which the metadata of an IR cannot state.
    """
    if size_hw is None or not any(size_hw):
        return None
    if not all(size_hw):
        raise CheckpointError(path, 'only one of height and width is fixed',
                              'give --height and --width, or neither')
    return size_hw


def sizes_allowed(sizes_hw: Sequence[Size], size_hw: Size | None) -> tuple[Size, ...]:
    """Return the sizes to compare at for a model with these fixed sides, each once."""
    height, width = size_hw or (0, 0)
    return tuple(dict.fromkeys((height or one[0], width or one[1]) for one in sizes_hw))


def fix_shape(path: Path, model: 'openvino.Model', size_hw: Size | None, batch: int) -> None:
    """
    Fix height and width, the number of images, or both; None and 0 change nothing.

    CheckpointError if the model of ``path`` is fixed to something else.
    """
    from openvino import Dimension, PartialShape

    shape = model.input(0).partial_shape
    wanted = (batch, 3, *(size_hw or (0, 0)))
    for name, side, found in zip(('batch', 'channels', 'height', 'width'), wanted, shape):
        if side and found.is_static and found.get_length() != side:
            raise CheckpointError(path, f'its {name} is fixed to {found}, {side} is impossible',
                                  'leave out that option, or convert the checkpoint')
    model.reshape(PartialShape([Dimension(side) if side else found
                                for side, found in zip(wanted, shape)]))


def _read_onnx(path: Path) -> tuple['openvino.Model', ModelInfo | None, tuple[Path, ...]]:
    import openvino

    found = read_onnx_file(path)
    # OpenVINO's reader of ONNX files raises several types.
    try:
        model = openvino.convert_model(path)
    except Exception as error:
        raise CheckpointError(path, f'OpenVINO cannot read it ({error_reason(error)})',
                              'export it again with a usual opset') from error
    return model, found.info, found.files


def _read_ir(path: Path) -> tuple['openvino.Model', ModelInfo | None, tuple[Path, ...]]:
    import openvino

    model, info = read_ir(openvino.Core(), path)
    return model, info, check_ir_files(path)


def _renamed(path: Path, model: 'openvino.Model', info: ModelInfo | None) -> tuple[str, ...]:
    """Return a line on names that will change; CheckpointError for other inputs and outputs."""
    count = 1 if info is None or info.sky_threshold is None else 2
    if len(model.inputs) != 1 or len(model.outputs) != count:
        raise CheckpointError(path, f'it has {len(model.inputs)} inputs and {len(model.outputs)} '
                              'outputs', _WANTED_OR)
    names = f'names: {port_name(model.input(0))} -> {port_name(model.output(0))}'
    return () if names == 'names: image -> depth' else (f'{names}, now image -> depth',)


def _is_fixed(model: 'openvino.Model') -> bool:
    """Return whether an input of a network has 4 axes, the last two fixed."""
    shapes = [port.partial_shape for port in model.inputs]
    return any(len(shape) == 4 and shape[2].is_static and shape[3].is_static
               for shape in shapes if shape.rank.is_static)


def _described_input(path: Path, model: 'openvino.Model', described: Description,
                     size_hw: Size | None, batch: int) -> InputSpec:
    """Return the input of a described network, with the size of its output."""
    spec = described.input_spec(size_hw)
    return replace(spec, output_multiple=_output_multiple(
        path, model, size_hw or spec.card_size_hw, batch, spec.multiple))


def _fixed(path: Path, given: Any, multiple: int) -> tuple[Size | None, int]:
    """Return the fixed size and batch of an input [N, 3, H, W] of floating point numbers."""
    shape, element = given.partial_shape, given.element_type.get_type_name()
    found = f'its input is {element} {shape}'
    if element not in ('f32', 'f16') or shape.rank.is_dynamic or len(shape) != 4:
        raise CheckpointError(path, found, _WANTED_OR)
    batch, channels, *sides = (one.get_length() if one.is_static else 0 for one in shape)
    if channels not in (0, 3) or any(side % multiple for side in sides):
        raise CheckpointError(path, f'{found}, not 3 channels of multiples of {multiple}',
                              _WANTED_OR)
    if not any(sides):
        return None, batch
    if not all(sides):
        raise CheckpointError(path, f'{found}: one side is fixed and one is free',
                              'export it with both fixed or both free')
    return (sides[0], sides[1]), batch


def _normalise(path: Path, model: 'openvino.Model', size_hw: Size, output_hw: Size,
               batch: int) -> tuple['openvino.Model', tuple[str, ...]]:
    """
    Return the model with its outputs as [N, H, W] in f32 and the names of this package.

    CheckpointError if an output for images of ``size_hw`` is not of ``output_hw``.
    """
    import openvino
    from openvino import opset13 as op

    changes: list[str] = []
    model = _as_f32(model, changes)
    ports = []
    for index, shape in enumerate(_output_shapes(path, model, size_hw, batch)):
        port = model.output(index).get_node().input_value(0)
        height, width = output_hw
        kept = [one for one in ((batch or 1, height, width), (height, width)) if shape == one]
        if kept == [(height, width)] and batch in (0, 1):
            port = op.unsqueeze(port, np.array([0])).output(0)
            changes.append('output: [H,W], now [N,H,W]')
        elif not kept:
            axis = _axis_of_one(path, shape, (batch or 1, height, width), size_hw)
            port = op.squeeze(port, np.array([axis])).output(0)
            changes.append(f'output: {len(shape)} axes, now [N,H,W]')
        ports.append(port)
    model = openvino.Model([op.result(port) for port in ports], model.get_parameters(),
                           model.get_friendly_name())
    parameter = model.get_parameters()[0]
    parameter.set_friendly_name('image')
    parameter.output(0).get_tensor().set_names({'image'})
    for index, name in enumerate(_OUTPUTS[:len(ports)]):
        model.get_results()[index].set_friendly_name(name)
        model.output(index).get_tensor().set_names({name})
    return model, tuple(dict.fromkeys(changes))


def _as_f32(model: 'openvino.Model', changes: list[str]) -> 'openvino.Model':
    from openvino import Type
    from openvino.preprocess import PrePostProcessor

    types = [model.input(0).element_type, *(port.element_type for port in model.outputs)]
    if set(types) == {Type.f32}:
        return model
    processor = PrePostProcessor(model)
    processor.input().tensor().set_element_type(Type.f32)
    for index in range(len(model.outputs)):
        processor.output(index).tensor().set_element_type(Type.f32)
    types = types[:2]
    names = ' -> '.join(one.get_type_name() for one in types)
    changes.append(f'types: {names}, now f32 -> f32')
    return processor.build()


def _output_multiple(path: Path, model: 'openvino.Model', size_hw: Size, batch: int,
                     multiple: int) -> int | None:
    """Return the output's pixels per ``multiple`` of the input, None for a map of its size."""
    shape = [side for side in _output_shapes(path, model, size_hw, batch)[0] if side != 1]
    if len(shape) < 2 or tuple(shape[-2:]) == size_hw:
        return None
    found = {multiple * output / side for output, side in zip(shape[-2:], size_hw)}
    if len(found) > 1 or not min(found).is_integer():
        raise CheckpointError(
            path, f'its output is {shape[-1]}x{shape[-2]} for {size_hw[1]}x{size_hw[0]} images, '
            f'not the same number of pixels for every {multiple} of the image', _WANTED)
    return int(min(found))


def _output_shapes(path: Path, model: 'openvino.Model', size_hw: Size,
                   batch: int) -> list[tuple[int, ...]]:
    """Return the shape of each output for images of this size."""
    trial = model.clone()
    try:
        trial.reshape([batch or 1, 3, *size_hw])
        return [tuple(port.shape) for port in trial.outputs]
    except RuntimeError as error:
        raise CheckpointError(
            path, f'it does not take {size_hw[1]}x{size_hw[0]} images although its input is '
            f'{model.input(0).partial_shape} ({error_reason(error)})',
            'export it again for one size') from error


def _axis_of_one(path: Path, shape: tuple[int, ...], wanted: tuple[int, ...],
                 size_hw: Size) -> int:
    for axis in (1, 3):
        if len(shape) == 4 and shape[axis] == 1 and shape[:axis] + shape[axis + 1:] == wanted:
            return axis
    size = 'the same size' if size_hw == wanted[1:] else f'{wanted[2]}x{wanted[1]}'
    raise CheckpointError(path, f'its output is {list(shape)} for images [{wanted[0]},3,'
                          f'{size_hw[0]},{size_hw[1]}]', f'{_WANTED} of {size}')
