"""
Small stand-ins for the networks of others, with random weights, as ONNX files.

They have the features of the originals that matter to a converter: names of layers, opset, fused
RepVGG convolutions, unfold and convex upsampling, normalisation inside, several outputs.
"""

from pathlib import Path
from typing import Any

import numpy as np

# What a YAML file says on a network that gives inverse depth of RGB in 0..1.
FACTS: dict[str, Any] = {
    'output': 'inverse_depth', 'metres': False, 'resize': 'shortest_side', 'color': 'rgb',
    'mean': [0.0, 0.0, 0.0], 'std': [1.0, 1.0, 1.0], 'multiple': 16, 'size': 64}
# What each output of ``write_network`` is of the image in 0..1: a positive sum of its channels.
CHANNEL_WEIGHTS = (1.0, 2.0, 4.0)


def write_zipdepth(path: Path, size_hw: tuple[int, int], *, unfold: bool = True) -> Path:
    """Write a network like ZipDepth as its exporter does: fused and of one size."""
    import torch
    from zipdepth_stand_in import ZipDepthStandIn

    torch.manual_seed(3)
    torch.onnx.export(ZipDepthStandIn(unfold).eval(), (torch.rand(1, 3, *size_hw),), path,
                      dynamo=True, verbose=False, input_names=['image'], output_names=['depth'],
                      opset_version=18, external_data=False)
    return path


# The operators that make an output ``name`` of s, and of the constants one and three.
_OPERATORS: dict[str, tuple[tuple[str, tuple[str, ...], str, dict[str, Any]], ...]] = {
    'linear': (('Add', ('s', 'one'), '', {}),),
    'log': (('Sub', ('s', 'three'), '', {}),),
    'exp': (('Sub', ('s', 'three'), '_log', {}), ('Exp', ('_log',), '', {})),
    'step': (('Less', ('s', 'one'), '_is', {}), ('Cast', ('_is',), '', {'to': 1})),
    'points': (('Concat', ('s', 's', 's'), '_c', {'axis': 1}),
               ('Transpose', ('_c',), '', {'perm': [0, 2, 3, 1]})),
    'number': (('ReduceMean', ('s',), '', {'keepdims': 0}),)}


def write_network(path: Path, outputs: dict[str, str], *,
                  shape: tuple[Any, ...] = (1, 3, 'h', 'w'), stride: int = 1,
                  properties: dict[str, str] | None = None, given: str = 'image',
                  constants: tuple[str, ...] = (), opset: int = 17) -> Path:
    """
    Write a network whose outputs are functions of s, R + 2 G + 4 B of its input.

    ``outputs`` maps their names to: linear (s + 1), exp (e^(s - 3)), log (s - 3), step (1 where
    s < 1), points ([N, H, W, 3]), number (one value). Maps are [N, 1, H / stride, W / stride].
    Each name in ``constants`` is an int64 input that multiplies s.
    """
    import onnx

    helper, tensor = onnx.helper, onnx.numpy_helper.from_array
    kernel = np.float32(CHANNEL_WEIGHTS).reshape(1, 3, 1, 1) / stride ** 2
    stored = [tensor(np.tile(kernel, (1, 1, stride, stride)), 'kernel'),
              tensor(np.float32([1]), 'one'), tensor(np.float32([3]), 'three')]
    nodes = [helper.make_node('Conv', [given, 'kernel'], ['sum'], strides=[stride, stride])]
    last = 'sum'
    for name in constants:
        nodes += [helper.make_node('Cast', [name], [f'{name}_f'], to=1),
                  helper.make_node('Mul', [last, f'{name}_f'], [f'sum_{name}'])]
        last = f'sum_{name}'
    nodes.append(helper.make_node('Identity', [last], ['s']))
    for name, what in outputs.items():
        nodes += [helper.make_node(
            operator, [name + one if one.startswith('_') else one for one in inputs],
            [name + made], **options) for operator, inputs, made, options in _OPERATORS[what]]
    inputs = [helper.make_tensor_value_info(given, onnx.TensorProto.FLOAT, shape)]
    inputs += [helper.make_tensor_value_info(name, onnx.TensorProto.INT64, [])
               for name in constants]
    graph = helper.make_graph(
        nodes, 'stand-in', inputs, [helper.make_tensor_value_info(
            name, onnx.TensorProto.FLOAT, None) for name in outputs], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)], ir_version=9)
    helper.set_model_props(model, properties or {})
    onnx.save(model, path)
    return path


def sum_of(image_bgr: np.ndarray) -> np.ndarray:
    """Return R + 2 G + 4 B in 0..7 of an 8-bit BGR image, the s of ``write_network``."""
    return (image_bgr[..., ::-1].astype(np.float32) / 255) @ np.float32(CHANNEL_WEIGHTS)


def write_facts(path: Path, **changes: Any) -> Path:
    """Write ``FACTS`` with changes as YAML; None removes a fact."""
    import yaml

    facts = {name: value for name, value in {**FACTS, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(facts), encoding='utf-8')
    return path
