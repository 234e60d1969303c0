"""Reading an IR: the files are checked first, because OpenVINO's own messages say little."""

from pathlib import Path
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from depth_anything_ros.errors import ModelError
from depth_anything_ros.model_info import ModelInfo, SECTION

if TYPE_CHECKING:
    import openvino as ov

_MAKE_ONE = 'make an IR with `depth_anything_convert CHECKPOINT.pth -o NAME.xml`'
_COPY_AGAIN = 'copy both files again or convert the checkpoint again'


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
