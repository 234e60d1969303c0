"""
An OpenVINO model with FakeQuantize nodes as a PyTorch function, to train its weights.

The function computes the graph that NNCF made, with its quantizers and their ranges, so the
trained weights fit into that graph.
"""

from dataclasses import dataclass
from typing import Any, TYPE_CHECKING

from depth_anything_ros.convert.quantize.layers import FAKE_QUANTIZE, nodes_dependent_on_image
from depth_anything_ros.convert.quantize.operators import OPERATORS, SHAPED, UntrainableError
from depth_anything_ros.inference.devices import open_core
import numpy as np
import torch
from torch import nn, Tensor

if TYPE_CHECKING:
    import openvino

_FLOATS = ('f16', 'f32')
# What may stand between the weights of a layer and the layer.
_BETWEEN = (FAKE_QUANTIZE, 'Reshape', 'Transpose', 'Squeeze', 'Unsqueeze')

# Name of a node and index of its output.
_Key = tuple[str, int]


@dataclass(frozen=True)
class Weight:
    """
    A constant of the model that can be trained.

    ``node`` is the constant and ``source`` the node whose output is used: the conversion to f32 of
    a constant in f16, else the constant itself. ``quantized``: a FakeQuantize node follows.
    """

    node: Any
    source: Any
    values: nn.Parameter
    quantized: bool


class TorchGraph:
    """
    The depth [1, H, W] of an image [1, 3, H, W] of the model's fixed size, in PyTorch.

    UntrainableError names an operator of the model that has no counterpart here.
    """

    def __init__(self, model: 'openvino.Model') -> None:
        self._image = _key(model.input(0))
        self._depth = _key(model.output(0).get_node().input_value(0))
        self._weights: dict[_Key, Weight] = {}
        reached = nodes_dependent_on_image(model)
        constants: dict[_Key, Any] = {}
        replayed = set()
        for node in model.get_ordered_ops():
            if node.get_name() not in reached:
                continue
            for value in _inputs(node):
                if value.get_node().get_name() in reached:
                    continue
                chain = [] if node.get_type_name() == FAKE_QUANTIZE else _chain(value)
                if not chain:
                    constants[_key(value)] = value
                for part in chain[:-1]:
                    replayed.add(part.get_name())
                    constants.update((_key(other), other) for other in _inputs(part)[1:])
                if chain:
                    self._add_weight(chain)
        program = reached | replayed
        # The keys are those of the constants that ``store`` replaces.
        self._nodes = [(node, [_key(value) for value in _inputs(node)])
                       for node in model.get_ordered_ops() if node.get_name() in program
                       and node.get_type_name() not in ('Parameter', 'Result')]
        unknown = {node.get_type_name() for node, _ in self._nodes} - OPERATORS.keys()
        if unknown:
            raise UntrainableError(f'the operator {min(unknown)}')
        self._constants = _evaluate(model, constants)

    @property
    def weights(self) -> list[Weight]:
        """Return all that can be trained."""
        return list(self._weights.values())

    def __call__(self, image: Tensor, quantized: bool = True) -> Tensor:
        """Return the depth [1, H, W]; without ``quantized`` nothing is rounded."""
        values: dict[_Key, Tensor] = dict(self._constants)
        values.update((key, weight.values) for key, weight in self._weights.items())
        values[self._image] = image
        for node, keys in self._nodes:
            inputs = [values[key] for key in keys]
            kind = node.get_type_name()
            if kind == FAKE_QUANTIZE and not quantized:
                values[node.get_name(), 0] = inputs[0]
                continue
            result = OPERATORS[kind](node, *inputs)
            outputs = (result,) if isinstance(result, Tensor) else result
            values.update(((node.get_name(), index), one) for index, one in enumerate(outputs))
        depth = values[self._depth]
        return depth.reshape(1, *depth.shape[-2:])

    def store(self) -> None:
        """
        Write the weights into the model.

        A quantized weight becomes f32, so that it is rounded only once, to 8 bit. Another one
        keeps its type, and ``values`` are rounded to it.
        """
        from openvino import opset13 as op

        for weight in self._weights.values():
            values = weight.values.detach().numpy()
            replaced = weight.source
            if not weight.quantized:
                replaced = weight.node
                values = values.astype(weight.node.data.dtype)
                with torch.no_grad():
                    weight.values.copy_(torch.from_numpy(values.astype(np.float32)))
            constant = op.constant(np.ascontiguousarray(values))
            constant.set_friendly_name(weight.node.get_friendly_name())
            for target in list(replaced.output(0).get_target_inputs()):
                target.replace_source_output(constant.output(0))

    def _add_weight(self, chain: list[Any]) -> None:
        """Add the constant at the end of a chain, unless another layer shares it."""
        source = chain[-1]
        quantized = any(node.get_type_name() == FAKE_QUANTIZE for node in chain)
        node = _constant(source)
        values = nn.Parameter(torch.from_numpy(node.data.astype(np.float32)))
        self._weights.setdefault((source.get_name(), 0), Weight(node, source, values, quantized))


def _key(value: Any) -> _Key:
    return value.get_node().get_name(), value.get_index()


def _inputs(node: Any) -> list[Any]:
    """Return the inputs that the operator of a node takes."""
    values = node.input_values()
    return values[:1] if node.get_type_name() in SHAPED else values


def _chain(value: Any) -> list[Any]:
    """Return the nodes from an input of a layer back to its weights, [] if it has none."""
    nodes = [value.get_node()]
    while nodes[-1].get_type_name() in _BETWEEN:
        nodes.append(nodes[-1].input_value(0).get_node())
    constant = _constant(nodes[-1])
    if constant is None or constant.get_element_type().get_type_name() not in _FLOATS:
        return []
    if nodes[-1].get_output_element_type(0).get_type_name() != 'f32':
        return []
    # A single number is a factor or a bound, not a weight.
    return nodes if constant.data.size > 1 else []


def _constant(node: Any) -> Any:
    """Return the constant that a node is or converts, None if it is something else."""
    if node.get_type_name() == 'Convert':
        node = node.input_value(0).get_node()
    return node if node.get_type_name() == 'Constant' else None


def _evaluate(model: 'openvino.Model', outputs: dict[_Key, Any]) -> dict[_Key, Tensor]:
    """Return the values of outputs that do not depend on the image, only on its size."""
    import openvino
    from openvino import opset13 as op

    found = {}
    computed: dict[_Key, Any] = {}
    for key, value in outputs.items():
        node = value.get_node()
        if node.get_type_name() == 'Constant':
            found[key] = _tensor(node.data)
        else:
            computed[key] = value
    if computed:
        part = openvino.Model([op.result(value) for value in computed.values()],
                              model.get_parameters(), 'constants')
        compiled = open_core().compile_model(part, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
        results = compiled([np.zeros(list(model.input(0).shape), np.float32)])
        found.update((key, _tensor(results[index])) for index, key in enumerate(computed))
    return found


def _tensor(values: Any) -> Tensor:
    array = np.array(values)
    return torch.from_numpy(array.astype(np.float32) if array.dtype.kind == 'f' else array)
