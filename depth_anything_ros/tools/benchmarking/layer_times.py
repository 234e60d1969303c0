"""How long each layer of a model takes, in a loop of whole inferences."""

from functools import partial
import statistics
from typing import Any

from depth_anything_ros.tools.benchmarking.machine_peak import seconds_of
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]


class ProfiledModel:
    """
    A request of a model compiled with PERF_COUNT, and what its layers took in each call.

    OpenVINO's figures are means, in whole microseconds, over all calls since the model was
    compiled; a call is the difference of two sums. ``rounds`` holds calls by round, and of each
    call the seconds of the layers that ran, by name.
    """

    def __init__(self, request: Any, image: U8, warm_up: int) -> None:
        self._request = request
        self._image = image
        self._calls = 0
        self._sums_s: dict[str, float] = {}
        self.rounds: list[list[dict[str, float]]] = []
        for _ in range(warm_up):
            self._call()

    def run(self, calls: int) -> float:
        """Return the seconds of one inference, the median of ``calls``; adds a round."""
        found = [self._call() for _ in range(calls)]
        self.rounds.append([layers_s for _, layers_s in found])
        return statistics.median(seconds for seconds, _ in found)

    def _call(self) -> tuple[float, dict[str, float]]:
        seconds = seconds_of(partial(self._request.infer, [self._image], share_inputs=True))
        self._calls += 1
        before = self._sums_s
        self._sums_s = {
            info.node_name: info.real_time.total_seconds() * self._calls
            for info in self._request.get_profiling_info() if info.status.name == 'EXECUTED'}
        return seconds, {name: max(0.0, total_s - before.get(name, 0.0))
                         for name, total_s in self._sums_s.items()}
