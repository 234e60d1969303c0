"""One model on one device: 8-bit images in, depth maps out, compiled for each image size."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
import threading
from typing import TYPE_CHECKING

from depth_anything_ros.arrays import U8
from depth_anything_ros.errors import (
    DepthAnythingError, DeviceError, ImageError, InferenceError, ModelError)
from depth_anything_ros.inference.compiled_cache import CompiledModelCache
from depth_anything_ros.inference.devices import (
    compile_options, execution_summary, is_available, open_core, PerformanceHint, precision_on,
    SELF_CHECK_LIMIT, self_check_marker)
from depth_anything_ros.inference.ir import (
    build_graph, error_reason, IrFiles, read_ir_files, read_model)
from depth_anything_ros.inference.pool import (
    Cut, ENGINE_CLOSED, OnDone, RequestPool, wait_for_one, whole_map)
from depth_anything_ros.model_info import ModelInfo, Size
from depth_anything_ros.vision import self_check
from depth_anything_ros.vision.color_image import ColorImage, to_bgr
from depth_anything_ros.vision.sky import with_sky
from depth_anything_ros.vision.transforms import (
    cut_borders, image_content, model_input_hw, network_image)
import numpy as np

if TYPE_CHECKING:
    import openvino as ov


# The network size of a 4:3 image at the largest input_size; larger ones need gigabytes of memory.
_MAX_NETWORK_PIXELS = 2058 * 2744
# Time grows with the square of the pixels: 8000x60 took minutes with the smallest model. Longer
# images are computed at sizes that need seconds at most.
_MAX_ASPECT, _FEW_PIXELS = 20, 1_000_000


@dataclass(frozen=True)
class EngineOptions:
    """
    How to run a model.

    - ``devices``: OpenVINO devices in order of preference; the first that works is used.
    - ``precision``: of the computation: auto, f32, bf16 or f16; see ``precision_on``.
    - ``requests``: infer requests in flight; 0 uses the number that the device recommends.
    - ``timeout_s``: seconds after which an infer request is given up.
    - ``start_timeout_s``: the same for self-check and warm-up, and never below ``timeout_s``: a
      machine that starts many programs at once is slow for a while.
    - ``input_size``: short side of the network's input [px]; 0 uses the model's default.
    - ``image_hw``: image size (height, width) to compile for at the start.
    - ``cache_dir``: an existing folder for compiled models, or None; see CompiledModelCache.
    - ``self_check``: compare the device with the f32 result that the IR stores.
    - ``checked_device``: the one device that needs no check, because it runs this model in this
      precision already.
    - ``hint``: OpenVINO's performance hint. LATENCY computes one image on all cores, which suits
      a camera; THROUGHPUT computes several images at once, which suits files.
    - ``threads``: the largest number of CPU threads, 0 for all cores; for several engines that
      share a machine.
    - ``sizes_kept``: how many network sizes stay compiled; each of them costs memory.
    - ``rate_hz``: images/s to reach with a RateControlledEngine, whose largest input size is
      ``input_size``; 0 for a fixed input size.
    """

    devices: tuple[str, ...] = ('CPU',)
    precision: str = 'auto'
    requests: int = 0
    timeout_s: float = 10.0
    start_timeout_s: float = 120.0
    input_size: int = 0
    image_hw: Size = (480, 640)
    cache_dir: Path | None = None
    self_check: bool = True
    checked_device: str = ''
    hint: PerformanceHint = 'LATENCY'
    threads: int = 0
    sizes_kept: int = 1
    rate_hz: float = 0.0


@dataclass(frozen=True)
class EngineState:
    """
    What an engine runs now; a change of the engine gives a new state.

    ``device`` is the entry of ``EngineOptions.devices`` in use. ``execution_device`` and
    ``execution_precision`` are what OpenVINO reports, for example 'CPU' and 'bf16'.
    ``input_size`` is the short side in pixels that images are resized for, and ``network_hw`` the
    network's input size (height, width) for the latest image.
    """

    device: str
    execution_device: str
    execution_precision: str
    input_size: int
    network_hw: Size


class Engine:
    """
    Depth from 8-bit images by asynchronous infer requests.

    The constructor reads the IR into memory unless ``model`` is its content, compiles it on the
    first device of the list that works, runs the self-check and one warm-up; ModelError,
    DeviceError or, for ``image_hw``, ImageError name what failed. ``warn`` gets a line for each
    device that does not work and each compiled model on disk that is damaged. ``info`` is the
    model's metadata. ``submit`` and ``warm_up`` must be called from one thread at a time;
    ``close`` may be called from any thread, also again.
    """

    def __init__(self, model: Path | IrFiles, options: EngineOptions,
                 warn: Callable[[str], None] = lambda line: None) -> None:
        self._core = open_core()
        self._files = read_ir_files(model)
        self._path = self._files.path
        self._model, self.info = read_model(self._core, self._files)
        self._warn = warn
        self._options = options
        self._pools: dict[Size, RequestPool] = {}
        self._failed: dict[Size, str] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._state = EngineState('none', 'none', 'none',
                                  options.input_size or self.info.input_size, (0, 0))
        # A device is not at fault for an image.
        require_computable(self.info, options.image_hw, options.input_size)
        self._start_on_first_working_device()

    @property
    def state(self) -> EngineState:
        """Return what runs now."""
        return self._state

    @property
    def capacity(self) -> int:
        """Return how many images may be in flight, all sizes together."""
        pool = self._pools.get(self._state.network_hw)
        return pool.capacity if pool else 1

    def submit(self, image: ColorImage, on_done: OnDone) -> None:
        """
        Start inference; ``on_done`` gets the network's output, a float32 map [H, W], or an error.

        Sky that the network itself names has inverse depth 0, or NaN metres; see ``with_sky``.
        Blocks while no request is idle and while a new size compiles. ImageError by
        ``require_computable``, InferenceError if the size cannot be compiled or the engine is
        closed.
        """
        self._submit(image, on_done)

    def _submit(self, image: ColorImage, on_done: OnDone,
                start_timeout_s: float | None = None) -> None:
        network_hw = require_computable(self.info, image.size_hw, self._state.input_size)
        pool, rule = self._pool_for(network_hw), self.info.input_rule

        def fill(network_input: U8) -> None:
            if image.order == 'bgr':
                network_image(image.pixels, rule, network_hw, out=network_input)
            else:
                resized = network_image(image.pixels, rule, network_hw)
                to_bgr(ColorImage(resized, image.order), out=network_input)

        pool.submit(fill, on_done, start_timeout_s, self._cut(image.size_hw, network_hw))

    def _cut(self, image_hw: Size, network_hw: Size) -> Cut:
        """Return what cuts a map to the part that shows the image."""
        if self.info.resize != 'letterbox':
            return whole_map
        content = image_content(self.info.input_rule, image_hw, network_hw)
        return partial(cut_borders, content=content, network_hw=network_hw)

    def warm_up(self, image_hw: Size) -> None:
        """Compile for images of this size and compute one; raises the errors of ``submit``."""
        black = ColorImage(np.zeros((*image_hw, 3), np.uint8), 'bgr')
        wait_for_one(partial(self._submit, black, start_timeout_s=self._start_timeout_s))

    def is_compiled_for(self, image_hw: Size) -> bool:
        """Return whether an image of this size needs no compilation."""
        return model_input_hw(self.info, image_hw, self._state.input_size) in self._pools

    def close(self) -> None:
        """Wait for the images in flight, release all requests and compiled models; idempotent."""
        with self._lock:
            self._closed = True
            self._drop_oldest_pools(0)

    @property
    def _start_timeout_s(self) -> float:
        return max(self._options.start_timeout_s, self._options.timeout_s)

    def _start_on_first_working_device(self) -> None:
        tried: list[tuple[str, str]] = []
        last: Exception | None = None
        for device in self._options.devices:
            try:
                self._start_on(device)
            except (DepthAnythingError, RuntimeError) as error:
                self._drop_oldest_pools(0)
                self._failed.clear()
                last, reason = error, error_reason(error)
                tried.append((device, reason))
                self._warn(f'{device} cannot run the model: {reason}')
            else:
                return
        raise DeviceError(tried, self._core.available_devices) from last

    def _start_on(self, device: str) -> None:
        if not is_available(self._core, device):
            remedy = ('write it in capitals' if is_available(self._core, device.upper()) else
                      'is its driver installed?')
            raise InferenceError(f'OpenVINO sees no such device; {remedy}')
        if self._options.self_check and device != self._options.checked_device:
            self._check_once(device)
        self._state = replace(self._state, device=device)
        self.warm_up(self._options.image_hw)

    def _check_once(self, device: str) -> None:
        """Run the self-check, where the cache does not remember that this model has passed it."""
        marker = self_check_marker(self._core, self._files.digest, device, precision_on(
            device, self._options.precision), self._options.cache_dir)
        if marker is None or not _is_there(marker):
            self._check(device)
        if marker is not None:
            # The time of its last use.
            with suppress(OSError):
                marker.touch()

    def _check(self, device: str) -> None:
        expected = self.info.self_check
        # A CPU is checked once, so what is compiled for that is not kept.
        compiled = self._compile(device, expected.size_hw, device != 'CPU')
        card = self_check.self_check_image(expected.size_hw)
        pool = RequestPool(compiled, 1, self._options.timeout_s, device)
        try:
            output = wait_for_one(partial(pool.submit, partial(np.copyto, src=card),
                                          start_timeout_s=self._start_timeout_s))
        finally:
            pool.close()
        found = self_check.deviation(expected, output, self.info.output_hw(expected.size_hw))
        if not found <= SELF_CHECK_LIMIT:
            raise ModelError(
                self._path, f'{device} computes something else than f32 on the self-check '
                f'(deviation {found:.3f}, allowed {SELF_CHECK_LIMIT})',
                'use another device or precision f32, or copy the model again if it worked before')

    def _pool_for(self, network_hw: Size) -> RequestPool:
        """Return the requests for this network size; compile it where it is not kept."""
        with self._lock:
            if self._closed:
                raise InferenceError(ENGINE_CLOSED)
            if network_hw in self._failed:
                raise InferenceError(self._failed[network_hw])
            if network_hw not in self._pools:
                self._drop_oldest_pools(max(0, self._options.sizes_kept - 1))
                self._pools[network_hw] = self._compile_pool(network_hw)
            pool = self._pools[network_hw] = self._pools.pop(network_hw)
            if network_hw != self._state.network_hw:
                self._state = replace(self._state, network_hw=network_hw)
            return pool

    def _compile_pool(self, network_hw: Size) -> RequestPool:
        device = self._state.device
        try:
            compiled = self._compile(device, network_hw)
        except RuntimeError as error:
            message = (f'{device} cannot compile {network_hw[1]}x{network_hw[0]}: '
                       f'{error_reason(error)}; lower input_size or use another device')
            self._failed[network_hw] = message
            raise InferenceError(message) from error
        # For throughput one request more, which holds the next image ready.
        count = self._options.requests or int(
            compiled.get_property('OPTIMAL_NUMBER_OF_INFER_REQUESTS')) + int(
                self._options.hint == 'THROUGHPUT')
        execution_device, execution_precision = execution_summary(compiled)
        self._state = replace(self._state, execution_device=execution_device,
                              execution_precision=execution_precision)
        return RequestPool(compiled, max(1, count), self._options.timeout_s, device,
                           partial(with_sky, self.info), self._warn)

    def _drop_oldest_pools(self, kept: int) -> None:
        """Close the pools used longest ago until ``kept`` of them are left."""
        while len(self._pools) > kept:
            self._pools.pop(next(iter(self._pools))).close()

    def _compile(self, device: str, network_hw: Size, keep: bool = True) -> 'ov.CompiledModel':
        options = compile_options(self._core, device, self._options.precision, self._options.hint,
                                  self._options.threads)
        build = partial(build_graph, self._model, self.info, network_hw)
        if not keep or self._options.cache_dir is None:
            return self._core.compile_model(build(), device, options)
        cache = CompiledModelCache(self._core, self._options.cache_dir, self._warn)
        return cache.compiled_model(build, (self._files.digest, network_hw), device, options)


def require_computable(info: ModelInfo, image_hw: Size, input_size: int = 0) -> Size:
    """
    Return the network's input size for an image; ImageError if it would take too long or too much.

    ``input_size`` 0 stands for the default of the model. Where the network's input has the shape
    of the image and more than a megapixel, its sides may be up to 20:1.
    """
    image = f'a {image_hw[1]}x{image_hw[0]} image'
    if min(image_hw) < 1:
        raise ImageError(f'{image} is empty; check the camera driver')
    network_hw = model_input_hw(info, image_hw, input_size)
    needed = f'needs a network of {network_hw[1]}x{network_hw[0]}'
    pixels = network_hw[0] * network_hw[1]
    if pixels > _MAX_NETWORK_PIXELS:
        raise ImageError(f'{image} {needed}, which is too large; crop it or lower input_size')
    if pixels > _FEW_PIXELS and info.fixed_size_hw is None \
            and max(network_hw) > _MAX_ASPECT * min(network_hw):
        raise ImageError(f'{image} {needed}, which is too long; crop it to at most '
                         f'{_MAX_ASPECT}:1 or lower input_size')
    return network_hw


def _is_there(marker: Path) -> bool:
    """Return whether a file is there; not if nobody may look, as in a folder of another user."""
    with suppress(OSError):
        return marker.exists()
    return False
