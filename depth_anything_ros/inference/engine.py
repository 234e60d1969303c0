"""One model on one device: images in, depth maps out, compiled for each size that comes."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import threading
from typing import TYPE_CHECKING

from depth_anything_ros.arrays import U8
from depth_anything_ros.errors import (
    DepthAnythingError, DeviceError, ImageError, InferenceError, ModelError)
from depth_anything_ros.inference.devices import (
    compile_options, execution_summary, is_available, PerformanceHint, self_check_marker)
from depth_anything_ros.inference.ir import build_graph, first_line, read_model
from depth_anything_ros.inference.pool import OnDone, RequestPool, wait_for_one
from depth_anything_ros.vision import self_check
from depth_anything_ros.vision.color_image import ColorImage, to_bgr
from depth_anything_ros.vision.transforms import network_size, resize_for_network
import numpy as np

if TYPE_CHECKING:
    import openvino as ov

Size = tuple[int, int]

# Mean deviation from the f32 result, in standard deviations, above which a device is refused.
SELF_CHECK_LIMIT = 0.1
# More would take memory by the gigabyte: 4:3 at the largest input_size.
MAX_NETWORK_PIXELS = 2058 * 2744


@dataclass(frozen=True)
class EngineOptions:
    """
    How to run a model.

    ``devices`` in order of preference; ``precision`` auto, f32, bf16 or f16; ``requests`` 0 lets
    the device choose; ``input_size`` 0 takes the model's; ``image_hw`` is the first image size to
    compile for; ``cache_dir`` must exist. ``hint`` LATENCY gives all cores to one image, which a
    camera wants; THROUGHPUT shares them out among several, which files want. Of the network sizes
    that images led to, the last ``sizes_kept`` stay compiled, at the price of their memory.
    ``rate_hz`` above 0 asks for a PacedEngine, whose largest input size is ``input_size``.
    """

    devices: tuple[str, ...] = ('CPU',)
    precision: str = 'auto'
    requests: int = 0
    timeout_s: float = 10.0
    input_size: int = 0
    image_hw: Size = (480, 640)
    cache_dir: Path | None = None
    self_check: bool = True
    hint: PerformanceHint = 'LATENCY'
    sizes_kept: int = 1
    rate_hz: float = 0.0


class Engine:
    """
    Depth from 8-bit images by asynchronous infer requests.

    The constructor reads the IR, takes the first device of the list that compiles it, passes the
    self-check and answers a warm-up; ModelError or DeviceError say why that failed. ``submit`` and
    ``warm_up`` belong to one thread at a time; ``close`` may be called from any, and again.
    """

    def __init__(self, path: Path, options: EngineOptions,
                 log: Callable[[str], None] = lambda line: None) -> None:
        import openvino as ov
        self._core = ov.Core()
        self._path = path
        self._model, self.info = read_model(self._core, path)
        self._options = options
        self._pools: dict[Size, RequestPool] = {}
        self._failed: dict[Size, str] = {}
        self._lock = threading.Lock()
        self._closed = False
        self.network_hw: Size = (0, 0)
        self.execution_device = self.execution_precision = 'none'
        self.device = self._start_on_first_working_device(log)

    @property
    def input_size(self) -> int:
        """Return the short side of the network's input that images are resized for."""
        return self._options.input_size or self.info.input_size

    @property
    def _spare_requests(self) -> int:
        """Return one where images queue up anyway, so that the next one is ready."""
        return int(self._options.hint == 'THROUGHPUT')

    @property
    def capacity(self) -> int:
        """Return how many images may be in flight, all sizes together."""
        pool = self._pools.get(self.network_hw)
        return pool.capacity if pool else 1

    def submit(self, image: ColorImage, on_done: OnDone) -> None:
        """
        Start inference; ``on_done`` gets a depth map [H, W] of the network's size or an exception.

        Blocks for as long as no request is idle, and while a new size compiles. InferenceError if
        the size cannot be compiled or the engine is closed.
        """
        network_hw = self._network_hw_of(image.size_hw)
        if network_hw[0] * network_hw[1] > MAX_NETWORK_PIXELS:
            raise ImageError(f'a {image.size_hw[1]}x{image.size_hw[0]} image needs a network of '
                             f'{network_hw[1]}x{network_hw[0]}, which is too large; crop it or '
                             'lower input_size')
        pool = self._pool_for(network_hw)

        def fill(network_input: U8) -> None:
            if image.order == 'bgr':
                resize_for_network(image.pixels, network_hw, out=network_input)
            else:
                resized = resize_for_network(image.pixels, network_hw)
                to_bgr(ColorImage(resized, image.order), out=network_input)

        pool.submit(fill, on_done)

    def warm_up(self, image_hw: Size) -> None:
        """Compile for images of this size and compute one; raises what went wrong."""
        black = ColorImage(np.zeros((*image_hw, 3), np.uint8), 'bgr')
        wait_for_one(partial(self.submit, black))

    def is_compiled_for(self, image_hw: Size) -> bool:
        """Return whether an image of this size is computed without compiling anything."""
        return self._network_hw_of(image_hw) in self._pools

    def close(self) -> None:
        """Finish what is in flight, release the requests and the compiled models."""
        with self._lock:
            self._closed = True
            self._drop_oldest_pools(0)

    def _network_hw_of(self, image_hw: Size) -> Size:
        return self.info.fixed_size_hw or network_size(
            image_hw, self.input_size, self.info.patch_multiple)

    def _start_on_first_working_device(self, log: Callable[[str], None]) -> str:
        tried: list[tuple[str, str]] = []
        for device in self._options.devices:
            try:
                self._start_on(device)
            except (DepthAnythingError, RuntimeError) as error:
                self._drop_oldest_pools(0)
                self._failed.clear()
                reason = first_line(error)
                tried.append((device, reason))
                log(f'{device} cannot run the model: {reason}')
            else:
                return device
        raise DeviceError(tried, self._core.available_devices)

    def _start_on(self, device: str) -> None:
        if not is_available(self._core, device):
            raise InferenceError('OpenVINO sees no such device; is its driver installed?')
        proof = self_check_marker(self._core, self._path, device, self._options.precision,
                           self._options.cache_dir)
        if self._options.self_check and not (proof and proof.exists()):
            self._check(device)
            if proof:
                with suppress(OSError):
                    proof.touch()
        self.device = device
        self.warm_up(self._options.image_hw)

    def _check(self, device: str) -> None:
        expected = self.info.self_check
        compiled = self._compile(device, build_graph(self._model, self.info, expected.size_hw))
        card = self_check.card_image(expected.size_hw)
        pool = RequestPool(compiled, 1, self._options.timeout_s, device)
        try:
            output = wait_for_one(partial(pool.submit, partial(np.copyto, src=card)))
        finally:
            pool.close()
        found = self_check.deviation(expected, output)
        if not found <= SELF_CHECK_LIMIT:
            raise ModelError(
                self._path, f'{device} computes something else than f32 on the self-check '
                f'(deviation {found:.3f}, allowed {SELF_CHECK_LIMIT})',
                'take another device or precision f32')

    def _pool_for(self, network_hw: Size) -> RequestPool:
        """Return the requests for this network size, compiled if it is none of those kept."""
        with self._lock:
            if self._closed:
                raise InferenceError('the engine is closed; configure the node again')
            if network_hw in self._failed:
                raise InferenceError(self._failed[network_hw])
            if network_hw not in self._pools:
                self._drop_oldest_pools(max(0, self._options.sizes_kept - 1))
                self._pools[network_hw] = self._compile_pool(network_hw)
            pool = self._pools[network_hw] = self._pools.pop(network_hw)
            self.network_hw = network_hw
            return pool

    def _compile_pool(self, network_hw: Size) -> RequestPool:
        try:
            compiled = self._compile(self.device,
                                     build_graph(self._model, self.info, network_hw))
        except RuntimeError as error:
            message = (f'{self.device} cannot compile {network_hw[1]}x{network_hw[0]}: '
                       f'{first_line(error)}; lower input_size or take another device')
            self._failed[network_hw] = message
            raise InferenceError(message) from error
        count = self._options.requests or int(
            compiled.get_property('OPTIMAL_NUMBER_OF_INFER_REQUESTS')) + self._spare_requests
        self.execution_device, self.execution_precision = execution_summary(compiled)
        return RequestPool(compiled, max(1, count), self._options.timeout_s, self.device)

    def _drop_oldest_pools(self, kept: int) -> None:
        """Close pools, the one used longest ago first, until so many are left."""
        while len(self._pools) > kept:
            self._pools.pop(next(iter(self._pools))).close()

    def _compile(self, device: str, graph: 'ov.Model') -> 'ov.CompiledModel':
        return self._core.compile_model(graph, device, compile_options(
            self._core, device, self._options.precision, self._options.cache_dir,
            self._options.hint))
