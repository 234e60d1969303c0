"""The benchmark of the node: what is read of a process, what is made of it, and a short run."""

from collections.abc import Callable
import json
import os
from pathlib import Path
import re
import sys
import threading
import time

import cv2
from depth_anything_ros.benchmark import node as node_module
from depth_anything_ros.benchmark.bare_model import BareModel
from depth_anything_ros.benchmark.machine import cpu_seconds, resident_mib, thread_times
from depth_anything_ros.benchmark.node import measure_node, NodeOptions
from depth_anything_ros.benchmark.node_report import node_report, NodeMeasurements, PhaseKey
from depth_anything_ros.benchmark.node_under_test import OUTPUTS, Phase, Start, under_test
from depth_anything_ros.benchmark.report import as_dict, Report
from depth_anything_ros.cli.reports import to_json
from depth_anything_ros.errors import MissingDependencyError, ModelError
import numpy as np
import pytest
from tools.measure.performance_page import TARGETS
from waiting import until

HW = (120, 160)
OF_THE_NODE = {'node_ratio_depth', 'node_ratio_all', 'age_p50_ratio', 'age_p95_ratio',
               'host_ms_per_frame', 'activation_ratio', 'rss_growth_mib_2000'}


def children() -> set[int]:
    """Return the processes that this one has started and that are not gone."""
    found = set()
    for file in Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = file.read_text().rpartition(')')[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(file.parent.name))
    return found


def test_the_time_of_a_busy_thread_is_seen_and_can_be_left_out() -> None:
    ids: list[int] = []
    busy, end = threading.Event(), threading.Event()

    def work() -> None:
        ids.append(threading.get_native_id())
        started = time.thread_time()
        while time.thread_time() < started + 0.3:
            pass
        busy.set()
        end.wait(10)

    before = thread_times(os.getpid())
    thread = threading.Thread(target=work)
    thread.start()
    busy.wait(10)
    after = thread_times(os.getpid())
    end.set()
    thread.join()
    assert ids[0] not in before and 0.29 < after[ids[0]] < 0.5
    assert cpu_seconds(before, after) > 0.29
    assert cpu_seconds(before, after, without_busiest=1) < 0.15
    # Python's join returns before the system has removed the thread.
    assert until(lambda: ids[0] not in thread_times(os.getpid()))


def test_time_is_counted_from_the_first_reading_on() -> None:
    before, after = {1: 5.0, 2: 1.0, 3: 9.0}, {1: 5.5, 2: 3.0, 4: 0.25}
    assert cpu_seconds(before, after) == pytest.approx(0.5 + 2.0 + 0.25)
    assert cpu_seconds(before, after, 1) == pytest.approx(0.5 + 0.25)
    assert cpu_seconds(before, after, 3) == 0


def test_memory_is_what_the_process_has_written_to() -> None:
    before = resident_mib(os.getpid())
    untouched, written = np.empty(1 << 26, np.uint8), np.ones(1 << 26, np.uint8)
    grown = resident_mib(os.getpid()) - before
    assert 60 < grown < 100, (untouched.size, written.size)


def phase(rate_hz: float, age_s: float = 0.1, host_s: float = 0.004) -> Phase:
    """Return two seconds of a node that takes ``host_s`` and a tenth of a second for a frame."""
    frames = round(2 * rate_hz)
    ages = np.full(frames, age_s)
    ages[:frames // 5] = 3 * age_s
    return Phase(frames, 2.0, tuple(ages), frames * 0.1, frames * host_s)


def seen_at(camera_hz: float, *rates_hz: float) -> NodeMeasurements:
    """Return what a node did that was as fast as given and saturated at the first rate."""
    seen = NodeMeasurements()
    for outputs in OUTPUTS:
        for number, rate_hz in enumerate(rates_hz):
            seen.add(PhaseKey(HW, outputs, 0.0), phase(rate_hz), 10.0 + number)
    for rate_hz in rates_hz:
        seen.add(PhaseKey(HW, 'depth', camera_hz), phase(rate_hz), 10.0)
    return seen


def test_ratios_are_formed_round_by_round() -> None:
    seen = seen_at(30.0, 9.0, 11.0, 6.0)
    ratio = seen.rate_ratio(PhaseKey(HW, 'depth', 0.0))
    assert (ratio.median, ratio.low, ratio.high) == (0.9, 0.5, 1.0)
    assert seen.age_ratio(PhaseKey(HW, 'depth', 0.0), 50).median == pytest.approx(0.1 * 11)
    assert seen.age_ratio(PhaseKey(HW, 'depth', 30.0), 95).low == pytest.approx(0.3 * 10)
    assert seen.host_ms(PhaseKey(HW, 'depth', 0.0)).high == pytest.approx(4.0)


@pytest.fixture
def made_up(tiny_ir: Path) -> Report:
    """Return the report of a node that a camera of 30 Hz overtakes three times."""
    seen = seen_at(30.0, 9.0, 10.0, 8.0)
    seen.starts = [(Start(first_depth_s, 0.11, 0.13), 0.1) for first_depth_s in (1.2, 0.6, 0.9)]
    seen.memory_mib = [100.0, 101.0, *[104.0] * 7, 103.0, 105.0]
    return node_report(tiny_ir, {HW: BareModel(tiny_ir, image_hw=HW)}, (30.0,), seen,
                       {'rounds': '3'})


def test_a_camera_faster_than_the_node_shows_how_many_of_its_images_are_dropped(
        made_up: Report) -> None:
    rows = [dict(zip(made_up.tables[0].columns, row)) for row in made_up.tables[0].rows]
    assert [(row['subscribed'], row['camera'], row['dropped']) for row in rows] == [
        *((outputs, 'saturating', '') for outputs in OUTPUTS), ('depth', '30 Hz', '70%')]
    assert {row['images'] for row in rows} == {'160×120'}
    assert {row['CPU ms in all'] for row in rows} == {'100'}


def test_memory_is_compared_with_the_end_of_the_warm_up_and_grows_between_means(
        made_up: Report) -> None:
    assert made_up.tables[2].rows[0][1:3] == ('+0.0', '+1.0')
    assert made_up.figures['rss_growth_mib_2000'] == pytest.approx(104.0 - 100.5)


def test_starts_are_compared_with_one_inference(made_up: Report) -> None:
    assert made_up.figures['activation_ratio'] == pytest.approx(0.9 / 0.6)
    assert made_up.figures['age_p50_ratio'] == pytest.approx(1.1)
    assert made_up.figures['age_p95_ratio'] == pytest.approx(1.3)
    assert [row[1] for row in made_up.tables[1].rows] == [
        '1.5 (1 to 2)', '1.1 (1.1 to 1.1)', '1.3 (1.3 to 1.3)']


def test_without_a_fed_camera_and_without_memory_the_report_is_smaller(tiny_ir: Path) -> None:
    seen = seen_at(30.0, 9.0)
    bare = {HW: BareModel(tiny_ir, image_hw=HW)}
    report = node_report(tiny_ir, bare, (), seen, {})
    assert len(report.tables) == 1
    assert report.figures.keys() & OF_THE_NODE == OF_THE_NODE - {
        'activation_ratio', 'age_p50_ratio', 'age_p95_ratio', 'rss_growth_mib_2000'}


@pytest.fixture(scope='module')
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two small pictures."""
    folder = tmp_path_factory.mktemp('pictures')
    for number in range(2):
        cv2.imwrite(str(folder / f'{number}.png'), np.full((*HW, 3), 90 * number, np.uint8))
    return folder


@pytest.fixture(scope='module')
def run(make_ir: Callable[..., Path],
        pictures: Path) -> tuple[Report, list[str], set[int]]:
    """Return the report of a short run, its log, and the processes that are left."""
    pytest.importorskip('rclpy')
    model, before = make_ir(slow_layers=8), children()
    logged: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node_module, '_MEMORY_WARM_UP', 5)
        patch.setattr(node_module, '_STARTS', 1)
        patch.setenv('ROS_DOMAIN_ID', str(64 + (os.getpid() + 9) % 36))
        report = measure_node(NodeOptions(model, pictures, sizes=(HW,), rates_hz=(10.0,),
                                          rounds=1, seconds=1.0, frames=20), logged.append)
    return report, logged, children() - before


def test_a_run_gives_every_figure_that_the_page_wants_of_the_node(
        run: tuple[Report, list[str], set[int]]) -> None:
    report, logged, _ = run
    assert {target.figure for target in TARGETS} >= OF_THE_NODE
    assert report.figures.keys() >= OF_THE_NODE
    assert all(isinstance(value, float) and np.isfinite(value)
               for value in report.figures.values())
    assert any('round 1 of 1' in line for line in logged)


def test_what_a_run_measures_is_of_the_right_order(
        run: tuple[Report, list[str], set[int]]) -> None:
    """A second on a busy machine says no more, but a wrong unit is wrong by a thousand."""
    figures = run[0].figures
    for name in ('node_ratio_depth', 'node_ratio_all', 'age_p50_ratio'):
        assert 0.05 < figures[name] < 20
    assert figures['age_p50_ratio'] <= figures['age_p95_ratio']
    assert 0 < figures['host_ms_per_frame'] < 100
    assert 0 < figures['activation_ratio'] < 30


def test_the_tables_hold_every_phase_in_every_column(
        run: tuple[Report, list[str], set[int]]) -> None:
    report = run[0]
    speed, starts, memory = report.tables
    assert [row[1:3] for row in speed.rows] == [
        *((outputs, 'saturating') for outputs in OUTPUTS), ('depth', '10 Hz'), ('all', '10 Hz')]
    for table in report.tables:
        assert {len(row) for row in table.rows} == {len(table.columns)}
    for row in speed.rows:
        dropped = row[speed.columns.index('dropped')]
        assert '' not in {*row} - {dropped}
        assert re.fullmatch(r'\d+%' if row[2] == '10 Hz' else '', dropped)
    assert len(starts.rows) == 3 and len(memory.columns) == 12
    assert json.loads(to_json(as_dict(report))) == as_dict(report)
    assert report.settings['network'] == '160x120 images in 154x112'


def test_a_run_leaves_no_process(run: tuple[Report, list[str], set[int]]) -> None:
    assert run[2] == set()


def test_the_picture_is_a_png(run: tuple[Report, list[str], set[int]], tmp_path: Path) -> None:
    pytest.importorskip('matplotlib')
    draw = run[0].draw
    assert draw is not None
    draw(tmp_path / 'node.png')
    assert (tmp_path / 'node.png').read_bytes().startswith(b'\x89PNG')
    picture = cv2.imread(str(tmp_path / 'node.png'))
    assert picture is not None and min(picture.shape[:2]) >= 400
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_without_matplotlib_the_picture_says_how_to_get_it(
        made_up: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    assert made_up.draw is not None
    with pytest.raises(MissingDependencyError, match='matplotlib.*pip install'):
        made_up.draw(tmp_path / 'node.png')


# A node whose process ends within its configure callback, as one does for which memory is short.
ENDING = """
import rclpy
from rclpy.lifecycle import LifecycleNode

class Node(LifecycleNode):
    def on_configure(self, state):
        raise SystemExit('no memory is left')

rclpy.init()
node = Node('depth_anything')
try:
    rclpy.spin(node)
finally:
    node.destroy_node()
    rclpy.try_shutdown()
"""


def test_a_node_that_ends_while_it_is_configured_ends_the_run_with_its_last_line(
        tmp_path: Path, tiny_ir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('rclpy')
    from depth_anything_ros.ros.observer import ObserverError
    (tmp_path / 'ending_node.py').write_text(ENDING)
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.setenv('ROS_DOMAIN_ID', str(64 + (os.getpid() + 9) % 36))
    started = time.monotonic()
    with pytest.raises(ObserverError, match='ended; the last line.*: no memory is left'), \
            under_test(tiny_ir, tmp_path, 1, HW, None, {}, 'ending_node'):
        pass
    assert time.monotonic() - started < 60


def test_a_model_that_is_missing_is_named_before_anything_starts(tmp_path: Path) -> None:
    logged: list[str] = []
    before = children()
    with pytest.raises(ModelError, match='none.xml.*no such file'):
        measure_node(NodeOptions(tmp_path / 'none.xml'), logged.append)
    assert logged == [] and children() == before
