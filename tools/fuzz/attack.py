"""
The attack: volleys of random messages, requests and damage, each followed by a good image.

Everything is drawn from the seed and the number of the message, so that a failure can be repeated.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
import importlib.util
from pathlib import Path
from random import Random
import tempfile
import time
from typing import Any

from depth_anything_ros.cli.processes import private_domain
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.serialization import serialize_message
from tools.fuzz import images, references, requests
from tools.fuzz.damage import damage_file
from tools.fuzz.target import (
    COMPRESSED, Death, MODULE, RAW, REFERENCES, Silence, start_values, started, Target)
from tools.measure.figures import ROOT
from tools.measure.navigation_soak import growth

# How many of 10,000 messages. A transition or a damaged cache costs a second.
KINDS = {'images': 3400, 'compressed': 2400, 'camera_info': 1600, 'references': 2000,
         'parameters': 580, 'transitions': 15, 'cache': 5}
VOLLEY = 20
_RESTORE_EVERY = 10
# Of the messages, this share is also damaged as bytes, as a faulty publisher might send it.
_DAMAGED_BYTES = 0.15
_MOST_FAULTS = 5
_FIRST_STAMP_NS, _STAMP_STEP_NS = 10 ** 12, 10 ** 7
# The process keeps up to 128 MiB of freed memory by design, so less says nothing.
GROWTH_LIMIT_MIB = 48.0


@dataclass
class Report:
    """
    What an attack found.

    ``faults`` has a sentence for each death, exception or silence, with the command that repeats
    it. ``resident_mib`` is the memory of the node after each volley.
    """

    sent: int = 0
    handled: int = 0
    deaths: int = 0
    tracebacks: int = 0
    silences: int = 0
    faults: list[str] = field(default_factory=list)
    resident_mib: list[float] = field(default_factory=list)

    @property
    def growth_mib(self) -> float:
        """Return the growth of the node's memory after the first tenth of the attack."""
        return growth(self.resident_mib)

    @property
    def failed(self) -> bool:
        """Return whether anything was found."""
        return bool(self.faults) or self.growth_mib > GROWTH_LIMIT_MIB


@dataclass(frozen=True)
class Plan:
    """
    ``messages`` of the kinds ``only``, or of all, beginning with number ``first``.

    After ``minutes`` the attack ends with fewer messages.
    """

    seed: int = 0
    messages: int = 2000
    only: str = ''
    first: int = 0
    minutes: float = float('inf')

    def repeat(self, number: int) -> str:
        """Return the command that sends the volley of message ``number`` again."""
        first = number - number % VOLLEY
        kind = f' --only {self.only}' if self.only else ''
        return (f'python -m tools.fuzz --seed {self.seed}{kind} --first {first} '
                f'--messages {VOLLEY}')


def attack(plan: Plan, advance: Callable[..., None] = lambda *note: None,
           log: Callable[[str], None] = print, module: str = MODULE,
           timeout_s: float = 60.0) -> Report:
    """Attack a node as planned; it is started again after it died or fell silent."""
    private_domain()
    report = Report()
    number, last = plan.first - plan.first % VOLLEY, plan.first + plan.messages
    deadline = time.monotonic() + 60 * plan.minutes
    with tempfile.TemporaryDirectory() as folder:
        while number < last and len(report.faults) < _MOST_FAULTS and time.monotonic() < deadline:
            with _target(Path(folder), module, timeout_s) as (target, values):
                number = _attack_one(plan, number, last, deadline, target, values, report,
                                     advance, log)
                report.handled += target.handled
    return report


@contextmanager
def _target(folder: Path, module: str,
            timeout_s: float) -> Iterator[tuple[Target, Mapping[str, Any]]]:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        cache = Path(own) / 'cache'
        cache.mkdir()
        values = start_values(stand_in_model(Path(own)), cache)
        with started(Path(own), values, module, timeout_s) as target:
            yield target, values


def stand_in_model(folder: Path, **options: Any) -> Path:
    """Return the tiny model of the tests, whose depth is R + 2 G + 4 B."""
    path = ROOT / 'test' / 'support' / 'tiny.py'
    spec = importlib.util.spec_from_file_location('tiny', path)
    assert spec is not None and spec.loader is not None
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    model: Path = tiny.write_tiny_ir(folder, **options)
    return model


def _attack_one(plan: Plan, number: int, last: int, deadline: float, target: Target,
                values: Mapping[str, Any], report: Report, advance: Callable[..., None],
                log: Callable[[str], None]) -> int:
    """Attack one process until the end or until it fails; return the next number."""
    while number < last and time.monotonic() < deadline:
        done: list[str] = []
        failure: Exception | None = None
        try:
            for each in range(number, min(number + VOLLEY, last)):
                done.append(_send(plan, each, target, values))
                report.sent += 1
                advance(f'{len(report.faults)} faults')
            _prove(plan, number, target)
            report.resident_mib.append(target.resident_mib())
        except (Death, Silence) as error:
            failure = error
            report.deaths += isinstance(error, Death)
            report.silences += isinstance(error, Silence)
        lines = target.unexpected_lines()
        report.tracebacks += len(lines)
        if failure is not None or lines:
            found = [*([str(failure)] if failure else []), *lines[:3]]
            report.faults.append(f'{"; ".join(found)} after: {", ".join(done)}; repeat it with '
                                 f'{plan.repeat(number)}')
            log(report.faults[-1])
        number += VOLLEY
        if failure is not None or len(report.faults) >= _MOST_FAULTS:
            break
    return number


def _prove(plan: Plan, number: int, target: Target) -> None:
    """Bring the node back where that is due, and show good images to all its cameras."""
    rng = Random(f'{plan.seed} {number} probe')
    if number // VOLLEY % _RESTORE_EVERY == 0:
        target.restore()
    if plan.only in ('camera_info', 'references'):
        # Only an image makes the node use what came before.
        for camera in RAW:
            target.publish(f'/{camera}/image', images.good_image(rng, _stamp_ns(number + VOLLEY)))
    color = rng.randrange(256), rng.randrange(256), rng.randrange(256)
    expected = (color[2] + 2 * color[1] + 4 * color[0]) / 255
    target.probe(_stamp_ns(number + VOLLEY), color, expected)


def _stamp_ns(number: int) -> int:
    return _FIRST_STAMP_NS + number * _STAMP_STEP_NS


def _send(plan: Plan, number: int, target: Target, values: Mapping[str, Any]) -> str:
    """Send message ``number`` and return what it was."""
    rng = Random(f'{plan.seed} {number}')
    kind = rng.choices(tuple(KINDS), tuple(KINDS.values()))[0]
    kind = plan.only or kind
    stamp_ns = _stamp_ns(number)
    if kind == 'images':
        topic, message = f'/{RAW[number % len(RAW)]}/image', images.raw_image(rng, stamp_ns)
    elif kind == 'compressed':
        topic = f'/{COMPRESSED[number % len(COMPRESSED)]}/image/compressed'
        message = images.compressed_image(rng, stamp_ns)
    elif kind == 'camera_info':
        cameras = (*RAW, *COMPRESSED)
        topic = f'/{cameras[number % len(cameras)]}/camera_info'
        message = images.camera_info(rng, stamp_ns)
    elif kind == 'references':
        camera = tuple(REFERENCES)[number % len(REFERENCES)]
        topic = f'/{camera}/reference/{REFERENCES[camera][1]}'
        message = {'depth': references.depth, 'points': references.points,
                   'range': references.range_reading}[REFERENCES[camera][1]](rng, stamp_ns)
    else:
        return _request(kind, rng, target, values)
    target.publish(topic, message, _damaged_bytes(rng, message))
    return f'{kind} {number} on {topic}'


def _damaged_bytes(rng: Random, message: Any) -> bytes | None:
    if rng.random() >= _DAMAGED_BYTES:
        return None
    data = bytearray(serialize_message(message))
    if rng.random() < 0.5:
        del data[rng.randrange(4, len(data) + 1):]
    else:
        for _ in range(rng.choice((1, 4, 40))):
            data[rng.randrange(4, min(len(data), 200))] = rng.randrange(256)
    return bytes(data)


def _request(kind: str, rng: Random, target: Target, values: Mapping[str, Any]) -> str:
    """Send one request or damage files, and return what it was; the node is active after it."""
    if kind == 'parameters':
        service, name, content = requests.parameters_request(rng)
        target.dirty.update(requests.changed_names(content))
        target.request(service, name, content)
        return name
    if kind == 'cache':
        what = _damage_cache(rng, target, values['cache_dir'])
    elif rng.random() < 0.6:
        transition = requests.transition_request(rng)
        target.change_state(transition)
        what = f'transition {transition.transition.id}'
    else:
        what = _configure_wrongly(rng, target)
    target.restore()
    return what


def _configure_wrongly(rng: Random, target: Target) -> str:
    target.bring_down()
    changes = requests.start_changes(rng)
    names = [change.name for change in changes]
    target.dirty.update(names)
    target.request(*requests.set_parameters(changes))
    target.change_state(ChangeState.Request(
        transition=Transition(id=Transition.TRANSITION_CONFIGURE)))
    return f'configure with {", ".join(names)}'


def _damage_cache(rng: Random, target: Target, cache_dir: Path) -> str:
    """Damage some of the files that the next configure reads."""
    target.bring_down()
    files = sorted(file for file in cache_dir.iterdir() if file.is_file())
    chosen = rng.sample(files, min(len(files), rng.choice((1, 1, 3))))
    return '; '.join(damage_file(file, rng) for file in chosen) or 'nothing to damage'
