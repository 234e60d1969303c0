"""What an ONNX file or an IR is; neither OpenVINO nor the weights of ONNX files are loaded."""

from dataclasses import replace
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from depth_anything_ros.convert.inspect.report import (
    describe_files, Inspection, Tensor, with_identity, with_metadata)
from depth_anything_ros.convert.sources.description import missing_facts
from depth_anything_ros.convert.sources.families import recognise
from depth_anything_ros.convert.sources.identity import graph_evidence, resolve_identity
from depth_anything_ros.convert.sources.onnx_files import read_onnx_file
from depth_anything_ros.inference.ir import check_ir_files, check_weights, parse_info
from depth_anything_ros.model_info import ModelInfo, SECTION, WEIGHTS_SHA256
from depth_anything_ros.networks.models import EncoderSpec

_ONNX_TYPES = {'FLOAT': 'f32', 'FLOAT16': 'f16', 'BFLOAT16': 'bf16', 'DOUBLE': 'f64',
               'INT8': 'i8', 'UINT8': 'u8', 'INT4': 'i4', 'UINT4': 'u4'}


def inspect_ir(path: Path, table: tuple[EncoderSpec, ...]) -> Inspection:
    """Return what an IR is; ModelError if it is not one or its files are damaged."""
    files = check_ir_files(path)
    root = ElementTree.parse(path).getroot()
    section = root.find(f'rt_info/{SECTION}')
    info = None if section is None else parse_info(
        {entry.tag: entry.attrib.get('value', '') for entry in section}, path)
    bare, digests = describe_files(path, 'OpenVINO IR', files, _ir_constants(root))
    written = None if section is None else section.find(WEIGHTS_SHA256)
    if written is not None:
        check_weights(path, written.get('value'), digests)
    name, shape = _ir_input(root)
    return _with_facts(replace(bare, input_name=name, input_shape=shape), path, info, table)


def inspect_onnx(path: Path, table: tuple[EncoderSpec, ...]) -> Inspection:
    """Return what an ONNX file is; CheckpointError if it is damaged or lacks a weight file."""
    found = read_onnx_file(path)
    import onnx
    model = onnx.load(path, load_external_data=False)
    bare, _ = describe_files(path, f'ONNX, opset {found.opset}', found.files,
                             map(_onnx_tensor, model.graph.initializer))
    name, shape = _onnx_input(model)
    inspection = _with_facts(replace(bare, input_name=name, input_shape=shape), path, found.info,
                             table)
    if found.info is not None or inspection.kind is not None:
        return inspection
    family = recognise(found)
    facts = family.facts(found) if family else {}
    fixed = shape is not None and len(shape) == 4 and all(shape[2:])
    return replace(inspection, family=family.title if family else None,
                   refusal=family.refusal if family else '', facts=facts,
                   missing=missing_facts(facts, fixed))


def _with_facts(bare: Inspection, path: Path, info: ModelInfo | None,
                table: tuple[EncoderSpec, ...]) -> Inspection:
    identity = resolve_identity(path, None, graph_evidence(path, info, table))
    inspection = with_identity(bare, identity)
    return with_metadata(inspection, info) if info else inspection


def _ir_constants(root: ElementTree.Element) -> list[Tensor]:
    return [Tensor(data.attrib['element_type'], math.prod(_ir_shape(data.attrib['shape'])),
                   int(data.attrib['size']))
            for data in root.iterfind("layers/layer[@type='Const']/data")]


def _ir_input(root: ElementTree.Element) -> tuple[str | None, tuple[int, ...] | None]:
    layer = root.find("layers/layer[@type='Parameter']")
    data = layer.find('data') if layer is not None else None
    if layer is None or data is None:
        return None, None
    return layer.attrib.get('name'), _ir_shape(data.attrib.get('shape', ''))


def _ir_shape(text: str) -> tuple[int, ...]:
    """Return a shape such as 1,3,518,518, with 0 for ? and for a range."""
    sides = [side.strip() for side in text.split(',') if side.strip()]
    return tuple(int(side) if side.isdigit() else 0 for side in sides)


def _onnx_tensor(tensor: Any) -> Tensor:
    from onnx import helper, TensorProto
    elements = math.prod(tensor.dims)
    try:
        name = TensorProto.DataType.Name(tensor.data_type)
        item = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, ValueError):
        return Tensor(f'type {tensor.data_type}', elements, 0)
    return Tensor(_ONNX_TYPES.get(name, name.lower()), elements, elements * item)


def _onnx_input(model: Any) -> tuple[str | None, tuple[int, ...] | None]:
    stored = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in stored:
            return value.name, tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
    return None, None
