"""The whole way from a checkpoint, an ONNX file or an IR to a proven model."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from depth_anything_ros.convert.describing import (
    describe_graph, describe_model, self_check, wanted_precision)
from depth_anything_ros.convert.export import export_onnx, OnnxOptions, save_ir
from depth_anything_ros.convert.network.encoders import ENCODERS, EncoderSpec
from depth_anything_ros.convert.proving.parity import Gates, measure, ParityReport
from depth_anything_ros.convert.proving.runners import ir_runner, onnx_runner, torch_runner
from depth_anything_ros.convert.reading.graphs import fix_shape, is_graph, read_graph
from depth_anything_ros.convert.reading.loading import load_network
from depth_anything_ros.convert.reading.variants import Asked, settle_graph
from depth_anything_ros.convert.sizes import (
    check_batch, check_sizes, fixed_size, Size, sizes_allowed)
from depth_anything_ros.convert.staging import check_target, publish, staged
from depth_anything_ros.convert.steps import Report, Steps
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.model_info import ModelInfo, Precision

# An ONNX file in f32 and an IR that is at most as large, and some air.
_SPACE_FACTOR = 2.2
_GRAPH_SPACE_FACTOR = 1.1


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
    asked: Asked = field(default_factory=Asked)
    overwrite: bool = False
    size_hw: Size | None = None
    batch: int = 0


@dataclass(frozen=True)
class ExportJob:
    """Which checkpoint to export to which .onnx and how."""

    source: Path
    output: Path
    options: OnnxOptions = field(default_factory=OnnxOptions)
    asked: Asked = field(default_factory=Asked)
    overwrite: bool = False


@dataclass(frozen=True)
class Conversion:
    """A finished model: its .xml or .onnx, what it says about itself and how it was proven."""

    path: Path
    info: ModelInfo
    parity: ParityReport


def convert(job: Job, *, table: tuple[EncoderSpec, ...] = ENCODERS,
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


def _convert_checkpoint(job: Job, table: tuple[EncoderSpec, ...], sizes_hw: Sequence[Size],
                        gates: Gates, report: Report) -> Conversion:
    import openvino

    steps = Steps(report, 6)
    precision = job.precision or 'fp16'
    with steps.step(f'reading {job.source}'):
        loaded = load_network(job.source, job.asked, table)
    taken = loaded.network.input
    check_sizes(job.source, job.size_hw, taken.multiple)
    sizes_hw = sizes_allowed(sizes_hw or taken.sizes_hw, job.size_hw)
    steps.tell(loaded.variant.origins)
    reference = torch_runner(loaded.network)
    with steps.step('running the test card through PyTorch in f32'):
        check = self_check(job.source, reference, taken, job.size_hw)
        info = describe_model(loaded.variant, loaded.checkpoint.sha256, precision, check, taken,
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
                             taken, sizes_hw, gates)
        report(parity.table())
        parity.require()
        with steps.step(f'moving it to {job.output}'):
            publish(xml_path, job.output)
    return Conversion(job.output, info, parity)


def _convert_graph(job: Job, table: tuple[EncoderSpec, ...], sizes_hw: Sequence[Size],
                   gates: Gates, report: Report) -> Conversion:
    steps = Steps(report, 5)
    with steps.step(f'reading {job.source}'):
        graph = read_graph(job.source, job.asked.encoder)
        check_sizes(job.source, job.size_hw, graph.taken.multiple)
        precision = wanted_precision(graph, job.precision)
        variant = settle_graph(job.source, graph.sha256, graph.stated, job.asked, table)
        size_hw = graph.size_hw or job.size_hw
        fix_shape(job.source, graph.model, job.size_hw, job.batch)
    steps.tell((*variant.origins, *graph.changes, f'weights: stored as {graph.precision}'))
    from_ir = job.source.suffix == '.xml'
    reference = (ir_runner if from_ir else onnx_runner)(job.source)
    with steps.step(f'running the test card through {reference.backend} in f32'):
        info = describe_graph(graph, variant, precision, size_hw, reference)
    with staged(job.output, int(_GRAPH_SPACE_FACTOR * graph.size_bytes)) as folder:
        xml_path = folder / 'model.xml'
        with steps.step(f'writing an OpenVINO IR with {precision} weights'):
            save_ir(graph.model, xml_path, info)
        if from_ir and precision == graph.precision:
            # Nothing was rounded on the way.
            gates = replace(gates, openvino_fp16=gates.openvino_fp32)
        sizes_hw = sizes_allowed(sizes_hw or graph.taken.sizes_hw, size_hw)
        with steps.step(f'comparing it with {reference.backend} at {_count(sizes_hw)}'):
            parity = measure(reference, (ir_runner(xml_path),), precision, graph.taken, sizes_hw,
                             gates)
        report(parity.table())
        parity.require()
        with steps.step(f'moving it to {job.output}'):
            publish(xml_path, job.output)
    return Conversion(job.output, info, parity)


def export(job: ExportJob, *, table: tuple[EncoderSpec, ...] = ENCODERS,
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
        loaded = load_network(job.source, job.asked, table)
    taken = loaded.network.input
    check_sizes(job.source, options.size_hw, taken.multiple)
    sizes_hw = sizes_allowed(sizes_hw or taken.sizes_hw, options.size_hw)
    steps.tell(loaded.variant.origins)
    reference = torch_runner(loaded.network)
    size_hw = options.size_hw if options.size_hw and all(options.size_hw) else None
    with steps.step('running the test card through PyTorch in f32'):
        check = self_check(job.source, reference, taken, size_hw)
        info = describe_model(loaded.variant, loaded.checkpoint.sha256, 'fp32', check, taken,
                              size_hw)
    with staged(job.output, int(_GRAPH_SPACE_FACTOR * loaded.checkpoint.size_bytes)) as folder:
        # The file names the one with its weights, so it has its last name from the beginning.
        onnx_path = folder / job.output.name
        with steps.step('PyTorch to ONNX'):
            export_onnx(loaded.network, onnx_path, options, info)
        with steps.step(f'comparing the file with PyTorch at {_count(sizes_hw)}'):
            parity = measure(reference, (onnx_runner(onnx_path),), 'fp32', taken, sizes_hw,
                             gates)
        report(parity.table())
        parity.require()
        with steps.step(f'moving it to {job.output}'):
            publish(onnx_path, job.output)
    return Conversion(job.output, info, parity)


def _count(sizes_hw: Sequence[Size]) -> str:
    return f'{len(sizes_hw)} sizes' if len(sizes_hw) > 1 else '1 size'
