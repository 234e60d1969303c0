"""
Converts a checkpoint, an ONNX file or an IR, and proves the result before it gets its name.

``convert`` writes an IR, ``export`` an ONNX file, ``convert_to_int8`` an IR in INT8.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TYPE_CHECKING

from depth_anything_ros.cli.progress import Report, Steps
from depth_anything_ros.convert.export import export_onnx, OnnxOptions, save_ir
from depth_anything_ros.convert.parity.measure import (
    card_input, conversion_limits, Limits, measure, ParityReport)
from depth_anything_ros.convert.parity.runners import (
    Backend, ir_runner, onnx_runner, Runner, torch_runner)
from depth_anything_ros.convert.quantize.quantize import quantize, Quantized, QuantizeJob
from depth_anything_ros.convert.quantize.training import TrainingOptions
from depth_anything_ros.convert.sources.description import read_facts
from depth_anything_ros.convert.sources.families import recognise
from depth_anything_ros.convert.sources.graphs import (
    check_batch, check_sizes, fix_shape, fixed_size, Graph, is_graph, read_graph, sizes_allowed)
from depth_anything_ros.convert.sources.identity import (
    described_identity, graph_evidence, ModelIdentity, Overrides, resolve_identity)
from depth_anything_ros.convert.sources.load_network import load_network
from depth_anything_ros.convert.sources.onnx_files import read_onnx_file
from depth_anything_ros.convert.sources.source_files import is_part_of
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.files import check_target, publish_model, staging_folder
from depth_anything_ros.model_info import ModelInfo, Precision, self_check_size, SelfCheck, Size
from depth_anything_ros.networks.models import EncoderSpec, InputSpec, MODELS
from depth_anything_ros.version import __version__
from depth_anything_ros.vision.self_check import make_self_check

if TYPE_CHECKING:
    from depth_anything_ros.networks.depth_anything import DepthAnything

# Disk space in sizes of the source: an ONNX file in f32 and an IR that is at most as large.
_CHECKPOINT_TO_IR_SPACE = 2.2
_ONE_FILE_SPACE = 1.1
# Standard deviation of a constant map through rounding in f32, as a share of its value.
_FLAT = 1e-5


@dataclass(frozen=True)
class Job:
    """
    What to convert to what: a checkpoint, an .onnx or an .xml to an .xml.

    ``precision`` None is fp16, or that of the weights for an .xml. ``size_hw`` fixes height and
    width, ``batch`` the number of images; None and 0 leave them free. ``describe`` is a YAML file
    with the facts on a network that is not Depth Anything, see ``Description``.
    """

    source: Path
    output: Path
    precision: Precision | None = None
    overrides: Overrides = field(default_factory=Overrides)
    overwrite: bool = False
    size_hw: Size | None = None
    batch: int = 0
    describe: Path | None = None


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
    """A finished model: its .xml or .onnx, its metadata and the comparison with its source."""

    path: Path
    info: ModelInfo
    parity: ParityReport


@dataclass(frozen=True)
class _Source:
    """A source that was read: the network that runs it, its metadata, input and size."""

    reference: Runner
    info: ModelInfo
    input_spec: InputSpec
    size_bytes: int


def convert(job: Job, *, table: tuple[EncoderSpec, ...] = MODELS, sizes_hw: Sequence[Size] = (),
            limits: Mapping[Backend, Limits] | None = None, report: Report = print) -> Conversion:
    """
    Write the IR of a model, prove it against its source and return what was measured.

    ``sizes_hw`` are the sizes to compare at, by default three usual ones of the network.
    CheckpointError, ModelError, ParityError or OSError leave no file behind.
    """
    _check_output(job)
    check_batch(job.source, job.batch)
    job = replace(job, size_hw=fixed_size(job.source, job.size_hw))
    if job.describe is not None and not is_graph(job.source):
        raise CheckpointError(job.source, '--describe belongs to ONNX files and IRs',
                              'leave it out, or export the network to ONNX')
    convert_it = _convert_graph if is_graph(job.source) else _convert_checkpoint
    return convert_it(job, table, sizes_hw, limits, report)


def convert_to_int8(job: Job, images: str, *, train: bool = False,
                    table: tuple[EncoderSpec, ...] = MODELS,
                    report: Report = print) -> Quantized:
    """
    Convert a model to fp16 first, then quantize it with ``images``, see ``QuantizeJob``.

    With ``train`` it is trained in INT8 if it loses too much without.
    Errors as ``convert``, and QualityError if INT8 loses too much; no file is left behind.
    """
    _check_output(job)
    with staging_folder(job.output, 0) as folder:
        floating = folder / f'{job.output.stem}.xml'
        convert(replace(job, output=floating, precision='fp16'), table=table, report=report)
        return quantize(QuantizeJob(floating, job.output, images, overwrite=job.overwrite,
                                    training=TrainingOptions() if train else None),
                        report=report)


def export(job: ExportJob, *, table: tuple[EncoderSpec, ...] = MODELS,
           sizes_hw: Sequence[Size] = (), report: Report = print) -> Conversion:
    """
    Write the ONNX file of a checkpoint, prove it against PyTorch and return what was measured.

    The file contains the metadata. Sizes and errors as for ``convert``.
    """
    options, steps = job.options, Steps(report, 5)
    _check_output(job, '.onnx')
    check_batch(job.source, options.batch)
    if is_graph(job.source):
        raise CheckpointError(job.source, 'it is not a checkpoint', 'give a .pth or .safetensors '
                              'file or a folder with the files of an -hf repository')
    source, network = _read_checkpoint(job.source, job.overrides, 'fp32', options.size_hw, table,
                                       steps)

    def write(folder: Path) -> tuple[Path, list[Runner]]:
        # The file contains the name of its weight file, so it has its final name from the start.
        onnx_path = folder / job.output.name
        with steps.step('PyTorch to ONNX'):
            export_onnx(network, onnx_path, options, source.info)
        return onnx_path, [onnx_runner(onnx_path)]

    sizes_hw = sizes_allowed(sizes_hw or source.input_spec.sizes_hw, options.size_hw)
    return _write_and_prove(source, job.output, _ONE_FILE_SPACE, write, sizes_hw, None, steps,
                            report)


def _check_output(job: Job | ExportJob, suffix: str = '.xml') -> None:
    check_target(job.output, job.overwrite, suffix, partial(is_part_of, (job.source,)))


def _convert_checkpoint(job: Job, table: tuple[EncoderSpec, ...], sizes_hw: Sequence[Size],
                        limits: Mapping[Backend, Limits] | None, report: Report) -> Conversion:
    import openvino

    steps = Steps(report, 6)
    precision = job.precision or 'fp16'
    source, network = _read_checkpoint(job.source, job.overrides, precision, job.size_hw, table,
                                       steps)

    def write(folder: Path) -> tuple[Path, list[Runner]]:
        onnx_path, xml_path = folder / 'model.onnx', folder / 'model.xml'
        with steps.step('PyTorch to ONNX'):
            export_onnx(network, onnx_path)
        with steps.step(f'ONNX to an OpenVINO IR with {precision} weights'):
            model = openvino.convert_model(onnx_path)
            fix_shape(job.source, model, job.size_hw, job.batch)
            save_ir(model, xml_path, source.info)
        return xml_path, [onnx_runner(onnx_path), ir_runner(xml_path)]

    sizes_hw = sizes_allowed(sizes_hw or source.input_spec.sizes_hw, job.size_hw)
    return _write_and_prove(source, job.output, _CHECKPOINT_TO_IR_SPACE, write, sizes_hw, limits,
                            steps, report)


def _convert_graph(job: Job, table: tuple[EncoderSpec, ...], sizes_hw: Sequence[Size],
                   limits: Mapping[Backend, Limits] | None, report: Report) -> Conversion:
    steps = Steps(report, 5)
    with steps.step(f'reading {job.source}'):
        facts, origin = _foreign_facts(job, table)
        graph = read_graph(job.source, job.overrides.encoder, facts)
        check_sizes(job.source, job.size_hw, graph.input_spec.multiple)
        precision = _wanted_precision(graph, job.precision)
        identity = described_identity(job.source, graph.described, origin) if graph.described \
            else resolve_identity(
                job.source, None, graph_evidence(job.source, graph.info, table), job.overrides
            ).require_complete()
        size_hw = graph.size_hw or job.size_hw
        fix_shape(job.source, graph.model, job.size_hw, job.batch)
    steps.details((*identity.origins, *graph.changes, f'weights: stored as {graph.precision}'))
    from_ir = job.source.suffix == '.xml'
    reference = (ir_runner if from_ir else onnx_runner)(job.source, graph.described)
    with steps.step(f'running the test card through {reference.backend} in f32'):
        info = _describe_graph(graph, identity, precision, size_hw, reference)
    if from_ir and precision == graph.precision:
        # The weights are not rounded again.
        limits = limits or conversion_limits('fp32')

    def write(folder: Path) -> tuple[Path, list[Runner]]:
        xml_path = folder / 'model.xml'
        with steps.step(f'writing an OpenVINO IR with {precision} weights'):
            save_ir(graph.model, xml_path, info)
        return xml_path, [ir_runner(xml_path)]

    source = _Source(reference, info, graph.input_spec, graph.size_bytes)
    sizes_hw = sizes_allowed(sizes_hw or graph.input_spec.sizes_hw, size_hw)
    return _write_and_prove(source, job.output, _ONE_FILE_SPACE, write, sizes_hw, limits, steps,
                            report)


def _foreign_facts(job: Job, table: tuple[EncoderSpec, ...]
                   ) -> tuple[dict[str, Any] | None, str]:
    """
    Return the facts on a network that is not Depth Anything, and their origin; else None.

    Those of ``describe`` add to those of a known family and replace them. CheckpointError for
    options of Depth Anything beside a description, for a family that cannot be used, and for an
    ONNX file of which nothing is known.
    """
    if job.describe is not None and job.overrides != Overrides():
        raise CheckpointError(job.source, '--kind, --model-version, --max-depth and --encoder '
                              'belong to Depth Anything', f'state the facts in {job.describe}')
    if job.overrides.focal_px is not None or job.overrides.model_version == 'v3':
        raise CheckpointError(job.source, '--focal-px and --model-version v3 belong to '
                              'checkpoints', 'state the facts on this network with --describe')
    found = read_onnx_file(job.source) if job.source.suffix == '.onnx' else None
    family = recognise(found) if found and job.overrides == Overrides() else None
    if family is not None and family.refusal:
        raise CheckpointError(job.source, f'it is {family.title}: {family.refusal}',
                              'use another network')
    facts, origins = {}, []
    if found is not None and family is not None:
        facts, origins = {**family.facts(found)}, [f'{family.title}, by the content of the file']
    if job.describe is not None:
        facts |= read_facts(job.describe)
        origins.append(str(job.describe))
    if not facts and found is not None:
        resolve_identity(job.source, None, graph_evidence(job.source, found.info, table),
                         job.overrides).require_complete()
    return facts or None, ' and '.join(origins)


def _read_checkpoint(path: Path, overrides: Overrides, precision: Precision,
                     size_hw: Size | None, table: tuple[EncoderSpec, ...],
                     steps: Steps) -> tuple[_Source, 'DepthAnything']:
    """Read a checkpoint and run the test card; a side of ``size_hw`` that is 0 is free."""
    with steps.step(f'reading {path}'):
        loaded = load_network(path, overrides, table)
    input_spec = loaded.network.input_spec
    check_sizes(path, size_hw, input_spec.multiple)
    steps.details(loaded.identity.origins)
    reference = torch_runner(loaded.network)
    fixed_size_hw = size_hw if size_hw and all(size_hw) else None
    with steps.step('running the test card through PyTorch in f32'):
        check = _self_check(path, reference, input_spec, fixed_size_hw)
        info = _describe_model(loaded.identity, loaded.checkpoint.sha256, precision, check,
                               input_spec, fixed_size_hw)
    source = _Source(reference, info, input_spec, loaded.checkpoint.size_bytes)
    return source, loaded.network


def _write_and_prove(source: _Source, output: Path, space: float,
                     write: Callable[[Path], tuple[Path, list[Runner]]],
                     sizes_hw: Sequence[Size], limits: Mapping[Backend, Limits] | None,
                     steps: Steps, report: Report) -> Conversion:
    """
    Write files into a hidden folder, compare them with the source and move them to ``output``.

    ``write`` returns the file to move and the runners to compare. ParityError removes the folder.
    """
    with staging_folder(output, int(space * source.size_bytes)) as folder:
        finished, candidates = write(folder)
        against = f'{len(sizes_hw)} sizes' if len(sizes_hw) > 1 else '1 size'
        with steps.step(f'comparing the result with {source.reference.backend} at {against}'):
            parity = measure(source.reference, candidates, source.info.precision,
                             source.input_spec, sizes_hw, limits)
        report(parity.table())
        parity.require()
        with steps.step(f'moving it to {output}'):
            publish_model(finished, output)
    return Conversion(output, source.info, parity)


def _self_check(path: Path, reference: Runner, input_spec: InputSpec,
                size_hw: Size | None = None) -> SelfCheck:
    """
    Return the answer of the reference to the test card, of ``size_hw`` if that is its only size.

    CheckpointError if the card is too large, or the answer not finite or the same everywhere.
    """
    size_hw = size_hw or input_spec.card_size_hw
    try:
        self_check_size(size_hw)
    except ValueError as error:
        raise CheckpointError(path, f'an input of {size_hw[1]}x{size_hw[0]} pixels is too large '
                              'for the self-check of an IR',
                              'use a network and options for smaller images') from error
    output = reference.run(card_input(size_hw, input_spec))
    try:
        check = make_self_check(output, size_hw)
    except ValueError as error:
        raise CheckpointError(path, f'its depth is not finite ({error})',
                              'download or train it again') from error
    if check.std <= _FLAT * abs(output).max():
        raise CheckpointError(path, 'it gives the same depth everywhere, as untrained weights do',
                              'download or train it again')
    return check


def _describe_model(identity: ModelIdentity, sha256: str, precision: Precision, check: SelfCheck,
                    input_spec: InputSpec, fixed_size_hw: Size | None) -> ModelInfo:
    """Return the metadata of a model that is made from the source with this sha256."""
    return ModelInfo(
        encoder=identity.encoder, kind=identity.kind, model_version=identity.model_version,
        max_depth_m=identity.max_depth_m, patch_multiple=input_spec.multiple,
        mean_rgb=input_spec.mean_rgb, std_rgb=input_spec.std_rgb, input_size=input_spec.size,
        source_name=identity.source_name, source_sha256=sha256, licence=identity.licence,
        precision=precision, converter_version=__version__, self_check=check,
        fixed_size_hw=fixed_size_hw, output_multiple=input_spec.output_multiple,
        resize=input_spec.resize, interpolation=input_spec.interpolation,
        side_limits=input_spec.side_limits, **asdict(identity.output))


def _describe_graph(graph: Graph, identity: ModelIdentity, precision: Precision,
                    fixed_size_hw: Size | None, reference: Runner) -> ModelInfo:
    """
    Return the metadata of an IR that is made from a graph.

    The metadata of the graph stay, with the facts of ``identity``; its self-check stays unless it
    has another size.
    """
    own = graph.info
    if own is None or fixed_size_hw not in (None, own.self_check.size_hw):
        check = _self_check(graph.path, reference, graph.input_spec, fixed_size_hw)
    else:
        check = own.self_check
    made = _describe_model(identity, graph.sha256, precision, check, graph.input_spec,
                           fixed_size_hw)
    if own is None:
        return made
    return replace(own, encoder=made.encoder, kind=made.kind, model_version=made.model_version,
                   max_depth_m=made.max_depth_m, precision=precision, self_check=check,
                   fixed_size_hw=fixed_size_hw)


def _wanted_precision(graph: Graph, wanted: Precision | None) -> Precision:
    """
    Return the precision to store a graph's weights in: fp16 by default, but an IR keeps its own.

    CheckpointError if the weights are rounded already to something else.
    """
    if graph.precision == 'fp32':
        return wanted or ('fp32' if graph.path.suffix == '.xml' else 'fp16')
    if wanted not in (None, graph.precision):
        raise CheckpointError(
            graph.path, f'its weights are {graph.precision} and cannot become {wanted}',
            'leave out --precision, or convert the checkpoint that it was made from')
    return graph.precision
