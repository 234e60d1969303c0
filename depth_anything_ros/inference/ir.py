"""
Reads an OpenVINO IR (.xml and .bin) and builds the graph that a device compiles.

The files are checked first, because OpenVINO says little about damaged ones and maps a .bin that
is too short.
"""

from collections.abc import Mapping
from pathlib import Path
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from depth_anything_ros.errors import ModelError
from depth_anything_ros.foreign_files import foreign_file
from depth_anything_ros.model_info import ModelInfo, SECTION

if TYPE_CHECKING:
    import openvino as ov

_MAKE_ONE = 'make an IR with `depth_anything_convert CHECKPOINT.pth -o NAME.xml`'
_COPY_AGAIN = 'copy both files again or make the IR again with `depth_anything_convert`'


def read_model(core: 'ov.Core', path: Path) -> tuple['ov.Model', ModelInfo]:
    """
    Return the network and the metadata of an IR that this package made.

    ModelError as ``read_ir``, and if the metadata are missing or the network does not map one
    image [N, 3, H, W] to one depth map.
    """
    model, info = read_ir(core, path)
    if info is None:
        raise ModelError(path, 'it has no depth_anything metadata',
                         f'add it with `depth_anything_convert {path} -o NAME.xml`')
    inputs, outputs = model.inputs, model.outputs
    if len(inputs) != 1 or len(outputs) != 1 or str(inputs[0].partial_shape).count(',') != 3:
        raise ModelError(path, f'it has {len(inputs)} inputs and {len(outputs)} outputs instead '
                         'of one image [N,3,H,W] and one depth map', _MAKE_ONE)
    return model, info


def read_model_info(path: Path) -> ModelInfo:
    """Return the metadata of an IR that this package made; ModelError as ``read_model``."""
    import openvino as ov
    return read_model(ov.Core(), path)[1]


def read_ir(core: 'ov.Core', path: Path) -> tuple['ov.Model', ModelInfo | None]:
    """
    Return the network and the metadata of any IR; None where it has no metadata.

    ModelError names the fault of the .xml, the .bin or the metadata.
    """
    check_ir_files(path)
    try:
        model = core.read_model(path)
    except RuntimeError as error:
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

    ModelError if one of them is missing, if the .xml is not an IR, or if the .bin is too short
    for the constants that the .xml places in it.
    """
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
    needed = _constants_end(xml_path)
    found = bin_path.stat().st_size
    if found < needed:
        raise ModelError(bin_path, f'it is truncated: {found} bytes of {needed}', _COPY_AGAIN)
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
    Return a static copy of ``model``: u8 BGR [1, H, W, 3] of network_hw to f32 [1, H, W].

    Colour order, conversion to f32, mean and standard deviation become nodes of the graph.
    """
    from openvino import Layout, Type
    from openvino.preprocess import ColorFormat, PrePostProcessor
    graph = model.clone()
    graph.reshape([1, 3, *network_hw])
    processor = PrePostProcessor(graph)
    image = processor.input()
    image.tensor().set_element_type(Type.u8).set_layout(Layout('NHWC'))
    image.tensor().set_color_format(ColorFormat.BGR)
    image.model().set_layout(Layout('NCHW'))
    steps = image.preprocess().convert_element_type(Type.f32)
    steps.convert_color(ColorFormat.RGB)
    steps.mean([255 * value for value in info.mean_rgb])
    steps.scale([255 * value for value in info.std_rgb])
    processor.output().tensor().set_element_type(Type.f32)
    return processor.build()


def _constants_end(xml_path: Path) -> int:
    """Return the offset in the .bin, in bytes, at which the last constant of the .xml ends."""
    end, root = 0, ''
    try:
        for _, element in ElementTree.iterparse(xml_path, events=('start',)):
            root = root or element.tag
            if element.tag == 'data' and 'offset' in element.attrib:
                end = max(end, int(element.attrib['offset']) + int(element.attrib.get('size', 0)))
    except OSError as error:
        raise ModelError(xml_path, f'it cannot be read ({error.strerror})', _COPY_AGAIN) from error
    except (ElementTree.ParseError, ValueError) as error:
        raise ModelError(xml_path, f'it is truncated or not XML ({error})', _COPY_AGAIN) from error
    if root != 'net':
        raise ModelError(xml_path, f'it is XML but not an OpenVINO IR (its root is <{root}>)',
                         _MAKE_ONE)
    return end


def _unusable(path: Path, problem: str) -> ModelError:
    return ModelError(path, f'its depth_anything metadata is unusable: {problem}',
                      'make the IR again with `depth_anything_convert`')
