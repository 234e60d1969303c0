"""A teacher's network at work: OpenVINO on the CPU, PyTorch elsewhere."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.cli.progress import Report
from depth_anything_ros.convert.conversion import convert, Job
from depth_anything_ros.convert.sources.graphs import is_graph
from depth_anything_ros.convert.sources.hf_folder import weight_files
from depth_anything_ros.convert.sources.identity import Overrides
from depth_anything_ros.convert.sources.load_network import load_network
from depth_anything_ros.convert.sources.onnx_files import read_onnx_file
from depth_anything_ros.convert.sources.records import sha256_of
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.inference.ir import check_ir_files, read_ir
from depth_anything_ros.model_info import Kind, ModelInfo
from depth_anything_ros.networks.depth_anything import Network
from depth_anything_ros.networks.models import MODELS, ModelSpec
from depth_anything_ros.vision.transforms import (
    network_size, normalize, resize_depth, resize_for_network)
import numpy as np
import torch

if TYPE_CHECKING:
    import openvino

# A BGR picture u8 [H, W, 3] of a size that the network takes, to the network's map f32 [H, W].
Compute = Callable[[U8], F32]

_MOST_COMPILED = 4
# Metric networks end at 0 m; nearer than a centimetre nothing is seen.
_NEAREST_M = 0.01


def with_openvino(xml_path: Path, info: ModelInfo) -> Compute:
    """
    Return an IR on the CPU at the precision that the CPU likes best.

    It is compiled for each size; the sizes used last are kept.
    """
    compiled: OrderedDict[tuple[int, ...], openvino.CompiledModel] = OrderedDict()

    def compute(picture: U8) -> F32:
        size = picture.shape[:2]
        if size not in compiled:
            compiled[size] = _compile(xml_path, size)
        compiled.move_to_end(size)
        if len(compiled) > _MOST_COMPILED:
            compiled.popitem(last=False)
        output = compiled[size]([normalize(picture, info.mean_rgb, info.std_rgb)])[0]
        return np.array(output[0], np.float32)

    return compute


def _compile(xml_path: Path, size: tuple[int, ...]) -> 'openvino.CompiledModel':
    import openvino

    core = openvino.Core()
    try:
        model = core.read_model(xml_path)
        model.reshape([1, 3, *size])
        return core.compile_model(model, 'CPU', {'PERFORMANCE_HINT': 'LATENCY'})
    except RuntimeError as error:
        raise CheckpointError(xml_path, f'OpenVINO cannot run it at {size[1]}x{size[0]} ({error})',
                              'take another size or another teacher') from error


def with_torch(network: Network, device: str) -> Compute:
    """Return a network in PyTorch on ``device``, in bf16 where that is a GPU."""
    given = network.input_spec
    network = network.to(device)

    def compute(picture: U8) -> F32:
        image = torch.from_numpy(normalize(picture, given.mean_rgb, given.std_rgb)).to(device)
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16,
                                                    enabled=device != 'cpu'):
            depth: F32 = network(image)[0].float().cpu().numpy()
        return depth

    return compute


@dataclass(frozen=True)
class TeacherOptions:
    """
    How labels are made.

    ``sizes`` are short sides of the network's input whose maps are averaged, the model's own where
    there is none; ``flip`` averages with the mirrored picture. On 'cpu', and whatever the device
    for ONNX files and IRs, OpenVINO computes on the CPU, elsewhere PyTorch on ``device``.
    ``folder`` keeps the IR that a checkpoint is converted to.
    """

    folder: Path
    device: str = 'cpu'
    sizes: tuple[int, ...] = ()
    flip: bool = False


@dataclass(frozen=True)
class Teacher:
    """
    A model that labels pictures.

    ``name``, ``licence`` and ``kind`` are what it says of itself, ``sha256`` that of the file that
    the user named. ``fixed_size_hw`` is the only size it takes, else any multiple of ``multiple``.
    """

    name: str
    sha256: str
    licence: str
    kind: Kind
    multiple: int
    fixed_size_hw: tuple[int, int] | None
    sizes: tuple[int, ...]
    flip: bool
    compute: Compute

    def label(self, picture: U8) -> F32:
        """Return the inverse depth f32 [H, W] of a BGR picture u8 [H, W, 3], larger is nearer."""
        maps = [self._inverse_depth(picture, size) for size in self.sizes]
        if self.flip:
            mirrored = np.ascontiguousarray(picture[:, ::-1])
            maps += [self._inverse_depth(mirrored, size)[:, ::-1] for size in self.sizes]
        mean: F32 = np.mean(maps, axis=0, dtype=np.float32)
        return mean

    def _inverse_depth(self, picture: U8, size: int) -> F32:
        image_hw = picture.shape[0], picture.shape[1]
        size_hw = self.fixed_size_hw or network_size(image_hw, size, self.multiple)
        depth = self.compute(resize_for_network(picture, size_hw))
        if self.kind == 'metric':
            depth = np.reciprocal(np.maximum(depth, np.float32(_NEAREST_M)))
        return resize_depth(depth, image_hw)


def open_teacher(source: Path, overrides: Overrides, options: TeacherOptions, *,
                 table: tuple[ModelSpec, ...] = MODELS, report: Report = print) -> Teacher:
    """
    Return a checkpoint (.pth, .safetensors, -hf folder), an ONNX file or an IR as a teacher.

    CheckpointError, ParityError or OSError say why it cannot be one.
    """
    if options.device == 'cpu' or is_graph(source):
        return _with_openvino(source, overrides, options, table, report)
    loaded = load_network(source, overrides, table)
    identity, given = loaded.identity, loaded.network.input_spec
    return Teacher(
        identity.source_name, loaded.checkpoint.sha256, identity.licence, identity.kind,
        given.multiple, None, options.sizes or (given.size,), options.flip,
        with_torch(loaded.network, options.device))


def source_sha256(source: Path) -> str:
    """Return the sha256 that conversions record; CheckpointError where the model is missing."""
    if source.suffix == '.xml':
        return sha256_of(check_ir_files(source))
    if source.suffix == '.onnx':
        return sha256_of(read_onnx_file(source).files)
    if source.is_dir():
        return sha256_of(weight_files(source)[0])
    if not source.is_file():
        raise CheckpointError(source, 'there is no such file', 'give a Depth Anything checkpoint, '
                              'ONNX file or IR')
    return sha256_of([source])


def _with_openvino(source: Path, overrides: Overrides, options: TeacherOptions,
                   table: tuple[ModelSpec, ...], report: Report) -> Teacher:
    sha256 = source_sha256(source)
    xml_path, info = source, _read_ir(source) if source.suffix == '.xml' else None
    if info is None:
        xml_path = _converted(source, sha256, overrides, options.folder, table, report)
        info = _read_ir(xml_path)
    if info is None:
        raise CheckpointError(xml_path, 'it has lost its metadata', 'remove it')
    if options.sizes and info.fixed_size_hw:
        height, width = info.fixed_size_hw
        raise CheckpointError(source, f'it takes {width}x{height} only', 'leave out --sizes')
    return Teacher(
        info.source_name, sha256, info.licence, info.kind, info.patch_multiple,
        info.fixed_size_hw, options.sizes or (info.input_size,), options.flip,
        with_openvino(xml_path, info))


def _read_ir(xml_path: Path) -> ModelInfo | None:
    """Return what an IR says about itself, None where it says nothing."""
    import openvino

    return read_ir(openvino.Core(), xml_path)[1]


def _converted(source: Path, sha256: str, overrides: Overrides, folder: Path,
               table: tuple[ModelSpec, ...], report: Report) -> Path:
    """Return the IR of a source, made once for each answer to what the source is."""
    digest = hashlib.sha256(f'{sha256}{overrides}'.encode()).hexdigest()[:8]
    target = folder / f'teacher-{digest}.xml'
    if not target.is_file():
        convert(Job(source, target, overrides=overrides, overwrite=True), table=table, report=report)
    return target
