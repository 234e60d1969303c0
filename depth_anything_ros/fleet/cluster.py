"""A connection to a Ray cluster, and the machines in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import os
import re
import signal
import socket
from typing import Any

from depth_anything_ros.errors import (
    FleetError, INSTALL_FLEET, line_of, MissingDependencyError)

_CONNECT_S = 5.0
_HOW = ('start a head with `ray start --head --port 6379`, the other machines with `ray start '
        '--address HEAD:6379`, and give HEAD:6379')


@dataclass(frozen=True)
class FleetOptions:
    """
    Which Ray cluster works, and how much of a machine a worker gets.

    - ``address``: HOST:PORT of the head, 'auto' for the cluster of this machine, or 'local' for a
      new one on this machine alone.
    - ``cpus``: CPUs of a worker; 0 for one worker with all CPUs of its machine.
    - ``gpus``: one worker per GPU that Ray knows, on machines with GPUs.
    """

    address: str
    cpus: int = 0
    gpus: bool = False


@dataclass(frozen=True, order=True)
class Machine:
    """A machine of the cluster, and the CPUs and GPUs that it gives to Ray."""

    node_id: str
    name: str
    cpus: int
    gpus: int

    def workers(self, options: FleetOptions) -> int:
        """Return how many workers the machine takes, 0 if it is too small."""
        if options.gpus and self.gpus:
            return min(self.gpus, self.cpus // max(1, options.cpus))
        return self.cpus // options.cpus if options.cpus else int(self.cpus > 0)

    def worker_cpus(self, options: FleetOptions) -> int:
        """Return the CPUs of a worker."""
        return options.cpus or self.cpus // self.workers(options)


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Yield the module ``ray``, connected; FleetError or MissingDependencyError if it fails."""
    # Nothing about a run is anybody else's business.
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError('ray', '--ray', INSTALL_FLEET) from error
    _check_address(address)
    _silence(ray)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address=address, log_to_driver=False, logging_level='ERROR',
                 **({'include_dashboard': False} if address == 'local' else {}))
    except Exception as error:  # noqa: B902 - Ray raises many kinds
        raise connection_error(address, error) from error
    finally:
        # Ray replaces that of SIGTERM.
        for number, handler in handlers.items():
            signal.signal(number, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


def machines(ray: Any) -> list[Machine]:
    """Return the machines that are alive."""
    return [Machine(node['NodeID'], node['NodeManagerAddress'],
                    int(node['Resources'].get('CPU', 0)), int(node['Resources'].get('GPU', 0)))
            for node in ray.nodes() if node['Alive']]


def _silence(ray: Any) -> None:
    """
    Keep reports of ended workers, which this program makes itself, off the standard output.

    Ray prints them there, and has no option for that.
    """
    worker = ray._private.worker
    if hasattr(worker, 'print_to_stdstream'):
        worker.print_to_stdstream = lambda data, ignore_prefix: None


def _check_address(address: str) -> None:
    """Raise FleetError for an address that no cluster can have, or where nothing listens."""
    if address in ('auto', 'local'):
        return
    match = re.fullmatch(r'(?:\[(.+)\]|([^/:\[\]]+)):(\d{1,5})', address)
    if match is None:
        raise FleetError(f'--ray {address} is not the address of a Ray cluster: give HOST:PORT of '
                         'its head on a machine of the cluster, auto there, or local')
    try:
        socket.create_connection((match[1] or match[2], int(match[3])), _CONNECT_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise FleetError(f'no Ray cluster answers at {address} ({_reason(error)}); {_HOW}'
                         ) from error


def connection_error(address: str, error: Exception) -> FleetError:
    """Return the sentence for what ``ray.init`` raised."""
    text = str(error)
    found = re.findall(r'(Ray|Python): (\S+)', text)
    if 'Version mismatch' in text and len(found) == 4:
        theirs, ours = (' and '.join(map(' '.join, part)) for part in (found[:2], found[2:]))
        return FleetError(f'the Ray cluster at {address} runs {theirs}, this program {ours}; '
                          'install the same versions on all machines')
    if isinstance(error, ConnectionError) and address == 'auto':
        return FleetError(f'no Ray cluster runs on this machine; {_HOW}')
    return FleetError(f'the Ray cluster at {address} cannot be used ({_reason(error)}); run the '
                      'command on one of its machines, with the Ray that the cluster runs')


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return line_of(error)[:300]
