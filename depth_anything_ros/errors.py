"""
The errors of this package.

Each message is a sentence that names the fact and the fix::

    DepthAnythingError
    ├── SettingsError            a parameter has a value that cannot work
    ├── ModelError               an IR is missing, damaged, foreign or wrong on this device
    ├── CheckpointError          a checkpoint, ONNX file or IR cannot be converted
    ├── ParityError              a converted model differs from its source
    ├── QualityError             an INT8 model loses more than the gate allows
    ├── DeviceError              no device of the list can run the model
    ├── InferenceError           one image could not be computed
    │   └── InferenceTimeoutError
    ├── MessageError             a serialized message is not of its type
    ├── ImageError               an image message, array, file, video or bag cannot be read
    ├── DatasetError             a folder, its description or an annotation file cannot be used
    ├── CameraInfoError          a camera_info cannot be used
    ├── PointCloudError          a point cloud message cannot be read
    ├── AlignmentError           a reference does not fix the scale of the depth
    │   └── AlignmentHeldError   it does not at present, and the last fit still holds
    ├── SnapshotError            a snapshot cannot be saved
    ├── PeerError                another process of the same training has ended
    ├── FleetError               the machines of a Ray cluster cannot be used
    └── MissingDependencyError   an optional package is not installed
"""

from collections.abc import Sequence
from pathlib import Path

# What a MissingDependencyError tells to do. Packages that can bring NumPy 2 belong in a virtual
# environment: the OpenCV of apt and packages of ROS may be built for NumPy 1.
_APART = ', in a virtual environment'
INSTALL_CONVERT = f"pip install 'depth_anything_ros[convert]'{_APART}"
INSTALL_DISTILL = f"pip install 'depth_anything_ros[distill]'{_APART}"
INSTALL_TOOLS = f"pip install 'depth_anything_ros[tools]'{_APART}"
INSTALL_APP = f"pip install 'depth_anything_ros[app]'{_APART}"
INSTALL_FLEET = f"pip install 'depth_anything_ros[fleet]'{_APART}"
INSTALL_VIEW = "pip install 'depth_anything_ros[view]'"
INSTALL_ROS = "source ROS 2, or pip install 'depth_anything_ros[jazzy]'"


class DepthAnythingError(Exception):
    """Base of all errors of this package."""


class SettingsError(DepthAnythingError):
    """A parameter has a value that cannot work."""

    def __init__(self, name: str, value: object, expected: str) -> None:
        super().__init__(f'parameter {name} is {value!r}; it must be {expected}')
        self.name = name


class ModelError(DepthAnythingError):
    """An IR is missing, damaged, foreign or wrong on this device."""

    def __init__(self, path: Path | str, problem: str, fix: str) -> None:
        super().__init__(f'{path}: {problem}; {fix}')
        self.path = Path(path)


class CheckpointError(DepthAnythingError):
    """A checkpoint, ONNX file or IR cannot be converted."""

    def __init__(self, path: Path | str, problem: str, fix: str) -> None:
        super().__init__(f'{path}: {problem}; {fix}')


class ParityError(DepthAnythingError):
    """A converted model differs from its source by more than the gate allows."""

    def __init__(self, name: str, size_hw: tuple[int, int], found: float, allowed: float,
                 reference: str = 'PyTorch') -> None:
        super().__init__(
            f'{name} at {size_hw[1]}x{size_hw[0]} differs from {reference} by {found:.2e} of the '
            f"output's standard deviation, allowed are {allowed:.0e}; no file was written. "
            'Try --precision fp32, or another torch or openvino version')


class QualityError(DepthAnythingError):
    """An INT8 model loses more than the gate allows."""

    def __init__(self, path: Path | str, found: str, allowed: str) -> None:
        super().__init__(
            f'{path}: the best INT8 model found loses {found}; allowed are {allowed}; no file was '
            'written. Calibrate with more images like those of the camera, or quantize its IR in '
            'fp16 with `depth_anything_convert quantize`, which has options for other limits')


class DeviceError(DepthAnythingError):
    """No device of the list can run the model."""

    def __init__(self, tried: Sequence[tuple[str, str]], available: Sequence[str]) -> None:
        reasons = '; '.join(f'{device}: {reason}' for device, reason in tried) or 'none is named'
        super().__init__(
            f'no device can run the model ({reasons}). OpenVINO sees: '
            f'{", ".join(available) or "none"}. Set the parameter device to one of them')
        self.tried = tuple(tried)


class InferenceError(DepthAnythingError):
    """One image could not be computed."""


class InferenceTimeoutError(InferenceError):
    """An infer request did not answer in time; ``at_start`` means self-check or warm-up."""

    def __init__(self, device: str, timeout_s: float, at_start: bool = False) -> None:
        consequence = ('at the start; lower input_size or use another device' if at_start else
                       'and the frame was given up; raise request_timeout or lower input_size')
        super().__init__(f'{device} did not answer within {timeout_s:g} s {consequence}')


class MessageError(DepthAnythingError):
    """The bytes of a received message are not a message of its type."""

    def __init__(self, type_name: str, size: int, problem: object) -> None:
        super().__init__(f'{size} bytes are no {type_name} message ({problem}); its publisher has '
                         'another version of the type, or the message was damaged on the way')


class ImageError(DepthAnythingError):
    """An image message, array, file, video or bag cannot be read."""


class DatasetError(DepthAnythingError):
    """A folder of images and depth, its description or an annotation file cannot be used."""

    def __init__(self, path: Path, problem: str, fix: str) -> None:
        super().__init__(f'{path}: {problem}; {fix}')


class CameraInfoError(DepthAnythingError):
    """A camera_info cannot be used."""


class PointCloudError(DepthAnythingError):
    """A point cloud message cannot be read."""


class AlignmentError(DepthAnythingError):
    """A reference does not fix the scale of the depth."""


class AlignmentHeldError(AlignmentError):
    """A reference measures nothing at present, for a reason for which the last fit still holds."""


class SnapshotError(DepthAnythingError):
    """A snapshot cannot be saved."""


class PeerError(DepthAnythingError):
    """Another process of the same training has ended."""

    def __init__(self) -> None:
        super().__init__('another process of this training ended without a message, perhaps for '
                         'lack of memory; see the report of torchrun and its machine, then run '
                         'the same command again to continue')


class FleetError(DepthAnythingError):
    """The machines of a Ray cluster cannot be used."""


class MissingDependencyError(DepthAnythingError):
    """An optional package is not installed."""

    def __init__(self, package: str, purpose: str, install: str) -> None:
        super().__init__(f'{purpose} needs {package}, which is not installed: {install}')
        self.package = package


def line_of(error: BaseException) -> str:
    """Return the text of an error in one line, its type if it has none."""
    return ' '.join(str(error).split()) or type(error).__name__


def was_interrupted(error: BaseException | None) -> bool:
    """Return whether Ctrl-C caused ``error``; during an import it becomes an ImportError."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None
