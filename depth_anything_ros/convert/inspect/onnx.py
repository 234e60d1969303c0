"""What an ONNX file is, read without its weights."""

import math
from pathlib import Path
from typing import Any

from depth_anything_ros.convert.inspect.report import (
    count_weights, from_file_name, from_metadata, Inspection, sizes_and_digest, Tensor)
from depth_anything_ros.convert.sources.onnx_files import read_onnx_file
from depth_anything_ros.networks.models import ModelSpec

_TYPES = {'FLOAT': 'f32', 'FLOAT16': 'f16', 'BFLOAT16': 'bf16', 'DOUBLE': 'f64', 'INT8': 'i8',
          'UINT8': 'u8', 'INT4': 'i4', 'UINT4': 'u4'}


def inspect_onnx(path: Path, table: tuple[ModelSpec, ...]) -> Inspection:
    """
    Return what an ONNX file is, from its metadata, else from an official file name.

    CheckpointError if it is damaged or a file with its weights is missing.
    """
    outside = read_onnx_file(path)
    import onnx
    model = onnx.load(path, load_external_data=False)
    sizes, digest = sizes_and_digest(outside.files)
    parameters, precision = count_weights(_tensor(one) for one in model.graph.initializer)
    name, shape = _input(model)
    bare = Inspection(str(path), f'ONNX, opset {outside.opset}', sizes, digest, parameters,
                      precision, input_name=name, input_shape=shape)
    if outside.info is not None:
        return from_metadata(bare, outside.info, 'the metadata of the ONNX file')
    return from_file_name(bare, path.name, table)


def _tensor(tensor: Any) -> Tensor:
    from onnx import helper, TensorProto
    name = TensorProto.DataType.Name(tensor.data_type)
    elements = math.prod(tensor.dims)
    item = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return Tensor(_TYPES.get(name, name.lower()), elements, elements * item)


def _input(model: Any) -> tuple[str | None, tuple[int, ...] | None]:
    stored = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in stored:
            return value.name, tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
    return None, None
