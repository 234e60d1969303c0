"""
Sends the files of one work to the workers of a Ray cluster until each has a result.

Each machine runs actors that open the model once. The driver, which is the program that the user
started, sends them units in batches and sends those of an actor that ends to another one.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
import pickle
import threading
import time
from typing import Any

from depth_anything_ros.errors import FleetError
from depth_anything_ros.fleet.cluster import FleetOptions, Machine, machines
from depth_anything_ros.fleet.worker import OpenWorker, Progress
from depth_anything_ros.version import __version__

# A batch is a share of what is left, so that all workers end at about the same time. It lasts a
# second at least: between two batches the device waits for the disk and the decoder.
_BATCHES_LEFT, _LARGEST_BATCH, _SHORTEST_BATCH_S = 2, 256, 1.0
# A unit that ended so many workers is at fault, a machine with so many in a row too.
_TRIES = 3
_WAIT_S, _LOOK_S, _PATIENCE_S, _STOP_S = 0.5, 5.0, 30.0, 20.0


@dataclass(frozen=True, eq=False)
class Unit:
    """One file of the work; ``content`` is pickled for the worker. A large one goes alone."""

    name: str
    content: Any
    alone: bool = False


@dataclass(frozen=True)
class Lost:
    """The result of a unit that no worker could finish."""

    reason: str


@dataclass(frozen=True)
class Listener:
    """
    Hears of the work, in the driver's thread.

    ``on_result`` gets a unit and its result or Lost, ``on_image`` is called for each image, and
    ``warn`` gets a line about a machine.
    """

    on_result: Callable[[Unit, Any], None]
    on_image: Callable[[], None]
    warn: Callable[[str], None]


@dataclass(eq=False)
class _Member:
    """A worker: its actor, what it is asked at present, and the units that it has."""

    machine: Machine
    slot: int
    actor: Any
    waits_for: Any
    state: str = 'probe'
    units: dict[int, Unit] = field(default_factory=dict)
    sent: int = 0
    sent_s: float = 0.0


@contextmanager
def opened_fleet(ray: Any, options: FleetOptions, open_worker: OpenWorker) -> Iterator['Fleet']:
    """Yield a fleet whose workers open ``open_worker``; they end with the block."""
    fleet = Fleet(ray, options, open_worker)
    try:
        yield fleet
    finally:
        fleet.close()


class Fleet:
    """
    The workers on the machines of a cluster.

    Machines that join get workers too. A machine that cannot do the work is left out with a
    warning; FleetError if that leaves none.
    """

    def __init__(self, ray: Any, options: FleetOptions, open_worker: OpenWorker) -> None:
        self._ray = ray
        self._options = options
        self._actor = _actor_class(ray)
        self._opened = ray.put(pickle.dumps(open_worker))
        self._members: list[_Member] = []
        self._left_out: dict[str, str] = {}
        # By machine: what it failed at since it finished a unit, and by unit: where it failed.
        self._strikes: defaultdict[str, set[object]] = defaultdict(set)
        self._failed_on: defaultdict[Unit, list[str]] = defaultdict(list)
        self._suspects: set[Unit] = set()
        self._worked: set[str] = set()
        self._looked_s = -_LOOK_S
        # Of one worker, as measured with its latest batch.
        self._units_per_s = 0.0
        self._stopping = False

    @property
    def machines_used(self) -> int:
        """Return how many machines have finished units."""
        return len(self._worked)

    def run(self, units: Iterable[Unit], listener: Listener, stop: threading.Event) -> None:
        """Return when each unit has its result, or soon after ``stop``."""
        waiting = deque(units)
        self._failed_on.clear()
        self._suspects.clear()
        start_s = time.monotonic()
        warned = False
        while (waiting or self._busy()) and not stop.is_set():
            if time.monotonic() - self._looked_s >= _LOOK_S:
                self._looked_s = time.monotonic()
                self._enlist(len(waiting) + len(self._busy()))
            for member in self._members:
                if member.state == 'idle' and self._turn_to_fitting(member, waiting):
                    self._send(member, waiting)
            self._wait(waiting, listener)
            if not warned and not self._worked and time.monotonic() - start_s > _PATIENCE_S \
                    and all(member.state == 'probe' for member in self._members):
                warned = True
                listener.warn('waiting for free CPUs in the Ray cluster; `ray status` shows what '
                              'uses them')
        if stop.is_set():
            self._stop(waiting, listener)

    def close(self) -> None:
        """End all workers; idempotent."""
        for member in self._members:
            self._ray.kill(member.actor)
        self._members.clear()

    def _busy(self) -> list[_Member]:
        return [member for member in self._members if member.state == 'run']

    def _enlist(self, units: int) -> None:
        """Start the workers that machines lack, at most one per unit."""
        found = machines(self._ray)
        if not any(machine.workers(self._options) for machine in found):
            largest = max((machine.cpus for machine in found), default=0)
            raise FleetError(f'no machine of the Ray cluster has {max(1, self._options.cpus)} '
                             f'CPUs for Ray, the largest has {largest}; lower --ray-cpus or start '
                             'Ray there with --num-cpus')
        # The first worker of each machine, then the second ones.
        slots = sorted((slot, one) for one in found if one.node_id not in self._left_out
                       for slot in range(one.workers(self._options)))
        taken = {(member.slot, member.machine.node_id) for member in self._members}
        for slot, machine in slots:
            if (slot, machine.node_id) not in taken and len(self._members) < units:
                self._members.append(self._start(machine, slot))
        if not self._members:
            reasons = '; '.join(sorted(set(self._left_out.values())))
            raise FleetError(f'no machine of the Ray cluster can do the work: {reasons}')

    def _start(self, machine: Machine, slot: int) -> _Member:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
        has_gpu = self._options.gpus and machine.gpus > 0
        actor = self._actor.options(
            num_cpus=machine.worker_cpus(self._options), num_gpus=int(has_gpu),
            max_concurrency=2, max_restarts=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(machine.node_id, soft=False),
        ).remote()
        return _Member(machine, slot, actor, actor.probe.remote())

    def _turn_to_fitting(self, member: _Member, waiting: deque[Unit]) -> bool:
        """Bring a unit to the front that did not fail on this machine, or on all that work."""
        nodes = {one.machine.node_id for one in self._members if one.state != 'probe'}
        for _ in range(len(waiting)):
            failed_on = self._failed_on.get(waiting[0], ())
            if member.machine.node_id not in failed_on or nodes.issubset(failed_on):
                return True
            waiting.rotate(-1)
        return False

    def _send(self, member: _Member, waiting: deque[Unit]) -> None:
        batch = self._batch(waiting)
        member.units = dict(enumerate(batch))
        member.sent, member.sent_s = len(batch), time.monotonic()
        member.waits_for = member.actor.run.remote([unit.content for unit in batch])
        member.state = 'run'

    def _batch(self, waiting: deque[Unit]) -> list[Unit]:
        """Take the next units: one that goes alone or may be at fault, or several others."""
        share = len(waiting) // (_BATCHES_LEFT * len(self._members))
        most = min(_LARGEST_BATCH, max(share, int(self._units_per_s * _SHORTEST_BATCH_S)))
        batch = [waiting.popleft()]
        while waiting and len(batch) < most and not self._is_single(batch[-1]) \
                and not self._is_single(waiting[0]):
            batch.append(waiting.popleft())
        return batch

    def _is_single(self, unit: Unit) -> bool:
        return unit.alone or unit in self._suspects

    def _wait(self, waiting: deque[Unit], listener: Listener) -> None:
        """Wait for an answer of any worker and act on it."""
        asked = {member.waits_for: member for member in self._members if member.state != 'idle'}
        if not asked:
            time.sleep(_WAIT_S)
            return
        ready, _ = self._ray.wait(list(asked), timeout=_WAIT_S)
        for answer in ready:
            member = asked[answer]
            try:
                self._act(member, waiting, listener)
            except self._ray.exceptions.RayError as error:
                self._lose(member, _first_line(error), waiting, listener)

    def _act(self, member: _Member, waiting: deque[Unit], listener: Listener) -> None:
        if member.state == 'run':
            try:
                progress = self._ray.get(next(member.waits_for))
            except StopIteration:
                self._end_batch(member, waiting, listener)
            else:
                self._hear(member, progress, waiting, listener)
            return
        answer = self._ray.get(member.waits_for)
        problem, notes = (_version_problem(answer), []) if member.state == 'probe' else answer
        if problem:
            self._leave_out(member, problem, listener)
        elif member.state == 'probe':
            member.waits_for = member.actor.start.remote(
                self._opened, member.machine.worker_cpus(self._options))
            member.state = 'open'
        else:
            for note in notes:
                listener.warn(f'{member.machine.name}: {note}')
            member.state = 'idle'

    def _hear(self, member: _Member, progress: Progress, waiting: deque[Unit],
              listener: Listener) -> None:
        for _ in range(progress.images):
            listener.on_image()
        for position, result in progress.results:
            self._strikes[member.machine.node_id].clear()
            self._worked.add(member.machine.node_id)
            listener.on_result(member.units.pop(position), result)
        if progress.problem:
            self._lose(member, progress.problem, waiting, listener)

    def _end_batch(self, member: _Member, waiting: deque[Unit], listener: Listener) -> None:
        if member.units:
            self._lose(member, 'it gave files back', waiting, listener)
        else:
            self._units_per_s = member.sent / (time.monotonic() - member.sent_s)
            member.state = 'idle'

    def _lose(self, member: _Member, reason: str, waiting: deque[Unit],
              listener: Listener) -> None:
        """Give the units of a worker that ended to others, unless they end each one."""
        self._remove(member)
        units = list(member.units.values())
        node_id = member.machine.node_id
        if not self._stopping:
            others = f', others get its files: {len(units)}' if units else ''
            listener.warn(f'{member.machine.name}: a worker ended ({reason}){others}')
        # The units of a machine that is gone are not at fault.
        if any(machine.node_id == node_id for machine in machines(self._ray)):
            self._suspects.update(units)
            self._strikes[node_id].add(units[0] if units else member)
            if len(units) == 1:
                self._failed_on[units[0]].append(node_id)
        for unit in reversed(units):
            if len(self._failed_on[unit]) < _TRIES:
                waiting.appendleft(unit)
            else:
                listener.on_result(unit, Lost(f'{_TRIES} workers could not finish it, the last '
                                              f'one because {reason}'))
        if len(self._strikes[node_id]) >= _TRIES:
            self._leave_out(member, reason, listener)
        self._looked_s = -_LOOK_S

    def _leave_out(self, member: _Member, problem: str, listener: Listener) -> None:
        self._remove(member)
        if member.machine.node_id not in self._left_out:
            sentence = f'{member.machine.name}: {problem}'
            self._left_out[member.machine.node_id] = sentence
            listener.warn(f'{sentence} (this machine is left out)')
        self._looked_s = -_LOOK_S

    def _remove(self, member: _Member) -> None:
        if member in self._members:
            self._members.remove(member)
            self._ray.kill(member.actor)

    def _stop(self, waiting: deque[Unit], listener: Listener) -> None:
        """Wait for what is in progress, but not for long."""
        self._stopping = True
        for member in list(self._members):
            if member.state == 'run':
                member.actor.stop.remote()
            else:
                self._remove(member)
        end_s = time.monotonic() + _STOP_S
        while self._busy() and time.monotonic() < end_s:
            self._wait(waiting, listener)


def _actor_class(ray: Any) -> Any:
    """
    Return the class of the actors.

    Ray pickles it with its code, because it is local to a function: a machine without this package
    can say so.
    """
    class DepthAnythingWorker:

        def probe(self) -> str:
            try:
                from depth_anything_ros.version import __version__ as found
            except ImportError:
                return ''
            return found

        def start(self, opened: bytes, cpus: int) -> tuple[str, list[str]]:
            from depth_anything_ros.fleet.worker import open_server
            problem, notes, server = open_server(opened, cpus)
            self._server: Any = server
            return problem, notes

        def run(self, units: list[Any]) -> Iterator[Any]:
            yield from self._server.run(units)

        def stop(self) -> None:
            self._server.stop()

    return ray.remote(DepthAnythingWorker)


def _version_problem(found: str) -> str:
    """Return what is wrong with the package of a machine, '' if nothing is."""
    if not found:
        return ('it lacks the package depth_anything_ros; install it there, in the environment '
                'that runs Ray')
    if found != __version__:
        return (f'it has depth_anything_ros {found}, this program is {__version__}; install the '
                'same version there')
    return ''


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0].rstrip('.')
