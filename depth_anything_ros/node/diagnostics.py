"""The messages on /diagnostics: device, rates, dropped frames, latency, age, last error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math
import time
from typing import NamedTuple

from depth_anything_ros.alignment.tracker import Alignment
from depth_anything_ros.inference.engine import EngineState
from depth_anything_ros.inference.scheduler import FrameStats
from depth_anything_ros.model_info import ModelInfo, Size
from depth_anything_ros.node.aligner import alignment_values
from depth_anything_ros.ros.callbacks import one_line
from depth_anything_ros.ros.qos import lost_remedy
from depth_anything_ros.vision.transforms import model_input_hw
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

_SILENCE_S = 3.0
# Images are missing after as many times the time between the last two.
_SILENCE_GAPS = 2.0


@dataclass(frozen=True)
class Health:
    """
    The state of one camera of the node at one moment.

    ``state`` is the lifecycle state and ``engine`` the values of ``engine_values``. ``received``
    counts images, ``without_subscriber`` those that arrived while no output had a subscriber.
    ``image_topic`` is resolved, ``publishers`` counts its publishers, ``topic_problem`` says why
    no image can arrive from them, if it is known. ``alignment`` is None without a reference.
    ``lost`` counts images that did not arrive. ``metric_problem`` says why there are no metres
    without an alignment, ``failed_transition`` why the node is not in a later state.
    """

    state: str
    engine: Mapping[str, str]
    stats: FrameStats | None
    received: int
    without_subscriber: int
    image_topic: str
    publishers: int
    alignment: Alignment | None = None
    topic_problem: str = ''
    lost: int = 0
    metric_problem: str = ''
    failed_transition: str = ''


class _Counts(NamedTuple):
    """Counts of a Health, or what was added to them since the previous one."""

    received: int = 0
    delivered: int = 0
    failed: int = 0
    late: int = 0
    lost: int = 0
    without_subscriber: int = 0


class DiagnosticsReporter:
    """
    Makes messages of Health; rates are differences to the previous one, which it keeps.

    ``name`` is that of the status. ``is_silent`` says whether images were missing in the latest
    one: for 3 s, or for twice the time between the last two images of a slow camera.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._last_at = self._received_at = self._delivered_at = time.monotonic()
        self._gap_s, self._image_at = 0.0, math.nan
        self._last = _Counts()
        self.is_silent = False

    def status(self, health: Health) -> DiagnosticStatus:
        """Return the status: OK, WARN (images or metres) or ERROR (all frames, a transition)."""
        counts = _counts(health)
        # A node that was configured again counts from 0.
        new = _Counts(*(max(0, count - last) for count, last in zip(counts, self._last)))
        self._last = counts
        rates = self._rates(health, new)
        level, message = self._level_and_message(health, new)
        values = {'lifecycle state': health.state, **health.engine,
                  'image topic': health.image_topic, **rates, **_frame_values(health),
                  **{f'alignment {key}': value
                     for key, value in alignment_values(health.alignment).items()}}
        return DiagnosticStatus(
            level=level, name=self._name, message=one_line(message),
            hardware_id=one_line(health.engine.get('device', '')), values=key_values(values))

    def _rates(self, health: Health, new: _Counts) -> dict[str, str]:
        now = time.monotonic()
        period, self._last_at = max(now - self._last_at, 1e-6), now
        if health.state != 'active':
            self._image_at = math.nan
        elif new.received:
            if not math.isnan(self._image_at):
                self._gap_s = (now - self._image_at) / new.received
            self._image_at = now
        if new.received or health.state != 'active':
            self._received_at = now
        if new.delivered or health.state != 'active':
            self._delivered_at = now
        return {'images in [Hz]': f'{new.received / period:.2f}',
                'depth out [Hz]': f'{new.delivered / period:.2f}'}

    def _level_and_message(self, health: Health, new: _Counts) -> tuple[bytes, str]:
        silence_s = time.monotonic() - self._received_at
        patience_s = max(_SILENCE_S, _SILENCE_GAPS * self._gap_s)
        self.is_silent = health.state == 'active' and silence_s > patience_s
        if health.failed_transition and health.state != 'active':
            return DiagnosticStatus.ERROR, f'{health.state}, {health.failed_transition}'
        if health.state != 'active':
            return DiagnosticStatus.OK, health.state
        if self.is_silent:
            why = health.topic_problem or (
                'nobody publishes there' if not health.publishers else
                f'{health.publishers} publisher(s) there: compare QoS and camera')
            return DiagnosticStatus.WARN, (f'no image on {health.image_topic} for '
                                           f'{silence_s:.0f} s, {why}')
        if new.failed and health.stats is not None:
            nothing_works = (health.stats.delivered == 0
                             or time.monotonic() - self._delivered_at > patience_s)
            level = DiagnosticStatus.ERROR if nothing_works else DiagnosticStatus.WARN
            return level, f'{new.failed} frame(s) failed: {health.stats.last_error}'
        if new.lost:
            return DiagnosticStatus.WARN, (
                f'{new.lost} image(s) on {health.image_topic} got lost on the way to the node; '
                f'{lost_remedy(health.image_topic)}')
        if new.late:
            why = ('check its stamps and the network' if health.publishers < 2 else
                   f'it has {health.publishers} publishers: stop all but one')
            return DiagnosticStatus.WARN, (
                f'{new.late} image(s) on {health.image_topic} are older than the one before and '
                f'get no depth; {why}')
        if new.without_subscriber and not new.delivered:
            return DiagnosticStatus.OK, 'running, but nothing is computed: nobody subscribes'
        if health.alignment is not None and not health.alignment.usable:
            return DiagnosticStatus.WARN, f'no metric depth: {health.alignment.reason}'
        if health.metric_problem:
            return DiagnosticStatus.WARN, health.metric_problem
        return DiagnosticStatus.OK, 'running'


def _counts(health: Health) -> _Counts:
    delivered, failed, late = (0, 0, 0) if health.stats is None else (
        health.stats.delivered, health.stats.failed, health.stats.late)
    return _Counts(health.received, delivered, failed, late, health.lost,
                   health.without_subscriber)


def key_values(values: Mapping[str, str]) -> list[KeyValue]:
    """Return the values of a status, as texts that a message can hold."""
    return [KeyValue(key=key, value=one_line(value)) for key, value in values.items()]


def engine_values(info: ModelInfo, engine: EngineState, target_rate: float,
                  image_hw: Size) -> dict[str, str]:
    """Return the values for a camera with such images; ``target_rate`` is in Hz."""
    height, width = model_input_hw(info, image_hw, engine.input_size)
    return {
        'device': engine.execution_device, 'precision': engine.execution_precision,
        'model': f'{info.encoder} {info.kind} {info.source_name}',
        'network size': f'{width}x{height}', 'input size': str(engine.input_size),
        'target rate [Hz]': f'{target_rate:g}'}


def _frame_values(health: Health) -> dict[str, str]:
    stats = health.stats
    if stats is None:
        return {}
    return {
        'images received': str(health.received),
        'images lost on the way': str(health.lost),
        'images while nobody subscribed': str(health.without_subscriber),
        'frames delivered': str(stats.delivered),
        'frames dropped for a newer one': str(stats.dropped),
        'frames older than their predecessor': str(stats.late),
        'frames failed': str(stats.failed),
        'latency p50 [ms]': _number(stats.latency_p50_ms),
        'latency p95 [ms]': _number(stats.latency_p95_ms),
        'age of the last depth [s]': _number(stats.last_depth_age_s),
        'last error': stats.last_error}


def _number(value: float) -> str:
    return 'none yet' if math.isnan(value) else f'{value:.1f}'


def as_array(statuses: Sequence[DiagnosticStatus], stamp: object) -> DiagnosticArray:
    """Return the message for /diagnostics, stamped with builtin_interfaces/Time ``stamp``."""
    message = DiagnosticArray(status=list(statuses))
    message.header.stamp = stamp
    return message
