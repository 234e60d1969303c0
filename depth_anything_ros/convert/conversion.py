"""The whole way from a checkpoint, an ONNX file or an IR to a proven model."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from depth_anything_ros.cli.progress import Report, Steps
from depth_anything_ros.convert.export import export_onnx, OnnxOptions, save_ir
from depth_anything_ros.convert.parity.measure import card_input, Gates, measure, ParityReport
from depth_anything_ros.convert.parity.runners import ir_runner, onnx_runner, Runner, torch_runner
from depth_anything_ros.convert.sources.graphs import (
    check_batch, check_sizes, fix_shape, fixed_size, Graph, is_graph, read_graph, Size,
    sizes_allowed)
from depth_anything_ros.convert.sources.identity import (
    ModelIdentity, Overrides, resolve_graph_identity)
from depth_anything_ros.convert.sources.load_network import load_network
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.files import check_target, publish, staged
from depth_anything_ros.model_info import ModelInfo, Precision, SelfCheck
from depth_anything_ros.networks.models import InputSpec, MODELS, ModelSpec
from depth_anything_ros.version import __version__
from depth_anything_ros.vision.self_check import make_self_check

# An ONNX file in f32 and an IR that is at most as large, and some air.
_SPACE_FACTOR = 2.2
_GRAPH_SPACE_FACTOR = 1.1
# Rounding in f32 alone makes that much of a constant.
_FLAT = 1e-5


@dataclass(frozen=True)
class Job:
    """
    What to convert into what: a checkpoint, an .onnx or an .xml into an .xml.

    ``precision`` None is fp16, and for an .xml the one that it has. ``size_hw`` fixes height and
    width, ``batch`` the number of images; None and 0 leave them open.
    """

    source: Path
    output: Path
    precision: Precision | None = None
    overrides: Overrides = field(default_factory=Overrides)
    overwrite: bool = False
    size_hw: Size | None = None
    batch: int = 0


@dataclass(frozen=True)
class ExportJob:
    """Which checkpoint to export to which .onnx and how."""

    source: Path
    output: Path
    options: OnnxOptions = field(default_factory=OnnxOptions)
    overrides: Overrides = field(default_factory=Overrides)
    overwrite: bool = False


@dataclass(frozen=True)
class Conversion:
    """A finished model: its .xml or .onnx, what it says about itself and how it was proven."""

    path: Path
    info: ModelInfo
    parity: ParityReport


def convert(job: Job, *, table: tuple[ModelSpec, ...] = MODELS,
            sizes_hw: Sequence[Size] = (), gates: Gates | None = None,
            report: Report = print) -> Conversion:
    """
    Write the IR of a model, prove it against its source and return what was measured.

    Without ``sizes_hw`` they are compared at three sizes of the network's own. CheckpointError,
    ParityError or OSError leave no file behind.
    """
    check_target(job.output, job.overwrite)
    check_batch(job.source, job.batch)
    job = replace(job, size_hw=fixed_size(job.source, job.size_hw))
    convert_it = _convert_graph if is_graph(job.source) else _convert_checkpoint
    return convert_it(job, table, sizes_hw, gates or Gates(), report)


def _convert_checkpoint(job: Job, table: tuple[ModelSpec, ...], sizes_hw: Sequence[Size],
                        gates: Gates, report: Report) -> Conversion:
    import openvino

    steps = Steps(report, 6)
    precision = job.precision or 'fp16'
    with steps.step(f'reading {job.source}'):
        loaded = load_network(job.source, job.overrides, table)
    input_spec = loaded.network.input_spec
    check_sizes(job.source, job.size_hw, input_spec.multiple)
    sizes_hw = sizes_allowed(sizes_hw or input_spec.sizes_hw, job.size_hw)
    steps.tell(loaded.identity.origins)
    reference = torch_runner(loaded.network)
    with steps.step('running the test card through PyTorch in f32'):
        check = self_check(job.source, reference, input_spec, job.size_hw)
        info = describe_model(loaded.identity, loaded.checkpoint.sha256, precision, check, input_spec,
                              job.size_hw)
    with staged(job.output, int(_SPACE_FACTOR * loaded.checkpoint.size_bytes)) as folder:
        onnx_path, xml_path = folder / 'model.onnx', folder / 'model.xml'
        with steps.step('PyTorch to ONNX'):
            export_onnx(loaded.network, onnx_path)
        with steps.step(f'ONNX to an OpenVINO IR with {precision} weights'):
            model = openvino.convert_model(onnx_path)
            fix_shape(job.source, model, job.size_hw, job.batch)
            save_ir(model, xml_path, info)
        with steps.step(f'comparing the files with PyTorch at {_count(sizes_hw)}'):
            parity = measure(reference, (onnx_runner(onnx_path), ir_runner(xml_path)), precision,
                             input_spec, sizes_hw, gates)
        report(parity.table())
        parity.require()
        with steps.step(f'moving it to {job.output}'):
            publish(xml_path, job.output)
    return Conversion(job.output, info, parity)


def _convert_graph(job: Job, table: tuple[ModelSpec, ...], sizes_hw: Sequence[Size],
                   gates: Gates, report: Report) -> Conversion:
    steps = Steps(report, 5)
    with steps.step(f'reading {job.source}'):
        graph = read_graph(job.source, job.overrides.encoder)
        check_sizes(job.source, job.size_hw, graph.input_spec.multiple)
        precision = wanted_precision(graph, job.precision)
        identity = resolve_graph_identity(job.source, graph.sha256, graph.evidence, job.overrides, table)
        size_hw = graph.size_hw or job.size_hw
        fix_shape(job.source, graph.model, job.size_hw, job.batch)
    steps.tell((*identity.origins, *graph.changes, f'weights: stored as {graph.precision}'))
    from_ir = job.source.suffix == '.xml'
    reference = (ir_runner if from_ir else onnx_runner)(job.source)
    with steps.step(f'running the test card through {reference.backend} in f32'):
        info = describe_graph(graph, identity, precision, size_hw, reference)
    with staged(job.output, int(_GRAPH_SPACE_FACTOR * graph.size_bytes)) as folder:
        xml_path = folder / 'model.xml'
        with steps.step(f'writing an OpenVINO IR with {precision} weights'):
            save_ir(graph.model, xml_path, info)
        if from_ir and precision == graph.precision:
            # Nothing was rounded on the way.
            gates = replace(gates, openvino_fp16=gates.openvino_fp32)
        sizes_hw = sizes_allowed(sizes_hw or graph.input_spec.sizes_hw, size_hw)
        with steps.step(f'comparing it with {reference.backend} at {_count(sizes_hw)}'):
            parity = measure(reference, (ir_runner(xml_path),), precision, graph.input_spec, sizes_hw,
                             gates)
        report(parity.table())
        parity.require()
        with steps.step(f'moving it to {job.output}'):
            publish(xml_path, job.output)
    return Conversion(job.output, info, parity)


def export(job: ExportJob, *, table: tuple[ModelSpec, ...] = MODELS,
           sizes_hw: Sequence[Size] = (), gates: Gates | None = None,
           report: Report = print) -> Conversion:
    """
    Write the ONNX file of a checkpoint, prove it against PyTorch and return what was measured.

    What the network is stands in the metadata of the file. Sizes and errors as ``convert``.
    """
    options, steps = job.options, Steps(report, 5)
    check_target(job.output, job.overwrite, '.onnx')
    check_batch(job.source, options.batch)
    if is_graph(job.source):
        raise CheckpointError(job.source, 'it is no checkpoint', 'give a .pth or .safetensors '
                              'file or a folder with the files of a -hf repository')
    with steps.step(f'reading {job.source}'):
        loaded = load_network(job.source, job.overrides, table)
    input_spec = loaded.network.input_spec
    check_sizes(job.source, options.size_hw, input_spec.multiple)
    sizes_hw = sizes_allowed(sizes_hw or input_spec.sizes_hw, options.size_hw)
    steps.tell(loaded.identity.origins)
    reference = torch_runner(loaded.network)
    size_hw = options.size_hw if options.size_hw and all(options.size_hw) else None
    with steps.step('running the test card through PyTorch in f32'):
        check = self_check(job.source, reference, input_spec, size_hw)
        info = describe_model(loaded.identity, loaded.checkpoint.sha256, 'fp32', check, input_spec,
                              size_hw)
    with staged(job.output, int(_GRAPH_SPACE_FACTOR * loaded.checkpoint.size_bytes)) as folder:
        # The file names the one with its weights, so it has its last name from the beginning.
        onnx_path = folder / job.output.name
        with steps.step('PyTorch to ONNX'):
            export_onnx(loaded.network, onnx_path, options, info)
        with steps.step(f'comparing the file with PyTorch at {_count(sizes_hw)}'):
            parity = measure(reference, (onnx_runner(onnx_path),), 'fp32', input_spec, sizes_hw,
                             gates)
        report(parity.table())
        parity.require()
        with steps.step(f'moving it to {job.output}'):
            publish(onnx_path, job.output)
    return Conversion(job.output, info, parity)


def _count(sizes_hw: Sequence[Size]) -> str:
    return f'{len(sizes_hw)} sizes' if len(sizes_hw) > 1 else '1 size'


def self_check(path: Path, reference: Runner, input_spec: InputSpec,
               size_hw: Size | None = None) -> SelfCheck:
    """
    Return what the reference answers to the test card, of ``size_hw`` where only that can be.

    ``input_spec`` is the image that the network takes. CheckpointError if the answer is no finite
    number or the same everywhere.
    """
    output = reference.run(card_input(size_hw or input_spec.card_size_hw, input_spec))
    try:
        check = make_self_check(output)
    except ValueError as error:
        raise CheckpointError(path, f'its depth is no finite number ({error})',
                              'download or train it again') from error
    if check.std <= _FLAT * abs(output).max():
        raise CheckpointError(path, 'it gives the same depth everywhere, as untrained weights do',
                              'download or train it again')
    return check


def describe_model(identity: ModelIdentity, sha256: str, precision: Precision, check: SelfCheck,
                   input_spec: InputSpec, fixed_size_hw: Size | None) -> ModelInfo:
    """Return the metadata of a model that is made from the source with this sha256."""
    return ModelInfo(
        encoder=identity.encoder, kind=identity.kind, model_version=identity.model_version,
        max_depth_m=identity.max_depth_m, patch_multiple=input_spec.multiple, mean_rgb=input_spec.mean_rgb,
        std_rgb=input_spec.std_rgb, input_size=input_spec.size, source_name=identity.source_name,
        source_sha256=sha256, licence=identity.licence, precision=precision,
        converter_version=__version__, self_check=check, fixed_size_hw=fixed_size_hw)


def describe_graph(graph: Graph, identity: ModelIdentity, precision: Precision,
                   fixed_size_hw: Size | None, reference: Runner) -> ModelInfo:
    """
    Return the metadata of an IR that is made from a graph.

    What the graph says of itself stays, its self-check too unless that has another size.
    """
    told = graph.info
    if told is None or fixed_size_hw not in (None, told.self_check.size_hw):
        check = self_check(graph.path, reference, graph.input_spec, fixed_size_hw)
    else:
        check = told.self_check
    made = describe_model(identity, graph.sha256, precision, check, graph.input_spec, fixed_size_hw)
    if told is None:
        return made
    return replace(told, encoder=made.encoder, kind=made.kind, model_version=made.model_version,
                   max_depth_m=made.max_depth_m, precision=precision, self_check=check,
                   fixed_size_hw=fixed_size_hw)


def wanted_precision(graph: Graph, overrides: Precision | None) -> Precision:
    """
    Return the precision to store a graph's weights in: fp16 unless asked, but an IR keeps its own.

    CheckpointError if that would need what rounding took away.
    """
    if graph.precision == 'fp32':
        return overrides or ('fp32' if graph.path.suffix == '.xml' else 'fp16')
    if overrides not in (None, graph.precision):
        raise CheckpointError(
            graph.path, f'its weights are {graph.precision} and cannot become {overrides}',
            'leave out --precision, or convert the checkpoint that it was made from')
    return graph.precision
