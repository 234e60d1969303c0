"""What a compiled model runs, layer by layer, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
import math
import re
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    import openvino as ov

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Operand:
    """
    What a layer reads or writes: its shape and the bytes of one element.

    ``producer`` is the name of the layer it comes from; ``constant`` where no image changes it.
    """

    shape: Shape
    item_bytes: float
    producer: str = ''
    constant: bool = False

    @property
    def elements(self) -> int:
        """Return how many values it holds."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> float:
        """Return its size in memory."""
        return self.elements * self.item_bytes


@dataclass(frozen=True)
class Node:
    """
    One layer as the device runs it, several of the model's operations fused into it.

    ``kind`` is OpenVINO's name of the layer's type, ``precision`` what it computes in, and
    ``origins`` are the types of the operations it was made from, as far as they are known.
    """

    name: str
    kind: str
    precision: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    origins: frozenset[str] = frozenset()
    constant: bool = False

    @property
    def activations(self) -> tuple[Operand, ...]:
        """Return the inputs that depend on the image."""
        return tuple(operand for operand in self.inputs if not operand.constant)


def read_nodes(compiled: 'ov.CompiledModel', graph: 'ov.Model') -> list[Node]:
    """
    Return the layers of ``compiled`` that depend on the image, in order of execution.

    ``graph`` is the model it was compiled from, which tells what its layers were made of.
    """
    kinds = {op.get_friendly_name(): op.get_type_name() for op in graph.get_ops()}
    nodes: dict[str, Node] = {}
    for op in compiled.get_runtime_model().get_ordered_ops():
        node = _read(op, nodes, kinds)
        nodes[node.name] = node
    return [node for node in nodes.values() if not node.constant]


def item_bytes(type_name: str) -> float:
    """Return the bytes of one element of a type such as bf16, u8 or i4."""
    bits = re.search(r'\d+', type_name)
    return int(bits[0]) / 8 if bits else 1.0


def _read(op: Any, known: dict[str, Node], kinds: dict[str, str]) -> Node:
    info = op.get_rt_info()
    precision = info['runtimePrecision'].astype(str)
    inputs = [_input(value, known, precision) for value in op.input_values()]
    outputs = [_operand(value) for value in op.outputs()]
    kind = info['layerType'].astype(str)
    constant = kind == 'Const' or bool(inputs) and all(one.constant for one in inputs)
    origins = info['originalLayersNames'].astype(str).split(',')
    return Node(op.get_friendly_name(), kind, precision, tuple(inputs), tuple(outputs),
                _origins(origins, kinds), constant)


def _input(value: Any, known: dict[str, Node], precision: str) -> Operand:
    """Return an operand; constants are kept in the precision of the layer that uses them."""
    found = _operand(value)
    producer = value.get_node().get_friendly_name()
    constant = known[producer].constant
    size = item_bytes(precision) if constant else found.item_bytes
    return Operand(found.shape, size, producer, constant)


def _operand(value: Any) -> Operand:
    return Operand(tuple(value.get_shape()), item_bytes(value.get_element_type().get_type_name()))


def _origins(names: Sequence[str], kinds: dict[str, str]) -> frozenset[str]:
    """Return types: what was in the model by that name, else what OpenVINO named by its type."""
    generated = ((name, re.fullmatch(r'([A-Z]\w*?)_\d+', name)) for name in names)
    return frozenset(kinds.get(name) or (match[1] if match else '') for name, match in generated)
