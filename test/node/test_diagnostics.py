"""The values on /diagnostics, and when the level is WARN or ERROR."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
import time

from depth_anything_ros.alignment.tracker import Alignment
from depth_anything_ros.inference.scheduler import FrameStats
from depth_anything_ros.node.diagnostics import DiagnosticsReporter, Health
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import numpy as np
import pytest
from robot import Robot
from sensor_msgs.msg import Image

NAN = float('nan')


def health(state: str = 'active', publishers: int = 1, received: int = 0,
           **stats: object) -> Health:
    """Return the health of a node with the given flow."""
    flow = {'offered': 0, 'delivered': 0, 'failed': 0, 'dropped': 0, 'late': 0,
            'latency_p50_ms': NAN, 'latency_p95_ms': NAN, 'last_depth_age_s': NAN,
            'last_error': '', **stats}
    return Health(state, {'device': 'CPU', 'precision': 'bf16'}, FrameStats(**flow), received, 0,
                  '/camera/image', publishers)


def values(status: DiagnosticStatus) -> dict[str, str]:
    """Return the key-value pairs."""
    return {entry.key: entry.value for entry in status.values}


def test_an_active_node_reports_device_rates_drops_and_latency(
        make_robot: Callable[..., Robot]) -> None:
    """Over the topic, as rqt_robot_monitor would see it."""
    robot = make_robot()
    robot.bring_up()
    depths = robot.listen(Image, '/depth_anything/inverse_depth/image')
    messages = robot.listen(DiagnosticArray, '/diagnostics')
    for number in range(1, 4):
        robot.show(np.full((120, 160, 3), 90, np.uint8))
        assert robot.until(lambda number=number: len(depths) == number)
    messages.clear()
    assert robot.until(lambda: messages)
    status = messages[0].status[0]
    found = values(status)
    assert status.level == DiagnosticStatus.OK
    assert status.name == 'depth_anything: depth'
    assert status.hardware_id == 'CPU'
    assert (found['device'], found['precision']) == ('CPU', 'f32')
    assert found['network size'] == '154x112'
    assert (found['images received'], found['frames delivered']) == ('3', '3')
    assert 0 < float(found['latency p50 [ms]']) <= float(found['latency p95 [ms]'])
    assert messages[0].header.stamp.sec > 0


def test_rates_are_differences_over_the_period(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten images and five results within a tenth of a second are 100 and 50 Hz."""
    now = 50.0
    monkeypatch.setattr(time, 'monotonic', lambda: now)
    reporter = DiagnosticsReporter('depth')
    reporter.status(health(received=100, delivered=50))
    now += 0.1
    found = values(reporter.status(health(received=110, delivered=55)))
    assert (found['images in [Hz]'], found['depth out [Hz]']) == ('100.00', '50.00')


@pytest.mark.parametrize('publishers, fact', [(0, 'nobody publishes there'), (2, '2 publisher')])
def test_silence_is_a_warning_that_names_the_topic(
        monkeypatch: pytest.MonkeyPatch, publishers: int, fact: str) -> None:
    """After three seconds without an image."""
    reporter = DiagnosticsReporter('depth')
    assert reporter.status(health(publishers=publishers)).level == DiagnosticStatus.OK
    later = time.monotonic() + 4
    monkeypatch.setattr(time, 'monotonic', lambda: later)
    status = reporter.status(health(publishers=publishers))
    assert status.level == DiagnosticStatus.WARN
    assert '/camera/image' in status.message
    assert fact in status.message


def warned_s(monkeypatch: pytest.MonkeyPatch, reporter: DiagnosticsReporter,
             arrivals_s: Sequence[float], seconds: int) -> list[int]:
    """Return the seconds at which images are missing, of which some arrive and some fail."""
    found, now = [], 0.0
    monkeypatch.setattr(time, 'monotonic', lambda: now)
    for second in range(seconds):
        now = second + 0.1 * (second % 3)
        received = sum(arrival < now for arrival in arrivals_s)
        if reporter.status(health(received=received, delivered=received)).level != (
                DiagnosticStatus.OK):
            found.append(second)
    return found


@pytest.mark.parametrize('period_s', [3.4, 4.5, 10.0, 60.0])
def test_a_slow_camera_is_missed_when_its_next_image_is_late(
        monkeypatch: pytest.MonkeyPatch, period_s: float) -> None:
    """Until its second image nobody knows that it is slow."""
    arrivals_s = [1.5 + period_s * number for number in range(5)]
    monkeypatch.setattr(time, 'monotonic', lambda: 0.0)
    found = warned_s(monkeypatch, DiagnosticsReporter('depth'), arrivals_s, 400)
    later = [second for second in found if second > arrivals_s[1] + 1]
    assert arrivals_s[-1] + 1.5 * period_s < later[0] < arrivals_s[-1] + 3 * period_s + 3
    assert later == list(range(later[0], 400))


def test_a_pause_of_a_fast_camera_does_not_make_the_next_one_acceptable(
        monkeypatch: pytest.MonkeyPatch) -> None:
    arrivals_s = [*np.arange(0, 10, 0.1), *np.arange(100, 110, 0.1)]
    monkeypatch.setattr(time, 'monotonic', lambda: 0.0)
    found = warned_s(monkeypatch, DiagnosticsReporter('depth'), arrivals_s, 130)
    assert set(range(14, 100)) <= set(found) and set(range(114, 130)) <= set(found)
    assert not {*range(10), *range(102, 110)} & set(found)


def test_a_single_failure_of_a_slow_camera_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, 'monotonic', lambda: now)
    reporter = DiagnosticsReporter('depth')
    for number in range(4):
        now = 10.0 * number
        reporter.status(health(received=number, delivered=number))
    now += 10.0
    assert reporter.status(health(received=4, delivered=3, failed=1)).level == (
        DiagnosticStatus.WARN)
    for number in range(2, 4):
        now += 10.0
        level = reporter.status(health(received=3 + number, delivered=3, failed=number)).level
    assert level == DiagnosticStatus.ERROR


def test_silence_with_a_known_reason_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    reporter = DiagnosticsReporter('depth')
    found = replace(health(), topic_problem='set image_transport to compressed')
    reporter.status(found)
    assert not reporter.is_silent
    later = time.monotonic() + 4
    monkeypatch.setattr(time, 'monotonic', lambda: later)
    assert reporter.status(found).message.endswith(' s, set image_transport to compressed')
    assert reporter.is_silent


@pytest.mark.parametrize('publishers, remedy', [(1, 'check its stamps'), (2, 'stop all but one')])
def test_late_images_are_a_warning_with_the_likely_cause_once(
        publishers: int, remedy: str) -> None:
    reporter = DiagnosticsReporter('depth')
    status = reporter.status(health(publishers=publishers, received=9, delivered=5, late=4))
    assert status.level == DiagnosticStatus.WARN
    assert status.message.startswith('4 image(s) on /camera/image are older than the one before')
    assert remedy in status.message
    calm = reporter.status(health(publishers=publishers, received=14, delivered=10, late=4))
    assert calm.level == DiagnosticStatus.OK


def test_lost_images_are_a_warning_with_the_remedy_once() -> None:
    reporter = DiagnosticsReporter('depth')
    status = reporter.status(replace(health(received=9), lost=4))
    assert status.level == DiagnosticStatus.WARN
    assert status.message.startswith('4 image(s) on /camera/image got lost')
    assert 'qos_overrides./camera/image.subscription.reliability to reliable' in status.message
    assert values(status)['images lost on the way'] == '4'
    calm = reporter.status(replace(health(received=10), lost=4))
    assert calm.level == DiagnosticStatus.OK


def test_silence_while_inactive_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is expected then."""
    reporter = DiagnosticsReporter('depth')
    later = time.monotonic() + 4
    monkeypatch.setattr(time, 'monotonic', lambda: later)
    assert reporter.status(health('inactive')).level == DiagnosticStatus.OK


def test_a_failed_transition_is_an_error_until_the_next_one_succeeds(
        make_robot: Callable[..., Robot], tiny_ir: Path) -> None:
    robot = make_robot(model='missing.xml')
    messages = robot.listen(DiagnosticArray, '/diagnostics')

    def latest() -> tuple[bytes, str]:
        messages.clear()
        assert robot.until(lambda: len(messages) > 1)
        status = messages[-1].status[0]
        return status.level, status.message

    assert latest() == (DiagnosticStatus.OK, 'unconfigured')
    robot.depth.trigger_configure()
    level, message = latest()
    assert level == DiagnosticStatus.ERROR
    assert message.startswith('unconfigured, configure failed: missing.xml: there is no such file')
    robot.set_parameters(model=str(tiny_ir))
    robot.depth.trigger_configure()
    assert latest() == (DiagnosticStatus.OK, 'inactive')


def test_missing_metres_are_no_warning_while_nobody_subscribes() -> None:
    """Nothing is computed then, so nothing can be fitted."""
    reporter = DiagnosticsReporter('depth')
    lacking = Alignment('waiting', NAN, NAN, 0, NAN, NAN, NAN, 'no fit to a reference yet')
    unheard = reporter.status(replace(health(received=10), without_subscriber=10,
                                      alignment=lacking))
    assert (unheard.level, unheard.message) == (
        DiagnosticStatus.OK, 'running, but nothing is computed: nobody subscribes')
    heard = reporter.status(replace(health(received=20, delivered=9), without_subscriber=11,
                                    alignment=lacking))
    assert (heard.level, heard.message) == (
        DiagnosticStatus.WARN, 'no metric depth: no fit to a reference yet')


def test_new_failures_are_a_warning_once_and_an_error_while_nothing_works() -> None:
    """The last error is quoted."""
    reporter = DiagnosticsReporter('depth')
    nothing = reporter.status(health(failed=2, last_error='step is 0', received=2))
    assert (nothing.level, 'step is 0' in nothing.message) == (DiagnosticStatus.ERROR, True)
    some = reporter.status(health(failed=3, delivered=9, received=12))
    assert some.level == DiagnosticStatus.WARN
    calm = reporter.status(health(failed=3, delivered=10, received=13))
    assert calm.level == DiagnosticStatus.OK


def test_failures_are_an_error_again_once_nothing_has_worked_for_three_seconds(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """A device may fail after an hour; a single bad frame of a slow camera is no error."""
    now = 50.0
    monkeypatch.setattr(time, 'monotonic', lambda: now)
    reporter = DiagnosticsReporter('depth')
    levels = []
    for failed in range(6):
        levels.append(reporter.status(health(failed=failed, delivered=9, received=9 + failed)))
        now += 1.0
    assert [status.level for status in levels] == [
        DiagnosticStatus.OK, *[DiagnosticStatus.WARN] * 3, *[DiagnosticStatus.ERROR] * 2]
    works = reporter.status(health(failed=7, delivered=10, received=20))
    assert works.level == DiagnosticStatus.WARN
