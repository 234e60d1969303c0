"""The layers of a compiled model: their FLOP, their bytes, and the group of each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import math
import re
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    import openvino as ov

Shape = tuple[int, ...]
ATTENTION_KINDS = frozenset({'MatMul', 'ScaledDotProductAttention'})
PRODUCT_KINDS = frozenset({'FullyConnected', 'MatMul'})
_COUNTED_OPERATIONS = ATTENTION_KINDS | {
    'Convolution', 'ConvolutionBackpropData', 'GroupConvolution'}
PREPARATION, PATCHES = 'input preparation', 'patch embedding'
PROJECTIONS, ATTENTION, MLP = 'qkv and projection', 'attention', 'MLP'
NORMALISATION = 'normalisation and residuals'
CONVOLUTIONS, RESIZING = 'head convolutions', 'head resizing'
LAYOUT, OTHER = 'layout and conversions', 'other'
GROUPS = (PREPARATION, PATCHES, PROJECTIONS, ATTENTION, MLP, NORMALISATION, CONVOLUTIONS,
          RESIZING, LAYOUT, OTHER)

_COLOUR_CHANNELS = 3
_LAYOUT_KINDS = frozenset({
    'Broadcast', 'Concatenation', 'Convert', 'DepthToSpace', 'FakeQuantize', 'Gather', 'Input',
    'Output', 'Pad', 'Permute', 'Reorder', 'Reshape', 'Slice', 'SpaceToDepth', 'Split',
    'StridedSlice', 'Tile', 'Transpose', 'VariadicSplit'})
_NORMALISATION_KINDS = frozenset({'MVN', 'NormalizeL2', 'Reduce', 'RMS'})
_ELEMENTWISE_KINDS = frozenset({'Eltwise', 'Math', 'Subgraph'})
_SIMPLE = {'Softmax': ATTENTION, 'Interpolate': RESIZING,
           **dict.fromkeys(_LAYOUT_KINDS, LAYOUT),
           **dict.fromkeys(_NORMALISATION_KINDS, NORMALISATION)}


@dataclass(frozen=True)
class Operand:
    """
    An input or output of a layer: its shape and the bytes per element.

    ``producer`` is the name of the layer that computes it; ``constant`` is whether it is the same
    for all images.
    """

    shape: Shape
    item_bytes: float
    producer: str = ''
    constant: bool = False

    @property
    def elements(self) -> int:
        """Return the number of elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> float:
        """Return its size in memory."""
        return self.elements * self.item_bytes


@dataclass(frozen=True)
class Node:
    """
    One layer of the compiled model, often several operations of the model fused.

    ``kind`` is OpenVINO's type of the layer, ``precision`` its precision, and ``origins`` are the
    types of the fused operations, as far as they are known.
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

    ``graph`` is the model it was compiled from; its operations give the origins of the layers.
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
    """Return an operand; a constant is stored in the precision of the layer that uses it."""
    found = _operand(value)
    producer = value.get_node().get_friendly_name()
    constant = known[producer].constant
    size = item_bytes(precision) if constant else found.item_bytes
    return Operand(found.shape, size, producer, constant)


def _operand(value: Any) -> Operand:
    return Operand(tuple(value.get_shape()), item_bytes(value.get_element_type().get_type_name()))


def _origins(names: Sequence[str], kinds: dict[str, str]) -> frozenset[str]:
    """Return operation types, from the model by name, else from the name that OpenVINO made."""
    generated = ((name, re.fullmatch(r'([A-Z]\w*?)_\d+', name)) for name in names)
    return frozenset(kinds.get(name) or (match[1] if match else '') for name, match in generated)


def is_fused_attention(node: Node) -> bool:
    """Return whether the layer is the fused products and softmax of one attention block."""
    if node.kind == 'ScaledDotProductAttention':
        return True
    return node.kind == 'Subgraph' and bool(node.origins & ATTENTION_KINDS)


def node_flop(node: Node) -> float:
    """
    Return the multiplications and additions of products, convolutions and attention.

    That is 0 for other layers, whose time is memory access.
    """
    if is_fused_attention(node):
        return _attention_flop(node)
    if node.kind in PRODUCT_KINDS:
        return _product_flop(node.inputs[0], node.inputs[1], node.outputs[0])
    if node.kind == 'Convolution':
        return 2.0 * node.outputs[0].elements * _taps(node.inputs[1].shape, node.outputs[0].shape)
    if node.kind == 'Deconvolution':
        return 2.0 * node.inputs[0].elements * _taps(node.inputs[1].shape, node.outputs[0].shape)
    return 0.0


def node_bytes(node: Node) -> float:
    """Return the bytes of the inputs and outputs of a layer, once each."""
    return sum(operand.size_bytes for operand in (*node.inputs, *node.outputs))


def graph_flop(graph: 'ov.Model') -> float:
    """
    Return the FLOP of a whole static model, counted from its own operations.

    Operations that depend on no input are left out: they are computed once, at compile time.
    """
    changing: set[str] = set()
    total = 0.0
    for op in graph.get_ordered_ops():
        name, kind = op.get_friendly_name(), op.get_type_name()
        sources = [value.get_node().get_friendly_name() for value in op.input_values()]
        if kind == 'Parameter' or kind != 'ShapeOf' and not changing.isdisjoint(sources):
            changing.add(name)
            total += _operation_flop(op, kind) if kind in _COUNTED_OPERATIONS else 0.0
    return total


def _operation_flop(op: Any, kind: str) -> float:
    shapes: list[Shape] = [tuple(value.get_shape()) for value in op.input_values()]
    out: int = math.prod(op.output(0).get_shape())
    if kind == 'MatMul':
        return 2.0 * out * shapes[0][-2 if op.get_attributes()['transpose_a'] else -1]
    if kind == 'Convolution':
        return 2.0 * out * math.prod(shapes[1][1:])
    if kind == 'GroupConvolution':
        return 2.0 * out * math.prod(shapes[1][2:])
    if kind == 'ConvolutionBackpropData':
        return 2.0 * math.prod(shapes[0]) * math.prod(shapes[1][1:])
    return 2.0 * shapes[1][-2] * (math.prod(shapes[0]) + out)


def _attention_flop(node: Node) -> float:
    """
    Return the cost of softmax(q k) v, the softmax not counted.

    The order of heads and tokens depends on which transposition is fused; an image always has more
    tokens than heads.
    """
    out = node.outputs[0].shape
    tokens = max(out[-3:-1])
    query = max(node.activations, key=lambda operand: len(operand.shape))
    return 2.0 * tokens * (query.elements + math.prod(out))


def _product_flop(first: Operand, second: Operand, out: Operand) -> float:
    """Return 2 M N K, whichever operand is transposed: (M K)(K N)(M N) = (M N K)^2."""
    batch = math.prod(out.shape[:-2]) if len(second.shape) > 2 else 1
    return 2.0 * math.sqrt(first.elements * second.elements * out.elements / max(batch, 1))


def _taps(weights: Sequence[int], out: Shape) -> int:
    """Return the products per value; weights of a grouped convolution have one axis more."""
    return math.prod(weights[len(weights) - len(out) + 1:])


@dataclass(frozen=True)
class _Landmarks:
    """Layers before the patch embedding, and the shapes that only attention has."""

    before_patches: frozenset[str]
    attention_shapes: frozenset[Shape]


def group_nodes(nodes: Sequence[Node]) -> dict[str, str]:
    """Return the group of each layer by its name; ``other`` if it fits none."""
    landmarks = _Landmarks(_before(nodes, filter(_is_patch_embedding, nodes)),
                           frozenset(_attention_shapes(nodes)))
    return {node.name: _group(node, landmarks) for node in nodes}


def _group(node: Node, landmarks: _Landmarks) -> str:
    if node.name in landmarks.before_patches:
        return PREPARATION
    if _is_patch_embedding(node):
        return PATCHES
    if is_fused_attention(node) or _is_activation_product(node):
        return ATTENTION
    if node.kind in PRODUCT_KINDS:
        return _group_of_product(node)
    if node.kind in ('Convolution', 'Deconvolution'):
        return CONVOLUTIONS
    if node.kind in _ELEMENTWISE_KINDS:
        return _group_of_elementwise(node.outputs[0].shape, landmarks)
    return _SIMPLE.get(node.kind, OTHER)


def _group_of_product(node: Node) -> str:
    """Return PROJECTIONS for D to D (q, k, v alone or the output) and D to 3 D, else MLP."""
    inputs, outputs = node.inputs[0].shape[-1], node.outputs[0].shape[-1]
    return PROJECTIONS if outputs in (inputs, 3 * inputs) else MLP


def _group_of_elementwise(shape: Shape, landmarks: _Landmarks) -> str:
    """Return the group of a shape: heads of attention, tokens, else feature maps."""
    if shape in landmarks.attention_shapes:
        return ATTENTION
    return NORMALISATION if len(shape) <= 3 else CONVOLUTIONS


def _is_patch_embedding(node: Node) -> bool:
    """Return whether it is a convolution of colours whose kernels do not overlap."""
    if node.kind != 'Convolution' or node.inputs[0].shape[1] != _COLOUR_CHANNELS:
        return False
    kernel_hw, image_hw = node.inputs[1].shape[-2:], node.inputs[0].shape[-2:]
    patches_hw = tuple(pixels // step for pixels, step in zip(image_hw, kernel_hw, strict=True))
    return min(kernel_hw) > 1 and node.outputs[0].shape[-2:] == patches_hw


def _is_activation_product(node: Node) -> bool:
    return node.kind in PRODUCT_KINDS and not node.inputs[1].constant


def _attention_shapes(nodes: Iterable[Node]) -> Iterable[Shape]:
    for node in nodes:
        if is_fused_attention(node) or _is_activation_product(node):
            yield from (operand.shape for operand in (*node.activations, *node.outputs)
                        if len(operand.shape) > 3)


def _before(nodes: Iterable[Node], landmarks: Iterable[Node]) -> frozenset[str]:
    """Return the names of all layers that these landmarks depend on."""
    by_name = {node.name: node for node in nodes}
    found: set[str] = set()
    waiting = list(landmarks)
    while waiting:
        names = {operand.producer for operand in waiting.pop().activations} - found
        found |= names
        waiting += [by_name[name] for name in names]
    return frozenset(found)
