"""A compiled model without engine and node, the baseline of every measured speed."""

from pathlib import Path
import time

import numpy as np


class BareModel:
    """
    An IR compiled as the engine compiles it for LATENCY, called in a loop with a prepared input.

    ``image_hw`` is the image size (height, width) that gives the network's size ``network_hw``;
    ``threads`` is the number of threads of an inference. ModelError if the IR is unusable,
    ImageError for a size that the engine refuses.
    """

    def __init__(self, model: Path, input_size: int = 0, precision: str = 'auto',
                 image_hw: tuple[int, int] = (480, 640)) -> None:
        from depth_anything_ros.inference.devices import compile_options, open_core
        from depth_anything_ros.inference.engine import require_computable
        from depth_anything_ros.inference.ir import build_graph, read_model
        core = open_core()
        network, info = read_model(core, model)
        size_hw = require_computable(info, image_hw, input_size)
        compiled = core.compile_model(build_graph(network, info, size_hw), 'CPU',
                                      compile_options(core, 'CPU', precision))
        self.threads = int(compiled.get_property('INFERENCE_NUM_THREADS'))
        self.network_hw = size_hw
        self._request = compiled.create_infer_request()
        self._input = np.full((1, *size_hw, 3), 127, np.uint8)

    def rate(self, seconds: float) -> float:
        """Return inferences per second, measured for ``seconds`` after one warm-up."""
        self._request.infer([self._input], share_inputs=True)
        started, calls = time.monotonic(), 0
        while time.monotonic() < started + seconds:
            self._request.infer([self._input], share_inputs=True)
            calls += 1
        return calls / (time.monotonic() - started)
