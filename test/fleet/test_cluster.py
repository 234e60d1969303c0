"""Addresses that are no cluster, and clusters that do not fit."""

import socket

from depth_anything_ros.errors import FleetError, MissingDependencyError
from depth_anything_ros.fleet.cluster import connected, connection_error, FleetOptions, Machine
import pytest

MISMATCH = """Version mismatch: The cluster was started with:
    Ray: 2.9.3
    Python: 3.10.13
This process on node 10.0.0.3 was started with:
    Ray: 2.60.0
    Python: 3.11.7
"""


def refused_port() -> int:
    """Return a port on which nothing listens."""
    with socket.create_server(('127.0.0.1', 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(('address', 'sentence'), [
    ('ray://head:10001', 'is not the address of a Ray cluster: give HOST:PORT'),
    ('head', 'is not the address of a Ray cluster: give HOST:PORT'),
    ('127.0.0.1:99999', 'no Ray cluster answers at 127.0.0.1:99999 .*; start a head with `ray'),
    ('no.such.host.invalid:6379', 'no Ray cluster answers at no.such.host.invalid:6379'),
    (f'127.0.0.1:{refused_port()}', 'no Ray cluster answers at .*Connection refused')])
def test_an_address_without_a_cluster_is_named_at_once(address: str, sentence: str) -> None:
    pytest.importorskip('ray', reason='Ray is not installed: pip install ray')
    with pytest.raises(FleetError, match=sentence), connected(address):
        pass


def test_a_missing_ray_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__('sys').modules, 'ray', None)
    with pytest.raises(MissingDependencyError, match=r'--ray needs ray.*depth_anything_ros\[fleet'
                       ), connected('auto'):
        pass


def test_other_versions_are_compared_in_one_sentence() -> None:
    error = connection_error('head:6379', RuntimeError(MISMATCH))
    assert str(error) == (
        'the Ray cluster at head:6379 runs Ray 2.9.3 and Python 3.10.13, this program Ray 2.60.0 '
        'and Python 3.11.7; install the same versions on all machines')


@pytest.mark.parametrize(('cpus', 'gpus', 'options', 'workers'), [
    (8, 0, FleetOptions(''), 1), (8, 0, FleetOptions('', 3), 2), (2, 0, FleetOptions('', 4), 0),
    (0, 0, FleetOptions(''), 0), (8, 2, FleetOptions(''), 1),
    (8, 2, FleetOptions('', gpus=True), 2), (8, 0, FleetOptions('', gpus=True), 1)])
def test_a_machine_takes_as_many_workers_as_it_has_room_for(
        cpus: int, gpus: int, options: FleetOptions, workers: int) -> None:
    assert Machine('1', '10.0.0.1', cpus, gpus).workers(options) == workers
