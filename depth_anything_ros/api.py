"""
The Python API: ``load_model`` and the model that it returns, metric depth, point clouds.

Use it as ``from depth_anything_ros import load_model``; docs/python.md has examples.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
import logging
from pathlib import Path
from queue import SimpleQueue
import threading
from types import TracebackType
from typing import Literal, overload

import cv2
from depth_anything_ros.arrays import AnyArray, F32, U8
from depth_anything_ros.errors import (
    CameraInfoError, DepthAnythingError, ImageError, InferenceError, SettingsError)
from depth_anything_ros.files import expand_home, make_folder
from depth_anything_ros.inference.engine import Engine, EngineOptions, EngineState
from depth_anything_ros.inference.ir import error_reason, read_ir_files
from depth_anything_ros.inference.pool import OnDone, Outcome
from depth_anything_ros.model_info import device_names, ExecutionPrecision, ModelInfo
from depth_anything_ros.parameters import Settings
from depth_anything_ros.resources import shipped_model
from depth_anything_ros.vision import cloud
from depth_anything_ros.vision.color_image import ColorImage, Order, to_bgr
from depth_anything_ros.vision.depth import metric_from_inverse
from depth_anything_ros.vision.geometry import image_focal_scale, Intrinsics, pixel_rays
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np

OutputSize = Literal['input', 'native']
Hint = Literal['auto', 'LATENCY', 'THROUGHPUT']

# With a second request the next image is resized and waits while the first one is computed.
_LATENCY_REQUESTS = 2
_ORDERS: dict[int, Order] = {3: 'bgr', 4: 'bgra'}


def load_model(path: Path | str | None = None, *, device: str = 'CPU',
               precision: ExecutionPrecision = 'auto', input_size: int = 0, requests: int = 0,
               hint: Hint = 'auto', cache_dir: Path | str | None = None,
               request_timeout: float = 60.0, image_hw: tuple[int, int] = (480, 640),
               sizes_kept: int = 4) -> 'DepthModel':
    """
    Load a model and compile it; use the result in a ``with`` statement, or close it.

    - ``path``: an IR (.xml) of ``depth_anything_convert``; None for the model of this package.
    - ``device``: one or several OpenVINO devices, for example 'GPU' or 'NPU,GPU,CPU'. The first
      that works is used; each device that does not is logged as a warning.
    - ``precision``: of the computation; auto lets the device choose, a CPU the faster of f32 and
      bf16.
    - ``input_size``: short side of the network's input [px]; 0 uses the model's default.
    - ``requests``: infer requests, the images computed at a time; 0 lets the device choose.
    - ``hint``: OpenVINO's performance hint. auto compiles for LATENCY now, which is best for
      ``infer``, and once more for THROUGHPUT at the first ``infer_many``. Name one of the two to
      compile once, which needs less memory.
    - ``cache_dir``: folder for compiled models, which makes the next start faster; None or ''
      for none.
    - ``request_timeout``: time [s] after which an infer request is given up.
    - ``image_hw``: image size (height, width) to compile for now. The first image with another
      aspect ratio starts another compilation.
    - ``sizes_kept``: how many network sizes stay compiled; each of them costs memory.

    ModelError if the file is not a usable model, DeviceError if no device can run it,
    SettingsError for a wrong argument, OSError if ``cache_dir`` cannot be written.
    """
    model = shipped_model() if path is None else expand_home(path)
    Settings(precision=precision, requests=requests, input_size=input_size,
             request_timeout=request_timeout)
    if hint not in ('auto', 'LATENCY', 'THROUGHPUT'):
        raise SettingsError('hint', hint, 'auto, LATENCY or THROUGHPUT')
    if sizes_kept < 1:
        raise SettingsError('sizes_kept', sizes_kept, 'at least 1')
    sides = np.asarray(image_hw, object)
    if sides.shape != (2,) or not all(
            isinstance(side, (int, np.integer)) and side > 0 for side in sides):
        raise SettingsError('image_hw', image_hw, 'a height and a width, integers of at least 1')
    folder = None
    if cache_dir:
        folder = expand_home(cache_dir)
        make_folder(folder)
    warn = logging.getLogger(__name__).warning
    files = read_ir_files(model)
    throughput = EngineOptions(
        devices=device_names(device), precision=precision, requests=requests,
        timeout_s=request_timeout, input_size=input_size, image_hw=image_hw, cache_dir=folder,
        hint='THROUGHPUT', sizes_kept=sizes_kept)
    if hint == 'THROUGHPUT':
        return DepthModel(Engine(files, throughput, warn))
    engine = Engine(files, replace(throughput, hint='LATENCY',
                                   requests=requests or _LATENCY_REQUESTS), warn)
    if hint == 'LATENCY':
        return DepthModel(engine)
    throughput = replace(throughput, devices=(engine.state.device,), self_check=False)
    return DepthModel(engine, lambda: Engine(files, throughput, warn))


class DepthModel:
    """
    A compiled model that turns images into depth maps.

    ``info`` is the model's metadata: ``info.kind`` 'relative' means inverse depth up to scale and
    shift, larger where something is nearer; 'metric' means depth in metres.

    Images are uint8: BGR [H, W, 3], as OpenCV reads them, gray [H, W], or BGRA [H, W, 4].

    All methods may be called from any thread, also at the same time; only one thread at a time
    may use an iterator of ``infer_many``. ``close``, also called by ``with``, releases the device.
    """

    def __init__(self, engine: Engine,
                 make_throughput_engine: Callable[[], Engine] | None = None) -> None:
        self._engine = _SharedEngine(engine)
        self._make_throughput_engine = make_throughput_engine
        self._throughput_engine: _SharedEngine | None = None
        self._lock = threading.Lock()
        self._closed = False

    @property
    def info(self) -> ModelInfo:
        """Return the model's metadata: kind, unit, encoder, source, licence, precision."""
        return self._engine.engine.info

    @property
    def state(self) -> EngineState:
        """Return the device, the execution precision and the network's size of ``infer``."""
        return self._engine.engine.state

    def infer(self, image: U8, *, output_size: OutputSize = 'input') -> F32:
        """
        Return the depth of an image, float32 [H, W].

        The map has the image's size, bilinear with aligned corners, or with ``output_size``
        'native' that of the network's output. ImageError for an image of another type or shape,
        InferenceError if the device fails or the model is closed.
        """
        _check_output_size(output_size)
        return _depth_of(self._start(self._engine, image), output_size)

    @overload
    def infer_many(self, images: Iterable[U8], *, output_size: OutputSize = 'input',
                   return_exceptions: Literal[False] = False) -> Iterator[F32]:
        ...

    @overload
    def infer_many(self, images: Iterable[U8], *, output_size: OutputSize = 'input',
                   return_exceptions: Literal[True]) -> Iterator[F32 | DepthAnythingError]:
        ...

    def infer_many(self, images: Iterable[U8], *, output_size: OutputSize = 'input',
                   return_exceptions: bool = False) -> Iterator[F32 | DepthAnythingError]:
        """
        Yield the depth of each image, float32 [H, W], in the order of ``images``.

        The device computes several images at a time, also while the caller uses one map. Images
        may have different sizes. They are read one by one, a few ahead of the yielded map, so
        ``images`` may be endless. Errors as in ``infer``, and those of ``images``; each is raised
        after the maps of all images before it. With ``return_exceptions`` the error of an image is
        yielded in place of its map and the next images follow; errors of ``images`` and that of a
        closed model are raised. The first call may compile the model, see ``hint`` of
        ``load_model``.
        """
        _check_output_size(output_size)
        self._check_open()
        if isinstance(images, np.ndarray) and images.ndim < 4:
            raise ImageError(f'infer_many needs several images, not an array {images.shape}; '
                             'pass a list of images or an array [N, H, W, 3]')
        depths = self._infer_many(self._engine_for_many(), iter(images), output_size)
        return depths if return_exceptions else _raise_errors(depths)

    def focal_scale(self, camera: Intrinsics) -> float:
        """
        Return the scale [1/m] for ``to_metric`` of a model whose metres need the focal length.

        ``camera`` are the intrinsics of the image. CameraInfoError for another model.
        """
        info = self.info
        if info.focal_px is None:
            raise CameraInfoError(f'{info.source_name} gives no metres for a focal length; its '
                                  'kind is in info.kind')
        return image_focal_scale(info, camera, self.state.input_size)

    def close(self) -> None:
        """Wait for the images in flight and release the device; idempotent."""
        self._closed = True
        with self._lock:
            engines = (self._engine, self._throughput_engine)
        for shared in engines:
            if shared is not None:
                shared.engine.close()

    def __enter__(self) -> 'DepthModel':
        """Return the model."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        """Close the model."""
        self.close()

    def _engine_for_many(self) -> '_SharedEngine':
        with self._lock:
            self._check_open()
            if self._throughput_engine is None:
                make = self._make_throughput_engine
                self._throughput_engine = _SharedEngine(make()) if make else self._engine
            return self._throughput_engine

    def _infer_many(self, shared: '_SharedEngine', images: Iterator[U8],
                    output_size: OutputSize) -> Iterator[F32 | DepthAnythingError]:
        started: deque[_Started | DepthAnythingError] = deque()
        failure: Exception | None = None
        while True:
            try:
                image = next(images)
            except StopIteration:
                break
            except Exception as error:  # noqa: B902 - raised after the maps before it
                failure = error
                break
            try:
                started.append(self._start(shared, image))
            except DepthAnythingError as error:
                if self._closed:
                    failure = error
                    break
                started.append(error)
            if len(started) > shared.engine.capacity:
                yield _depth_or_error(started.popleft(), output_size)
        while started:
            yield _depth_or_error(started.popleft(), output_size)
        if failure is not None:
            raise failure

    def _start(self, shared: '_SharedEngine', image: U8) -> '_Started':
        """Start inference; InferenceError also for the errors of OpenVINO and OpenCV."""
        checked, outcome = _color_image(image), SimpleQueue[Outcome]()
        self._check_open()
        try:
            shared.submit(checked, outcome.put)
        except DepthAnythingError:
            self._check_open()
            raise
        except (RuntimeError, cv2.error) as error:
            raise InferenceError(f'the image cannot be computed: {error_reason(error)}; try '
                                 'another device') from error
        return checked.size_hw, outcome

    def _check_open(self) -> None:
        if self._closed:
            raise InferenceError('the model is closed; load it again with load_model()')


class _SharedEngine:
    """Lets several threads submit images to one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._lock = threading.Lock()

    def submit(self, image: ColorImage, on_done: OnDone) -> None:
        with self._lock:
            self.engine.submit(image, on_done)


# The image's size (height, width) and the queue that gets its map or its error.
_Started = tuple[tuple[int, int], 'SimpleQueue[Outcome]']


def _depth_of(started: _Started, output_size: OutputSize) -> F32:
    image_hw, queue = started
    outcome = queue.get()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome if output_size == 'native' else resize_depth(outcome, image_hw)


def _depth_or_error(started: _Started | DepthAnythingError,
                    output_size: OutputSize) -> F32 | DepthAnythingError:
    if isinstance(started, DepthAnythingError):
        return started
    try:
        return _depth_of(started, output_size)
    except DepthAnythingError as error:
        return error


def _raise_errors(outcomes: Iterator[F32 | DepthAnythingError]) -> Iterator[F32]:
    for outcome in outcomes:
        if isinstance(outcome, DepthAnythingError):
            raise outcome
        yield outcome


def _color_image(image: U8) -> ColorImage:
    if image is None:
        raise ImageError('the image is None, which cv2.imread returns for a file that is missing '
                         'or no picture; check its path')
    if not isinstance(image, np.ndarray):
        raise ImageError(f'an image must be a NumPy array, not {type(image).__name__}; pass '
                         'numpy.asarray(image), or cv2.imread(path) for a file')
    if image.dtype != np.uint8:
        raise ImageError(f'the image has dtype {image.dtype}; pass uint8 with values from 0 to '
                         '255')
    channels = image.shape[2] if image.ndim == 3 else 0
    if image.ndim != 2 and channels not in _ORDERS:
        raise ImageError(f'the image has shape {image.shape}; pass BGR [H, W, 3], gray [H, W] or '
                         'BGRA [H, W, 4]')
    if image.size == 0:
        raise ImageError(f'the image is empty, shape {image.shape}; check how it was read')
    return ColorImage(np.ascontiguousarray(image), _ORDERS.get(channels, 'mono'))


def _check_output_size(output_size: OutputSize) -> None:
    if output_size not in ('input', 'native'):
        raise SettingsError('output_size', output_size, 'input or native')


def to_metric(depth: F32, scale: float, shift: float) -> F32:
    """
    Return depth in metres, 1 / (scale * d + shift), of a relative inverse depth map d [H, W].

    NaN where ``depth`` is NaN and where the sum is not positive. ``scale`` and ``shift`` [1/m]
    hold for one image; they come from known distances, see docs/python.md.
    """
    return metric_from_inverse(np.asarray(depth, np.float32), scale, shift)


def point_cloud(depth_m: F32, camera: Intrinsics | AnyArray, image: U8 | None = None) -> F32:
    """
    Return the points of a depth map [H, W] in metres, float32 [H, W, 3]: x right, y down, z ahead.

    ``camera`` are the Intrinsics or the 3x3 matrix K of an image of the same size. Points are NaN
    where the depth is not a positive number. With ``image``, BGR, BGRA or gray of the same size,
    the result is [H, W, 4], and the fourth value holds the bits 0x00RRGGBB, as PCL and RViz expect
    of a field named rgb. CameraInfoError or ImageError if a size or shape does not fit.
    """
    depth_m = np.asarray(depth_m, np.float32)
    if depth_m.ndim != 2:
        raise ImageError(f'the depth has shape {depth_m.shape}; pass one map [H, W]')
    size_hw = depth_m.shape[0], depth_m.shape[1]
    if not isinstance(camera, Intrinsics):
        camera = _intrinsics_of(np.asarray(camera, np.float64), size_hw)
    if camera.size_hw != size_hw:
        raise CameraInfoError(
            f'the camera is that of {camera.size_hw[1]}x{camera.size_hw[0]} images, but the depth '
            f'is {size_hw[1]}x{size_hw[0]}; pass the depth at the size of the image')
    image_bgr = None
    if image is not None:
        image_bgr = _bgr_of_size(image, size_hw)
    return cloud.point_cloud(depth_m, image_bgr, pixel_rays(camera, 1), cloud.CloudOptions())


def _bgr_of_size(image: U8, size_hw: tuple[int, int]) -> U8:
    checked = _color_image(image)
    if checked.size_hw != size_hw:
        raise ImageError(f'the image is {checked.size_hw[1]}x{checked.size_hw[0]}, but the depth '
                         f'is {size_hw[1]}x{size_hw[0]}; pass the depth at the size of the image')
    return to_bgr(checked)


def _intrinsics_of(matrix: AnyArray, size_hw: tuple[int, int]) -> Intrinsics:
    if matrix.shape != (3, 3):
        raise CameraInfoError(f'the camera matrix has shape {matrix.shape}; pass K with shape '
                              '(3, 3) or Intrinsics')
    return Intrinsics(float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]),
                      float(matrix[1, 2]), size_hw)
