"""Two workers: every unit gets a result, whatever happens to a worker."""

from collections.abc import Iterator
from pathlib import Path
import threading
from typing import Any

from depth_anything_ros.errors import FleetError
from depth_anything_ros.fleet.cluster import connected, FleetOptions
from depth_anything_ros.fleet.dispatch import Listener, Lost, opened_fleet, Unit
import pytest
from ray_cluster import Doubler, REPOSITORY, when


class Heard:
    """What a listener hears."""

    def __init__(self) -> None:
        self.results: dict[str, Any] = {}
        self.images = 0
        self.warnings: list[str] = []
        self.listener = Listener(self._result, self._image, self.warnings.append)

    def _result(self, unit: Unit, result: Any) -> None:
        assert unit.name not in self.results
        self.results[unit.name] = result

    def _image(self) -> None:
        self.images += 1


def run(cluster: Any, numbers: list[int], cpus: int = 0, heard: Heard | None = None,
        gate: Path | None = None) -> Heard:
    """Double numbers by a fleet."""
    heard = heard or Heard()
    options = FleetOptions(cluster.address, cpus)
    with connected(cluster.address) as ray, opened_fleet(ray, options, Doubler(gate)) as fleet:
        fleet.run([Unit(str(number), number, alone=number > 1000) for number in numbers],
                  heard.listener, threading.Event())
    return heard


@pytest.fixture
def strange_machines(ray_cluster: Any, tmp_path: Path,
                     monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Add a machine without this package and one with another version of it."""
    # On the machine of the driver, workers also import from the folder that it runs in.
    monkeypatch.chdir(tmp_path)
    nodes = []
    for name, files in (('without', {'__init__': 'raise ImportError'}),
                        ('other', {'__init__': '', 'version': "__version__ = '0.0.1'"})):
        package = tmp_path / name / 'depth_anything_ros'
        package.mkdir(parents=True)
        for file, text in files.items():
            (package / f'{file}.py').write_text(text)
        nodes.append(ray_cluster.add_node(
            num_cpus=1, object_store_memory=100 * 2 ** 20,
            env_vars={'PYTHONPATH': f'{tmp_path / name}:{REPOSITORY}'}))
    yield
    for node in nodes:
        ray_cluster.remove_node(node, allow_graceful=True)


def test_units_that_end_their_workers_do_not_stop_the_others(ray_cluster: Any) -> None:
    numbers = [1, 2, -1, 13, *range(20, 60), 2000]
    heard = run(ray_cluster, numbers)
    lost = {name: result for name, result in heard.results.items() if isinstance(result, Lost)}
    assert heard.results == {str(number): 2 * number for number in numbers} | lost
    assert set(lost) == {'-1', '13'}
    assert 'the last one because the disk is full' in lost['13'].reason
    assert '3 workers could not finish it' in lost['-1'].reason
    assert heard.images == len(numbers) - 2


def test_machines_that_cannot_do_the_work_are_left_out(ray_cluster: Any,
                                                       strange_machines: None,
                                                       tmp_path: Path) -> None:
    """The others begin when both are left out: on a busy machine those start last."""
    heard, gate = Heard(), tmp_path / 'gate'
    reasons = ('lacks the package depth_anything_ros; install it there',
               'has depth_anything_ros 0.0.1, this program is')

    def all_heard() -> bool:
        return all(reason in '\n'.join(heard.warnings) for reason in reasons)

    with when(all_heard, gate.touch):
        run(ray_cluster, list(range(20, 60)), heard=heard, gate=gate)
    assert heard.results == {str(number): 2 * number for number in range(20, 60)}
    assert all_heard()
    warnings = '\n'.join(heard.warnings)
    assert 'it doubles' in warnings


def test_a_worker_that_no_machine_has_room_for_is_refused(ray_cluster: Any) -> None:
    with pytest.raises(FleetError, match='no machine of the Ray cluster has 99 CPUs for Ray, the '
                       'largest has 1; lower --ray-cpus'):
        run(ray_cluster, [1], cpus=99)
