"""
Which part of the network a layer belongs to.

Decided by types, shapes and order, because names differ with the program that exported the model.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from depth_anything_ros.tools.benchmarking.layer_costs import is_fused_attention, PRODUCT_KINDS
from depth_anything_ros.tools.benchmarking.runtime_nodes import Node, Shape

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
class _Landmarks:
    """What comes before the patch embedding, and the shapes that only attention has."""

    before_patches: frozenset[str]
    attention_shapes: frozenset[Shape]


def group_nodes(nodes: Sequence[Node]) -> dict[str, str]:
    """Return the group of each layer by its name; one that fits nothing is in ``other``."""
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
    """Return the projections for D to D (q, k, v apart or the last) and D to 3 D, else the MLP."""
    inputs, outputs = node.inputs[0].shape[-1], node.outputs[0].shape[-1]
    return PROJECTIONS if outputs in (inputs, 3 * inputs) else MLP


def _group_of_elementwise(shape: Shape, landmarks: _Landmarks) -> str:
    """Return where tensors of this shape are: heads of attention, tokens, else maps."""
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
    """Return the names of all layers whose results these landmarks depend on."""
    by_name = {node.name: node for node in nodes}
    found: set[str] = set()
    waiting = list(landmarks)
    while waiting:
        names = {operand.producer for operand in waiting.pop().activations} - found
        found |= names
        waiting += [by_name[name] for name in names]
    return frozenset(found)
