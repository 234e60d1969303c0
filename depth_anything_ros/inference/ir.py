"""Reading an IR: the files are checked first, because OpenVINO's own messages say little."""

from pathlib import Path
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from depth_anything_ros.errors import CheckpointError, ModelError
from depth_anything_ros.model_info import ModelInfo, SECTION

if TYPE_CHECKING:
    import openvino
    import openvino as ov

_MAKE_ONE = 'make an IR with `depth_anything_convert CHECKPOINT.pth -o NAME.xml`'
_COPY_AGAIN = 'copy both files again or convert the checkpoint again'
_AGAIN = 'copy both files again or make the IR again'


def read_model(core: 'ov.Core', path: Path) -> tuple['ov.Model', ModelInfo]:
    """
    Return the network and its metadata.

    ModelError names what is wrong with the .xml, the .bin, the metadata or the input and output.
    """
    check_files(path)
    try:
        model = core.read_model(str(path))
    except RuntimeError as error:
        raise ModelError(path, f'OpenVINO cannot read it ({first_line(error)})',
                         _COPY_AGAIN) from error
    info = _read_info(model, path)
    inputs, outputs = model.inputs, model.outputs
    if len(inputs) != 1 or len(outputs) != 1 or str(inputs[0].partial_shape).count(',') != 3:
        raise ModelError(path, f'it has {len(inputs)} inputs and {len(outputs)} outputs instead '
                         'of one image [N,3,H,W] and one depth map', _MAKE_ONE)
    return model, info


def check_files(path: Path) -> None:
    """Raise ModelError unless ``path`` is an IR and its .bin holds every constant it names."""
    if path.suffix != '.xml':
        raise ModelError(path, 'it is not an .xml file', _MAKE_ONE)
    weights = path.with_suffix('.bin')
    for file in (path, weights):
        if not file.is_file():
            raise ModelError(file, 'there is no such file', _MAKE_ONE)
    needed = _weights_bytes(path)
    found = weights.stat().st_size
    if found < needed:
        raise ModelError(weights, f'it is truncated: {found} bytes of {needed}', _COPY_AGAIN)


def first_line(error: BaseException) -> str:
    """Return the sentence of an OpenVINO error that says something."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not re.match(r'(Exception from|Check )', line)]
    return (telling or lines or [type(error).__name__])[0]


def _weights_bytes(path: Path) -> int:
    """Return the end of the last constant that the .xml places in the .bin."""
    needed, root = 0, ''
    try:
        for _, element in ElementTree.iterparse(path, events=('start',)):
            root = root or element.tag
            if element.tag == 'data' and 'offset' in element.attrib:
                end = int(element.attrib['offset']) + int(element.attrib.get('size', 0))
                needed = max(needed, end)
    except OSError as error:
        raise ModelError(path, f'it cannot be read ({error.strerror})', _COPY_AGAIN) from error
    except (ElementTree.ParseError, ValueError, UnicodeDecodeError) as error:
        raise ModelError(path, f'it is truncated or not XML ({error})', _COPY_AGAIN) from error
    if root != 'net':
        raise ModelError(path, f'it is XML but no OpenVINO IR (its root is <{root}>)', _MAKE_ONE)
    return needed


def _read_info(model: 'ov.Model', path: Path) -> ModelInfo:
    if not model.has_rt_info([SECTION]):
        raise ModelError(path, 'it has no depth_anything metadata', _MAKE_ONE)
    section = model.get_rt_info([SECTION]).value
    try:
        return ModelInfo.from_strings({key: str(entry) for key, entry in section.items()})
    except (ValueError, AttributeError) as error:
        raise ModelError(path, f'its depth_anything metadata is unusable: {error}',
                         _MAKE_ONE) from error


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


def check_ir_files(xml_path: Path) -> tuple[Path, Path]:
    """
    Return the .xml and the .bin of an IR.

    CheckpointError if one is missing, if the .xml is none of an IR or if the .bin is too short for
    the constants; OpenVINO would map it all the same.
    """
    weights = xml_path.with_suffix('.bin')
    for file in (xml_path, weights):
        if not file.is_file():
            raise CheckpointError(file, 'there is no such file', 'give an .xml whose .bin is '
                                  'beside it')
    needed, root = 0, ''
    try:
        for _, element in ElementTree.iterparse(xml_path, events=('start',)):
            root = root or element.tag
            if element.tag == 'data' and 'offset' in element.attrib:
                end = int(element.attrib['offset']) + int(element.attrib.get('size', 0))
                needed = max(needed, end)
    except (ElementTree.ParseError, ValueError) as error:
        raise CheckpointError(xml_path, f'it is truncated or not XML ({error})',
                              _AGAIN) from error
    if root != 'net':
        raise CheckpointError(xml_path, f'it is XML but no OpenVINO IR (its root is <{root}>)',
                              'give the .xml of an IR')
    found = weights.stat().st_size
    if found < needed:
        raise CheckpointError(weights, f'it is truncated: {found} bytes of {needed}', _AGAIN)
    return xml_path, weights


def read_ir_info(model: 'openvino.Model', path: Path) -> ModelInfo | None:
    """Return the metadata of an IR, None if it has none; CheckpointError if it is unusable."""
    if not model.has_rt_info([SECTION]):
        return None
    section = model.get_rt_info([SECTION]).value
    try:
        return ModelInfo.from_strings({key: str(entry) for key, entry in section.items()})
    except (ValueError, AttributeError) as error:
        raise CheckpointError(path, f'its depth_anything metadata is unusable ({error})',
                              'make the IR again') from error
