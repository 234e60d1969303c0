"""The teacher: any Depth Anything model, which labels an image with inverse depth."""

from collections.abc import Callable
from dataclasses import dataclass
import hashlib
from pathlib import Path

from depth_anything_ros.api import DepthModel
from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.cli.progress import Report
from depth_anything_ros.convert.conversion import convert, Job
from depth_anything_ros.convert.sources.da3_names import SKY_THRESHOLD
from depth_anything_ros.convert.sources.graphs import is_graph
from depth_anything_ros.convert.sources.identity import Overrides
from depth_anything_ros.convert.sources.load_network import load_network
from depth_anything_ros.convert.sources.records import sha256_of
from depth_anything_ros.convert.sources.source_files import source_files
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.files import publish_model, staging_folder
from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.inference.ir import IrFiles, read_ir, read_ir_files
from depth_anything_ros.media.size_order import network_size_of, NetworkSize
from depth_anything_ros.model_info import Kind, ModelInfo
from depth_anything_ros.networks.depth_anything import DepthAnything
from depth_anything_ros.networks.models import EncoderSpec, MODELS
from depth_anything_ros.vision.sky import mark_sky
from depth_anything_ros.vision.transforms import (
    network_image, normalize, resize_depth, rule_input_hw)
import numpy as np
import torch

# A BGR image u8 [H, W, 3] and the short side of the network's input to the network's map f32.
Infer = Callable[[U8, int], F32]

# Large teachers take seconds per image; only a broken device takes minutes.
_TIMEOUT_S = 600.0
# Images of other shapes need other sizes of the network.
_SIZES_KEPT = 4
# Metric networks output down to 0 m; no camera sees anything nearer than a centimetre.
_NEAREST_M = 0.01


@dataclass(frozen=True)
class TeacherOptions:
    """
    How to make labels.

    - ``folder``: keeps the IR that a checkpoint is converted to.
    - ``device``: 'cpu' runs the teacher in OpenVINO, others run a checkpoint in PyTorch there;
      ONNX files and IRs always run in OpenVINO on the CPU.
    - ``sizes``: short sides of the network's input, whose maps are averaged; () for the default.
    - ``flip``: average with the mirrored image.
    """

    folder: Path
    device: str = 'cpu'
    sizes: tuple[int, ...] = ()
    flip: bool = False


@dataclass(frozen=True)
class Teacher:
    """
    A model that labels images.

    ``name``, ``licence`` and ``kind`` are those of the model, ``sha256`` that of the file that the
    user named. ``network_sizes`` are the sizes of its input for which it compiles, () if it does
    not compile. ``limit_threads`` sets the number of CPU threads of what is compiled later,
    ``close`` releases the model.
    """

    name: str
    sha256: str
    licence: str
    kind: Kind
    sizes: tuple[int, ...]
    flip: bool
    infer: Infer
    network_sizes: tuple[NetworkSize, ...] = ()
    limit_threads: Callable[[int], None] = lambda threads: None
    close: Callable[[], None] = lambda: None

    def label(self, image_bgr: U8) -> F32:
        """Return the inverse depth f32 [H, W] of an image u8 [H, W, 3], larger is nearer."""
        maps = [self._inverse_depth(image_bgr, size) for size in self.sizes]
        if self.flip:
            mirrored = np.ascontiguousarray(image_bgr[:, ::-1])
            maps += [self._inverse_depth(mirrored, size)[:, ::-1] for size in self.sizes]
        mean: F32 = np.mean(maps, axis=0, dtype=np.float32)
        return mean

    def _inverse_depth(self, image_bgr: U8, size: int) -> F32:
        depth = self.infer(image_bgr, size)
        if self.kind == 'metric':
            # Sky that a network names has no depth.
            depth = np.nan_to_num(np.reciprocal(np.maximum(depth, np.float32(_NEAREST_M))))
        return resize_depth(depth, (image_bgr.shape[0], image_bgr.shape[1]))


def open_teacher(source: Path, overrides: Overrides, options: TeacherOptions, *,
                 table: tuple[EncoderSpec, ...] = MODELS, report: Report = print) -> Teacher:
    """
    Return a checkpoint (.pth, .safetensors, -hf folder), an ONNX file or an IR as a teacher.

    CheckpointError, ModelError, ParityError or OSError say why it cannot be one.
    """
    if options.device == 'cpu' or is_graph(source):
        return _in_openvino(source, overrides, options, table, report)
    loaded = load_network(source, overrides, table)
    identity, input_spec = loaded.identity, loaded.network.input_spec
    return Teacher(
        identity.source_name, loaded.checkpoint.sha256, identity.licence, identity.kind,
        options.sizes or (input_spec.size,), options.flip,
        in_torch(loaded.network, identity.kind, options.device))


def in_torch(network: DepthAnything, kind: Kind, device: str) -> Infer:
    """Return a network in PyTorch on ``device``, in bf16 where that is a GPU; sky as an engine."""
    input_spec, rule = network.input_spec, network.input_spec.rule
    network = network.to(device)

    def infer(image_bgr: U8, size: int) -> F32:
        network_hw = rule_input_hw(rule, (image_bgr.shape[0], image_bgr.shape[1]), size)
        tensor = torch.from_numpy(normalize(network_image(image_bgr, rule, network_hw),
                                            input_spec.mean_rgb, input_spec.std_rgb)).to(device)
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16,
                                                    enabled=device != 'cpu'):
            depth, *sky = (one[0].float().cpu().numpy() for one in network.maps(tensor))
        for one in sky:
            mark_sky(depth, one, SKY_THRESHOLD, kind)
        found: F32 = depth
        return found

    return infer


def source_sha256(source: Path) -> str:
    """Return the sha256 that a conversion records; CheckpointError or ModelError if missing."""
    return sha256_of(source_files(source))


def _in_openvino(source: Path, overrides: Overrides, options: TeacherOptions,
                 table: tuple[EncoderSpec, ...], report: Report) -> Teacher:
    sha256 = source_sha256(source)
    xml_path, info = source, _read_info(source) if source.suffix == '.xml' else None
    if info is None:
        xml_path = _converted(source, sha256, overrides, options.folder, table, report)
        info = _read_info(xml_path)
    if info is None:
        raise CheckpointError(xml_path, 'it has no metadata any more', 'remove it')
    if options.sizes and info.fixed_size_hw:
        height, width = info.fixed_size_hw
        raise CheckpointError(source, f'its input size is fixed to {width}x{height}',
                              'leave out --sizes')
    sizes = options.sizes or (info.input_size,)
    models = _Models(read_ir_files(xml_path))
    return Teacher(info.source_name, sha256, info.licence, info.kind, sizes, options.flip,
                   models.infer, tuple(network_size_of(info, size) for size in sizes),
                   models.limit_threads, models.close)


class _Models:
    """
    One compiled model on the CPU per input size, compiled for the first image.

    It can be pickled before that.
    """

    def __init__(self, files: IrFiles) -> None:
        self._files = files
        self._models: dict[int, DepthModel] = {}
        self._threads = 0

    def limit_threads(self, threads: int) -> None:
        self._threads = threads

    def infer(self, image_bgr: U8, size: int) -> F32:
        if size not in self._models:
            self._models[size] = DepthModel(Engine(self._files, EngineOptions(
                input_size=size, requests=1, timeout_s=_TIMEOUT_S, sizes_kept=_SIZES_KEPT,
                threads=self._threads,
                image_hw=(image_bgr.shape[0], image_bgr.shape[1]))))
        return self._models[size].infer(image_bgr, output_size='native')

    def close(self) -> None:
        for model in self._models.values():
            model.close()
        self._models.clear()


def _read_info(xml_path: Path) -> ModelInfo | None:
    import openvino

    return read_ir(openvino.Core(), xml_path)[1]


def _converted(source: Path, sha256: str, overrides: Overrides, folder: Path,
               table: tuple[EncoderSpec, ...], report: Report) -> Path:
    """Return the IR of a source, converted once per file content and overrides."""
    digest = hashlib.sha256(f'{sha256}{overrides}'.encode()).hexdigest()[:8]
    target = folder / f'teacher-{digest}.xml'
    if not target.is_file():
        with staging_folder(target, 0) as own:
            finished = own / target.name
            convert(Job(source, finished, overrides=overrides), table=table, report=report)
            # Another process that labels into the same folder may have been faster.
            if not target.is_file():
                publish_model(finished, target)
    return target
