"""A tiny OpenVINO IR whose output can be computed by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from depth_anything_ros.model_info import ModelInfo, SECTION, SelfCheck
from depth_anything_ros.vision import self_check
import numpy as np

RGB_WEIGHTS = (1.0, 2.0, 4.0)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

TINY_INFO = ModelInfo(
    encoder='vits', kind='relative', model_version='v2', max_depth_m=None, patch_multiple=14,
    mean_rgb=MEAN, std_rgb=STD, input_size=112, source_name='tiny.pth', source_sha256='0' * 64,
    licence='Apache-2.0', precision='fp32', converter_version='0.1.0',
    self_check=SelfCheck((1, 1), (1, 1), 1.0, (0.0,)))


def weighted_sum(image_bgr: np.ndarray) -> np.ndarray:
    """Return what the tiny network computes of an 8-bit BGR image: R + 2 G + 4 B in 0..7."""
    red, green, blue = (image_bgr[..., channel].astype(np.float32) / 255 for channel in (2, 1, 0))
    return RGB_WEIGHTS[0] * red + RGB_WEIGHTS[1] * green + RGB_WEIGHTS[2] * blue


def _network(slow_layers: int, gain: float) -> Any:
    import openvino as ov
    from openvino import opset13 as op
    image = op.parameter([-1, 3, -1, -1], np.float32, name='image')
    rgb = op.add(op.multiply(image, np.float32(STD).reshape(1, 3, 1, 1)),
                 np.float32(MEAN).reshape(1, 3, 1, 1))
    weighted = op.multiply(rgb, np.float32(RGB_WEIGHTS).reshape(1, 3, 1, 1) * np.float32(gain))
    depth = op.reduce_sum(weighted, np.int64([1]), keep_dims=True)
    if slow_layers:
        rng = np.random.default_rng(0)
        slow = op.convolution(image, _kernel(rng, 3), [1, 1], [1, 1], [1, 1], [1, 1])
        for _ in range(slow_layers):
            slow = op.relu(op.convolution(slow, _kernel(rng, 64), [1, 1], [1, 1], [1, 1], [1, 1]))
        trace = op.multiply(op.reduce_mean(slow, np.int64([1]), keep_dims=True), np.float32(1e-9))
        depth = op.add(depth, trace)
    depth = op.squeeze(depth, np.int64([1]))
    return ov.Model([op.result(depth, name='depth')], [image], 'tiny')


def _kernel(rng: np.random.Generator, channels: int) -> np.ndarray:
    return (rng.standard_normal((64, channels, 3, 3)) * 0.03).astype(np.float32)


def write_tiny_ir(folder: Path, slow_layers: int = 0, gain: float = 1.0,
                  wrong_check: bool = False, metadata: bool = True, **changes: Any) -> Path:
    """
    Write tiny.xml and tiny.bin into ``folder`` and return the path of the .xml.

    ``slow_layers`` convolutions make it slow, ``wrong_check`` stores a self-check that no device
    can pass, ``changes`` go to the metadata.
    """
    import openvino as ov
    model = _network(slow_layers, gain)
    scale = np.float32(gain if np.isfinite(gain) else 1)
    expected = weighted_sum(self_check.self_check_image()) * scale
    if wrong_check:
        expected = expected[::-1].copy()
    if metadata:
        info = replace(TINY_INFO, self_check=self_check.make_self_check(expected), **changes)
        for key, value in info.to_strings().items():
            model.set_rt_info(value, [SECTION, key])
    path = folder / 'tiny.xml'
    ov.save_model(model, str(path), compress_to_fp16=False)
    return path


def write_weighted_sum(path: Path, gain: float = 1.0) -> Path:
    """Write the tiny network, R + 2 G + 4 B of the image in 0..1, as an ONNX file."""
    import onnx

    helper, tensor = onnx.helper, onnx.numpy_helper.from_array
    weights = gain * np.float32(RGB_WEIGHTS)
    scale = tensor((weights * np.float32(STD)).reshape(1, 3, 1, 1), 'scale')
    shift = tensor((weights * np.float32(MEAN)).reshape(1, 3, 1, 1), 'shift')
    nodes = [helper.make_node('Mul', ['image', 'scale'], ['scaled']),
             helper.make_node('Add', ['scaled', 'shift'], ['weighted']),
             helper.make_node('ReduceSum', ['weighted', 'axis'], ['depth'], keepdims=0)]
    given = helper.make_tensor_value_info('image', onnx.TensorProto.FLOAT, ['n', 3, 'h', 'w'])
    out = helper.make_tensor_value_info('depth', onnx.TensorProto.FLOAT, ['n', 'h', 'w'])
    graph = helper.make_graph(nodes, 'g', [given], [out],
                              [scale, shift, tensor(np.int64([1]), 'axis')])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)],
                                ir_version=9), path)
    return path
