"""How much faster one model is than another on this CPU, in the same minute."""

import statistics
import time
from typing import Any, TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import openvino

_ROUNDS = 9


def speedup(model: 'openvino.Model', baseline: 'openvino.Model',
            image: npt.NDArray[np.float32], rounds: int = _ROUNDS) -> float:
    """
    Return inferences per second of ``model`` over those of ``baseline``.

    Both run in the precision that the CPU would choose, in turn; the median of the rounds counts.
    """
    requests = [_request(one, image) for one in (model, baseline)]
    ratios = []
    for number in range(rounds + 1):
        seconds = []
        for request in requests:
            started = time.perf_counter()
            request.infer()
            seconds.append(time.perf_counter() - started)
        if number:
            ratios.append(seconds[1] / seconds[0])
    return statistics.median(ratios)


def _request(model: 'openvino.Model', image: npt.NDArray[np.float32]) -> Any:
    import openvino

    fixed = model.clone()
    fixed.reshape(list(image.shape))
    compiled = openvino.Core().compile_model(fixed, 'CPU', {'PERFORMANCE_HINT': 'LATENCY'})
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(np.ascontiguousarray(image)))
    return request
