"""IRs from the outside: whether both files are whole and what they say about themselves."""

from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.model_info import ModelInfo, SECTION

if TYPE_CHECKING:
    import openvino

_AGAIN = 'copy both files again or make the IR again'


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
