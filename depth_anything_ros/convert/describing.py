"""What a converted model will say about itself."""

from dataclasses import replace
from pathlib import Path

from depth_anything_ros import __version__
from depth_anything_ros.convert.network.inputs import NetworkInput
from depth_anything_ros.convert.proving.parity import card_input
from depth_anything_ros.convert.proving.runners import Runner
from depth_anything_ros.convert.reading.graphs import Graph
from depth_anything_ros.convert.reading.variants import Variant
from depth_anything_ros.convert.sizes import Size
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.model_info import ModelInfo, Precision, SelfCheck
from depth_anything_ros.vision.selfcheck import describe

# Rounding in f32 alone makes that much of a constant.
_FLAT = 1e-5


def self_check(path: Path, reference: Runner, taken: NetworkInput,
               size_hw: Size | None = None) -> SelfCheck:
    """
    Return what the reference answers to the test card, of ``size_hw`` where only that can be.

    ``taken`` is the image that the network takes. CheckpointError if the answer is no finite
    number or the same everywhere.
    """
    output = reference.run(card_input(size_hw or taken.card_size_hw, taken))
    try:
        check = describe(output)
    except ValueError as error:
        raise CheckpointError(path, f'its depth is no finite number ({error})',
                              'download or train it again') from error
    if check.std <= _FLAT * abs(output).max():
        raise CheckpointError(path, 'it gives the same depth everywhere, as untrained weights do',
                              'download or train it again')
    return check


def describe_model(variant: Variant, sha256: str, precision: Precision, check: SelfCheck,
                   taken: NetworkInput, fixed_size_hw: Size | None) -> ModelInfo:
    """Return the metadata of a model that is made from the source with this sha256."""
    return ModelInfo(
        encoder=variant.encoder, kind=variant.kind, model_version=variant.model_version,
        max_depth_m=variant.max_depth_m, patch_multiple=taken.multiple, mean_rgb=taken.mean_rgb,
        std_rgb=taken.std_rgb, input_size=taken.size, source_name=variant.source_name,
        source_sha256=sha256, licence=variant.licence, precision=precision,
        converter_version=__version__, self_check=check, fixed_size_hw=fixed_size_hw)


def describe_graph(graph: Graph, variant: Variant, precision: Precision,
                   fixed_size_hw: Size | None, reference: Runner) -> ModelInfo:
    """
    Return the metadata of an IR that is made from a graph.

    What the graph says of itself stays, its self-check too unless that has another size.
    """
    told = graph.info
    if told is None or fixed_size_hw not in (None, told.self_check.size_hw):
        check = self_check(graph.path, reference, graph.taken, fixed_size_hw)
    else:
        check = told.self_check
    made = describe_model(variant, graph.sha256, precision, check, graph.taken, fixed_size_hw)
    if told is None:
        return made
    return replace(told, encoder=made.encoder, kind=made.kind, model_version=made.model_version,
                   max_depth_m=made.max_depth_m, precision=precision, self_check=check,
                   fixed_size_hw=fixed_size_hw)


def wanted_precision(graph: Graph, asked: Precision | None) -> Precision:
    """
    Return the precision to store a graph's weights in: fp16 unless asked, but an IR keeps its own.

    CheckpointError if that would need what rounding took away.
    """
    if graph.precision == 'fp32':
        return asked or ('fp32' if graph.path.suffix == '.xml' else 'fp16')
    if asked not in (None, graph.precision):
        raise CheckpointError(
            graph.path, f'its weights are {graph.precision} and cannot become {asked}',
            'leave out --precision, or convert the checkpoint that it was made from')
    return graph.precision
