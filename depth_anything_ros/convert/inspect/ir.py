"""What an IR is, read from its .xml; neither OpenVINO nor the weights are loaded."""

import math
from pathlib import Path
from xml.etree import ElementTree

from depth_anything_ros.convert.inspect.report import (
    count_weights, from_file_name, from_metadata, Inspection, sizes_and_digest, Tensor)
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.inference.ir import check_ir_files
from depth_anything_ros.model_info import ModelInfo, SECTION
from depth_anything_ros.networks.models import ModelSpec


def inspect_ir(path: Path, table: tuple[ModelSpec, ...]) -> Inspection:
    """
    Return what an IR is, from its metadata, else from an official file name.

    CheckpointError if it is none or its files are damaged.
    """
    files = check_ir_files(path)
    root = ElementTree.parse(path).getroot()
    name, shape = _input(root)
    sizes, digest = sizes_and_digest(files)
    parameters, precision = count_weights(_constants(root))
    bare = Inspection(str(path), 'OpenVINO IR', sizes, digest, parameters, precision,
                      input_name=name, input_shape=shape)
    info = _info(root, path)
    if info is None:
        return from_file_name(bare, path.name, table)
    return from_metadata(bare, info, 'the metadata of the IR')


def _constants(root: ElementTree.Element) -> list[Tensor]:
    return [Tensor(data.attrib['element_type'], math.prod(_shape(data.attrib['shape'])),
                   int(data.attrib['size']))
            for data in root.iterfind("layers/layer[@type='Const']/data")]


def _input(root: ElementTree.Element) -> tuple[str | None, tuple[int, ...] | None]:
    layer = root.find("layers/layer[@type='Parameter']")
    data = layer.find('data') if layer is not None else None
    if layer is None or data is None:
        return None, None
    return layer.attrib.get('name'), _shape(data.attrib['shape'])


def _shape(text: str) -> tuple[int, ...]:
    """Return a shape such as 1,3,518,518, with 0 for ? and for a range."""
    sides = [side.strip() for side in text.split(',') if side.strip()]
    return tuple(int(side) if side.isdigit() else 0 for side in sides)


def _info(root: ElementTree.Element, path: Path) -> ModelInfo | None:
    section = root.find(f'rt_info/{SECTION}')
    if section is None:
        return None
    try:
        return ModelInfo.from_strings({entry.tag: entry.attrib.get('value', '')
                                       for entry in section})
    except ValueError as error:
        raise CheckpointError(path, f'its depth_anything metadata is unusable: {error}',
                              'make the IR again with depth_anything_convert') from error
