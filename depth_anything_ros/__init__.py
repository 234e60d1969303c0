"""
Monocular depth: Depth Anything on OpenVINO, in Python and as a ROS 2 node.

::

    from depth_anything_ros import load_model

    with load_model() as model:
        depth = model.infer(image_bgr)

Importing the package is cheap: NumPy, OpenCV and OpenVINO are imported when a function that needs
them is first used.
"""

from collections.abc import Callable
from pathlib import Path
import sys
from typing import Any, TYPE_CHECKING

from depth_anything_ros.errors import (
    AlignmentError, AlignmentHeldError, CameraInfoError, CheckpointError, DatasetError,
    DepthAnythingError, DeviceError, FleetError, ImageError, InferenceError,
    InferenceTimeoutError, MessageError, MissingDependencyError, ModelError, ParityError,
    PeerError, PointCloudError, QualityError, SettingsError, SnapshotError, was_interrupted)
from depth_anything_ros.model_info import Kind, ModelInfo, ModelVersion, Precision
from depth_anything_ros.version import __version__

if TYPE_CHECKING:
    from depth_anything_ros.api import DepthModel, load_model, point_cloud, to_metric
    from depth_anything_ros.vision.geometry import Intrinsics

__all__ = [
    '__version__', 'AlignmentError', 'AlignmentHeldError', 'CameraInfoError',
    'CheckpointError', 'DatasetError', 'DepthAnythingError', 'DepthModel', 'DeviceError',
    'FleetError', 'ImageError', 'InferenceError', 'InferenceTimeoutError', 'Intrinsics',
    'MessageError', 'MissingDependencyError', 'ModelError', 'ModelInfo', 'ParityError',
    'PeerError', 'PointCloudError', 'QualityError', 'SettingsError', 'SnapshotError',
    'convert_model', 'load_model', 'point_cloud', 'to_metric']

# OpenVINO and NNCF report their use to their makers when they are imported, from a child process
# that keeps the program from ending where there is no internet. Without this module they do not.
sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type]

_INSTALL_OPENCV = 'apt install python3-opencv, or pip install opencv-python-headless'


def __getattr__(name: str) -> Any:
    """Import the members that need NumPy and OpenCV at their first use."""
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    try:
        from depth_anything_ros import api
    except ModuleNotFoundError as error:
        if error.name != 'cv2':
            raise
        raise MissingDependencyError('OpenCV', name, _INSTALL_OPENCV) from error
    return getattr(api, name)


def __dir__() -> list[str]:
    """Return the public members, loaded or not."""
    return sorted({*globals(), *__all__})


def convert_model(source: Path | str, output: Path | str, *, precision: Precision | None = None,
                  kind: Kind | None = None, encoder: str | None = None,
                  model_version: ModelVersion | None = None, max_depth_m: float | None = None,
                  size_hw: tuple[int, int] | None = None, overwrite: bool = False,
                  report: Callable[[str], None] = lambda line: None,
                  describe: Path | str | None = None,
                  focal_px: float | None = None) -> ModelInfo:
    """
    Convert a checkpoint (.pth, .safetensors, -hf folder), an .onnx or an .xml to an IR.

    ``output`` is the .xml to write, its weights go to the .bin beside it. ``precision`` None means
    fp16, and for an .xml the precision that it has. ``size_hw`` fixes the network's input size.
    ``kind``, ``encoder``, ``model_version``, ``max_depth_m`` and ``focal_px`` override what the
    source says of itself. ``describe`` is a YAML file with the facts on an ONNX file or IR that is
    not Depth Anything. ``report`` gets a line for each step. Returns the metadata of the new
    model.

    CheckpointError if the source cannot be converted, ParityError if the result differs from it,
    OSError if the output cannot be written: none of them leaves a file behind.
    MissingDependencyError where the optional packages for conversion are not installed.
    """
    from depth_anything_ros.convert import PROGRAM
    try:
        from depth_anything_ros.convert.conversion import convert, Job
        from depth_anything_ros.convert.sources.identity import Overrides
        job = Job(Path(source), Path(output), precision,
                  Overrides(kind, model_version, max_depth_m, encoder, focal_px), overwrite,
                  size_hw, describe=None if describe is None else Path(describe))
        return convert(job, report=report).info
    except ModuleNotFoundError as error:
        if was_interrupted(error):
            raise KeyboardInterrupt from error
        raise MissingDependencyError(error.name or str(error), 'convert_model',
                                     PROGRAM.install) from error
