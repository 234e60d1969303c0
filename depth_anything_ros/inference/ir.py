"""
Reads an OpenVINO IR (.xml and .bin) and builds the graph that a device compiles.

The files are checked first, because OpenVINO says little about damaged ones and crashes on some.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
import hashlib
import io
import math
from pathlib import Path
import re
from typing import Any, TYPE_CHECKING
from xml.etree import ElementTree

from depth_anything_ros.arrays import U8
from depth_anything_ros.errors import ModelError
from depth_anything_ros.foreign_files import foreign_file
from depth_anything_ros.model_info import ModelInfo, SECTION, WEIGHTS_SHA256
import numpy as np

if TYPE_CHECKING:
    import openvino as ov

_MAKE_ONE = 'make an IR with `depth_anything_convert CHECKPOINT.pth -o NAME.xml`'
_COPY_AGAIN = 'copy both files again or make the IR again with `depth_anything_convert`'
# Bits of one element of a constant. OpenVINO crashes on some of its other types, such as u1.
_BITS = {'f64': 64, 'f32': 32, 'f16': 16, 'bf16': 16, 'f8e4m3': 8, 'f8e5m2': 8, 'nf4': 4,
         'i64': 64, 'i32': 32, 'i16': 16, 'i8': 8, 'i4': 4, 'u64': 64, 'u32': 32, 'u16': 16,
         'u8': 8, 'u4': 4, 'boolean': 8}
_CONSTANT = ('element_type', 'shape', 'offset', 'size')
# What OpenVINO raises for malformed files, beside RuntimeError: errors of C++'s number parser.
READING_ERRORS = (RuntimeError, ValueError, IndexError, OverflowError, MemoryError)


@dataclass(frozen=True)
class IrFiles:
    """
    The content of an IR's .xml and .bin in memory.

    OpenVINO maps the .bin of a path, which ends the process with SIGBUS when a running node's
    model is overwritten. Engines that share this content also keep computing the same model then.
    """

    path: Path
    xml: bytes
    weights: 'ov.Tensor'

    @cached_property
    def weights_sha256(self) -> str:
        """Return the sha256 of the .bin."""
        return hashlib.sha256(self.weights.data).hexdigest()

    @cached_property
    def digest(self) -> str:
        """Return a sha256 of both files."""
        return hashlib.sha256(self.xml + self.weights_sha256.encode()).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the content, so that another machine needs no file."""
        return _ir_files, (self.path, self.xml, np.asarray(self.weights.data))


def _ir_files(path: Path, xml: bytes, weights: U8) -> IrFiles:
    import openvino as ov
    tensor = ov.Tensor(ov.Type.u8, [weights.size])
    tensor.data[:] = weights
    return IrFiles(path, xml, tensor)


def read_model(core: 'ov.Core', source: Path | IrFiles) -> tuple['ov.Model', ModelInfo]:
    """
    Return the network and the metadata of an IR that this package made.

    ModelError as ``read_ir``, and if the metadata are missing or the network does not map one
    image [N, 3, H, W] to one depth map.
    """
    model, info = read_ir(core, source)
    path = source.path if isinstance(source, IrFiles) else source
    if info is None:
        raise ModelError(path, 'it has no depth_anything metadata',
                         f'add it with `depth_anything_convert {path} -o NAME.xml`')
    inputs, outputs = model.inputs, model.outputs
    count, maps = (1, 'one depth map') if info.sky_threshold is None else (
        2, 'one depth map and one map of sky')
    if (len(inputs) != 1 or len(outputs) != count
            or str(inputs[0].partial_shape).count(',') != 3):
        raise ModelError(path, f'it has {len(inputs)} inputs and {len(outputs)} outputs instead '
                         f'of one image [N,3,H,W] and {maps}', _MAKE_ONE)
    return model, info


def read_model_info(path: Path) -> ModelInfo:
    """Return the metadata of an IR that this package made; ModelError as ``read_model``."""
    import openvino as ov
    return read_model(ov.Core(), path)[1]


def read_ir_files(source: Path | IrFiles) -> IrFiles:
    """Return the content of an IR, which may be read already; ModelError as ``check_ir_files``."""
    if isinstance(source, IrFiles):
        return source
    import openvino as ov
    xml_path, bin_path = _find_files(source)
    xml = _read_xml(xml_path)
    needed, weights_sha256 = _expected_weights(xml_path, xml)
    try:
        with bin_path.open('rb') as file:
            weights = ov.Tensor(ov.Type.u8, [bin_path.stat().st_size])
            found = file.readinto(weights.data)
    except OSError as error:
        raise ModelError(bin_path, f'it cannot be read ({error.strerror})', _COPY_AGAIN) from error
    _check_size(bin_path, min(found, weights.get_byte_size()), needed)
    files = IrFiles(xml_path, xml, weights)
    check_weights(xml_path, weights_sha256, [files.weights_sha256])
    return files


def check_weights(xml_path: Path, sha256: str | None, found: Collection[str]) -> None:
    """Raise ModelError if ``sha256``, that of the .bin by its .xml, is none of those found."""
    if sha256 is not None and sha256 not in found:
        raise ModelError(xml_path.with_suffix('.bin'), f'its content is not what {xml_path.name} '
                         'was written with: it is damaged or belongs to another model',
                         _COPY_AGAIN)


def read_ir(core: 'ov.Core', source: Path | IrFiles) -> tuple['ov.Model', ModelInfo | None]:
    """
    Return the network and the metadata of any IR; None where it has no metadata.

    ModelError names the fault of the .xml, the .bin or the metadata.
    """
    files = read_ir_files(source)
    path = files.path
    try:
        model = core.read_model(files.xml.decode(), files.weights)
    except READING_ERRORS as error:
        raise ModelError(path, f'OpenVINO cannot read it ({error_reason(error)})',
                         _COPY_AGAIN) from error
    if not model.has_rt_info([SECTION]):
        return model, None
    section = model.get_rt_info([SECTION]).value
    if not isinstance(section, dict):
        raise _unusable(path, f'{SECTION} is a single value')
    return model, parse_info({name: str(entry) for name, entry in section.items()}, path)


def check_ir_files(xml_path: Path) -> tuple[Path, Path]:
    """
    Return the .xml and the .bin of an IR.

    ModelError if one of them is missing, if the .xml is not an IR, if it describes a constant that
    OpenVINO cannot read, or if the .bin is too short for its constants.
    """
    xml_path, bin_path = _find_files(xml_path)
    needed, _ = _expected_weights(xml_path, _read_xml(xml_path))
    _check_size(bin_path, bin_path.stat().st_size, needed)
    return xml_path, bin_path


def parse_info(entries: Mapping[str, str], path: Path) -> ModelInfo:
    """Return the metadata in the rt_info entries of an IR; ModelError if they are unusable."""
    try:
        return ModelInfo.from_strings(entries)
    except ValueError as error:
        raise _unusable(path, str(error)) from error


def error_reason(error: BaseException) -> str:
    """
    Return the line of an OpenVINO error that names the reason.

    OpenVINO writes the places in its source first, then the node, and the reason last.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reasons = [line for line in lines if not re.match(r'(Exception from|Check) ', line)]
    return (reasons or lines or [type(error).__name__])[-1]


def build_graph(model: 'ov.Model', info: ModelInfo, network_hw: tuple[int, int]) -> 'ov.Model':
    """
    Return a static copy of ``model``: u8 BGR [1, H, W, 3] of network_hw to f32 [1, H, W] maps.

    Colour order, conversion to f32, mean and standard deviation become nodes of the graph.
    """
    from openvino import Layout, Type
    from openvino.preprocess import ColorFormat, PrePostProcessor
    graph = static_copy(model, (1, 3, *network_hw))
    processor = PrePostProcessor(graph)
    image = processor.input()
    image.tensor().set_element_type(Type.u8).set_layout(Layout('NHWC'))
    image.tensor().set_color_format(ColorFormat.BGR)
    image.model().set_layout(Layout('NCHW'))
    steps = image.preprocess().convert_element_type(Type.f32)
    steps.convert_color(ColorFormat.RGB)
    steps.mean([255 * value for value in info.mean_rgb])
    steps.scale([255 * value for value in info.std_rgb])
    for index in range(len(graph.outputs)):
        processor.output(index).tensor().set_element_type(Type.f32)
    return processor.build()


def static_copy(model: 'ov.Model', shape: tuple[int, ...]) -> 'ov.Model':
    """
    Return a copy of a network with this shape of its input, and with static shapes everywhere.

    Ranges of numbers become constants: OpenVINO does not see that their length follows from the
    size of the input, and all shapes after them would be dynamic, which an NPU refuses.
    """
    from openvino import Model
    from openvino.op import Constant
    from openvino.passes import ConstantFolding, Manager
    graph = model.clone()
    graph.reshape(list(shape))
    ranges = [node for node in graph.get_ordered_ops() if node.get_type_name() == 'Range']
    if not ranges:
        return graph
    # Folding the whole graph would also unpack the weights.
    numbers = Model([node.output(0) for node in ranges], graph.get_parameters()).clone()
    folding = Manager()
    folding.register_pass(ConstantFolding())
    folding.run_passes(numbers)
    for node, result in zip(ranges, numbers.get_results()):
        found = result.input_value(0).get_node()
        if found.get_type_name() == 'Constant':
            constant = Constant(found.get_data(), shared_memory=False)
            for target in node.output(0).get_target_inputs():
                target.replace_source_output(constant.output(0))
    graph.validate_nodes_and_infer_types()
    return graph


def _find_files(xml_path: Path) -> tuple[Path, Path]:
    if foreign := foreign_file(xml_path):
        raise ModelError(xml_path, *foreign)
    if xml_path.suffix != '.xml':
        raise ModelError(xml_path, 'it is not an .xml file', _MAKE_ONE)
    bin_path = xml_path.with_suffix('.bin')
    for file in (xml_path, bin_path):
        if not file.is_file():
            raise ModelError(file, 'there is no such file', 'an IR is an .xml and the .bin of the '
                             f'same name beside it; {_MAKE_ONE}')
    if foreign := foreign_file(bin_path):
        raise ModelError(bin_path, *foreign)
    return xml_path, bin_path


def _read_xml(xml_path: Path) -> bytes:
    try:
        return xml_path.read_bytes()
    except OSError as error:
        raise ModelError(xml_path, f'it cannot be read ({error.strerror})', _COPY_AGAIN) from error


def _check_size(bin_path: Path, found: int, needed: int) -> None:
    if found < needed:
        raise ModelError(bin_path, f'it is truncated: {found} bytes of {needed}', _COPY_AGAIN)


def _expected_weights(xml_path: Path, xml: bytes) -> tuple[int, str | None]:
    """Return the size in bytes that the .bin needs, and its sha256 where the .xml has it."""
    end, root, weights_sha256 = 0, '', None
    layer: Mapping[str, str] = {}
    try:
        for _, element in ElementTree.iterparse(io.BytesIO(xml), events=('start',)):
            root = root or element.tag
            if element.tag == 'layer':
                layer = element.attrib
            elif element.tag == 'data' and layer.get('type') == 'Const':
                problem, constant_end = _check_constant(element.attrib)
                if problem:
                    name = layer.get('name', 'without a name')
                    raise ModelError(xml_path, f'its constant {name!r} {problem}', _COPY_AGAIN)
                end = max(end, constant_end)
            elif element.tag == WEIGHTS_SHA256:
                weights_sha256 = element.get('value')
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise ModelError(xml_path, f'it is truncated or not XML ({error})', _COPY_AGAIN) from error
    if root != 'net':
        raise ModelError(xml_path, f'it is XML but not an OpenVINO IR (its root is <{root}>)',
                         _MAKE_ONE)
    return end, weights_sha256


def _check_constant(data: Mapping[str, str]) -> tuple[str, int]:
    """Return what is wrong with the description of a constant, or '', and its end in the .bin."""
    if missing := [name for name in _CONSTANT if name not in data]:
        return f'has no {" and no ".join(missing)}', 0
    bits = _BITS.get(data['element_type'])
    if bits is None:
        return f'has the element type {data["element_type"]!r}, which no depth model has', 0
    try:
        shape = [int(side) for side in data['shape'].split(',') if side.strip()]
        offset, size = int(data['offset']), int(data['size'])
    except ValueError as error:
        return f'has an unreadable shape, offset or size ({error})', 0
    if min([offset, size, *shape]) < 0:
        return 'has a negative shape, offset or size', 0
    needed = (math.prod(shape) * bits + 7) // 8
    if size < needed:
        return f'has {size} bytes instead of {needed}', 0
    return '', offset + size


def _unusable(path: Path, problem: str) -> ModelError:
    return ModelError(path, f'its depth_anything metadata is unusable: {problem}',
                      'make the IR again with `depth_anything_convert`')
