"""Images per second of the rungs of a ladder, in turn and relative to one of them."""

from collections.abc import Sequence
from contextlib import closing, ExitStack
from dataclasses import dataclass
from functools import partial
import time

from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.inference.pool import wait_for_one
from depth_anything_ros.tools.benchmarking.ladder_rungs import Rung
from depth_anything_ros.tools.benchmarking.results import interleaved, ratio, Say, Spread
from depth_anything_ros.vision.encodings import ColorImage
import numpy as np

IMAGE_HW = (480, 640)
PHASE_S, _MOST_IMAGES = 2.0, 100
_TIMEOUT_S = 300.0
# Each compiled size takes some 150 MiB with an encoder of vits and several times that with vitl.
_TOGETHER = 8


@dataclass(frozen=True)
class Speed:
    """Images per second over those of the yardstick, the yardstick's, and the network's size."""

    relative: Spread
    yardstick_hz: Spread
    network_hw: tuple[int, int]


def measure_speeds(rungs: Sequence[Rung], yardstick: Rung, rounds: int,
                   say: Say) -> dict[Rung, Speed]:
    """Measure some rungs at a time, each group beside the yardstick; DeviceError if one fails."""
    speeds: dict[Rung, Speed] = {}
    with closing(_start(yardstick)) as engine:
        for first in range(0, len(rungs), _TOGETHER):
            group = rungs[first:first + _TOGETHER]
            say(f'speed: rungs {first + 1} to {first + len(group)} of {len(rungs)}')
            speeds |= _measure_group(group, yardstick, engine, rounds, say)
    return speeds


def _measure_group(group: Sequence[Rung], yardstick: Rung, yardstick_engine: Engine, rounds: int,
                   say: Say) -> dict[Rung, Speed]:
    with ExitStack() as stack:
        engines = {yardstick: yardstick_engine} | {
            rung: stack.enter_context(closing(_start(rung)))
            for rung in group if rung != yardstick}
        found = interleaved({str(rung): partial(_rate, engine)
                             for rung, engine in engines.items()}, rounds, say)
        base = found[str(yardstick)]
        return {rung: Speed(ratio(found[str(rung)], base), Spread.of(base),
                            engines[rung].network_hw) for rung in group}


def _start(rung: Rung) -> Engine:
    return Engine(rung.model, EngineOptions(
        precision=rung.precision, requests=1, timeout_s=_TIMEOUT_S, input_size=rung.size,
        image_hw=IMAGE_HW, self_check=False))


def _rate(engine: Engine) -> float:
    """Return images per second, one after the other, after one that is not counted."""
    image = ColorImage(np.full((*IMAGE_HW, 3), 127, np.uint8), 'bgr')
    wait_for_one(partial(engine.submit, image))
    started, count = time.monotonic(), 0
    while count < _MOST_IMAGES and time.monotonic() < started + PHASE_S:
        wait_for_one(partial(engine.submit, image))
        count += 1
    return count / (time.monotonic() - started)
