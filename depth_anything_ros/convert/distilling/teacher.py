"""
The teacher: any Depth Anything gives pictures their inverse depth, for students to learn.

Students are always relative: a metric teacher's label is 1 / depth, of which the losses take
neither scale nor shift.
"""

from dataclasses import dataclass
import hashlib
from pathlib import Path

from depth_anything_ros.convert.conversion import convert, Job
from depth_anything_ros.convert.distilling.teacher_networks import (
    Compute, with_openvino, with_torch)
from depth_anything_ros.convert.network.encoders import ENCODERS, EncoderSpec
from depth_anything_ros.convert.reading.digests import sha256_of
from depth_anything_ros.convert.reading.graphs import is_graph
from depth_anything_ros.convert.reading.hub_folder import weight_files
from depth_anything_ros.convert.reading.ir_files import check_ir_files, read_ir_info
from depth_anything_ros.convert.reading.loading import load_network
from depth_anything_ros.convert.reading.onnx_files import read_onnx_file
from depth_anything_ros.convert.reading.variants import Asked
from depth_anything_ros.convert.steps import Report
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.model_info import Kind, ModelInfo
from depth_anything_ros.vision.transforms import network_size, resize_depth, resize_for_network
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

# Metric networks end at 0 m; nearer than a centimetre nothing is seen.
_NEAREST_M = 0.01


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


def open_teacher(source: Path, asked: Asked, options: TeacherOptions, *,
                 table: tuple[EncoderSpec, ...] = ENCODERS, report: Report = print) -> Teacher:
    """
    Return a checkpoint (.pth, .safetensors, -hf folder), an ONNX file or an IR as a teacher.

    CheckpointError, ParityError or OSError say why it cannot be one.
    """
    if options.device == 'cpu' or is_graph(source):
        return _with_openvino(source, asked, options, table, report)
    loaded = load_network(source, asked, table)
    variant, given = loaded.variant, loaded.network.input
    return Teacher(
        variant.source_name, loaded.checkpoint.sha256, variant.licence, variant.kind,
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


def _with_openvino(source: Path, asked: Asked, options: TeacherOptions,
                   table: tuple[EncoderSpec, ...], report: Report) -> Teacher:
    sha256 = source_sha256(source)
    xml_path, info = source, _read_ir(source) if source.suffix == '.xml' else None
    if info is None:
        xml_path = _converted(source, sha256, asked, options.folder, table, report)
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

    check_ir_files(xml_path)
    try:
        model = openvino.Core().read_model(xml_path)
    except RuntimeError as error:
        raise CheckpointError(xml_path, f'OpenVINO cannot read it ({error})',
                              'copy both files again or make the IR again') from error
    return read_ir_info(model, xml_path)


def _converted(source: Path, sha256: str, asked: Asked, folder: Path,
               table: tuple[EncoderSpec, ...], report: Report) -> Path:
    """Return the IR of a source, made once for each answer to what the source is."""
    digest = hashlib.sha256(f'{sha256}{asked}'.encode()).hexdigest()[:8]
    target = folder / f'teacher-{digest}.xml'
    if not target.is_file():
        convert(Job(source, target, asked=asked, overwrite=True), table=table, report=report)
    return target
