"""Parameters: described, checked, and each one has an effect."""

from collections.abc import Callable
from pathlib import Path

from depth_anything_ros.parameters import SPECS
from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import pytest
from rcl_interfaces.msg import ParameterType
from robot import camera_info, Robot
from sensor_msgs.msg import Image, PointCloud2

DEPTH = '/depth_anything/inverse_depth/image'


@pytest.mark.parametrize('spec', SPECS, ids=lambda spec: spec.name)
def test_every_parameter_is_described_with_its_range(
        make_robot: Callable[..., Robot], spec: object) -> None:
    """``ros2 param describe`` shows the declaration."""
    described = make_robot().depth.describe_parameter(spec.name)
    assert spec.description in described.description
    assert described.read_only == (spec.when == 'start')
    assert described.additional_constraints == f'{spec.expected}; read at {spec.when}'
    if spec.maximum is not None and not isinstance(spec.default, tuple):
        ranges = described.floating_point_range or described.integer_range
        assert (ranges[0].from_value, ranges[0].to_value) == (spec.minimum, spec.maximum)


@pytest.mark.parametrize('name, bad, fact', [
    ('points_stride', 0, '0'), ('points_stride', 'two', 'Wrong parameter type'),
    ('color_map', 'rainbow', 'inferno'),
    ('points_near', 50.0, 'points_far'), ('input_size', 9999, '9999'),
    ('device', 'TPU', 'CPU'), ('relative_scale', float('nan'), 'nan')])
def test_a_bad_value_is_refused_with_the_reason_and_changes_nothing(
        make_robot: Callable[..., Robot], name: str, bad: object, fact: str) -> None:
    """The old value stays."""
    robot = make_robot()
    before = robot.depth.get_parameter(name).value
    result = robot.set_parameters(**{name: bad})[0]
    assert not result.successful
    assert fact in result.reason or name in result.reason
    assert robot.depth.get_parameter(name).value == before


@pytest.mark.parametrize('name, bad', [
    ('points_stride', 1000), ('points_stride', 'two'), ('color_map', 'rainbow'),
    ('points_max', -3.0)])
def test_a_bad_start_value_fails_configure_until_it_is_mended(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str], name: str,
        bad: object) -> None:
    """A wrong line in the YAML file does not end the process."""
    robot = make_robot(**{name: bad})
    assert robot.depth.trigger_configure().name == 'FAILURE'
    assert name in capfd.readouterr().err
    good = next(spec.default for spec in SPECS if spec.name == name)
    assert robot.set_parameters(**{name: good})[0].successful
    robot.bring_up()


@pytest.mark.parametrize('wrong, right', [
    ({'precision': 'fp32', 'color_map': 'jet'}, {'precision': 'f32', 'color_map': 'gray'}),
    ({'depth_min': 5.0, 'depth_max': 3.0, 'points_min': 9.0, 'points_max': 8.0},
     {'depth_min': 1.0, 'points_min': 1.0})], ids=['choices', 'contradictions'])
def test_several_bad_start_values_can_be_mended_one_by_one(
        make_robot: Callable[..., Robot], wrong: dict[str, object],
        right: dict[str, object]) -> None:
    """``ros2 param set`` changes one parameter, and configure names what is still wrong."""
    robot = make_robot(**wrong)
    assert robot.depth.trigger_configure().name == 'FAILURE'
    for name, value in right.items():
        assert not robot.set_parameters(**{name: wrong[name]})[0].successful
        assert robot.set_parameters(**{name: value})[0].successful
    robot.bring_up()


def test_a_list_that_does_not_change_is_accepted_in_every_state(
        make_robot: Callable[..., Robot]) -> None:
    """``ros2 param load`` sets all parameters of a file again."""
    robot = make_robot(cameras=['front', 'rear'])
    robot.bring_up()
    assert robot.set_parameters(cameras=['front', 'rear'])[0].successful
    assert not robot.set_parameters(cameras=['front'])[0].successful


def test_whole_numbers_are_accepted_for_lengths(make_robot: Callable[..., Robot]) -> None:
    """Nobody has to write 20.0 for 20 metres, in the YAML file or later."""
    robot = make_robot(points_max=20)
    robot.bring_up()
    assert robot.set_parameters(points_max=15)[0].successful
    assert robot.depth._settings.points_max == 15.0


def test_parameters_of_configure_are_refused_later_and_accepted_after_cleanup(
        make_robot: Callable[..., Robot]) -> None:
    """A value that could not take effect is never accepted silently."""
    robot = make_robot()
    robot.bring_up()
    refused = robot.set_parameters(requests=2)[0]
    assert not refused.successful
    assert 'clean' in refused.reason
    assert robot.depth.trigger_deactivate().name == 'SUCCESS'
    assert robot.depth.trigger_cleanup().name == 'SUCCESS'
    assert robot.set_parameters(requests=2)[0].successful


def test_transport_is_refused_while_active_and_accepted_while_inactive(
        make_robot: Callable[..., Robot]) -> None:
    """The subscription is made in activate."""
    robot = make_robot()
    robot.bring_up()
    assert not robot.set_parameters(image_transport='compressed')[0].successful
    assert robot.depth.trigger_deactivate().name == 'SUCCESS'
    assert robot.set_parameters(image_transport='compressed')[0].successful
    assert robot.depth.trigger_activate().name == 'SUCCESS'
    assert robot.until(lambda: robot.node.count_subscribers('/image/compressed') == 1)


def test_read_only_parameters_cannot_be_set(make_robot: Callable[..., Robot]) -> None:
    """The timer is made once."""
    assert not make_robot().set_parameters(diagnostics_period=2.0)[0].successful


def test_the_period_of_diagnostics_is_used(make_robot: Callable[..., Robot]) -> None:
    """Half a second holds several messages of a period of 0.1 s and at most one of 30 s."""
    robot = make_robot(diagnostics_period=30.0)
    messages = robot.listen(DiagnosticArray, '/diagnostics')
    robot.until(lambda: False, 0.5)
    assert messages == []


@pytest.mark.parametrize('wrong', [0, -1, '1s', [1.0]])
def test_a_wrong_period_of_diagnostics_is_named_and_the_default_used(
        make_robot: Callable[..., Robot], capfd: pytest.CaptureFixture[str],
        wrong: object) -> None:
    """It is needed before configure, and cannot be set."""
    robot = make_robot(diagnostics_period=wrong)
    messages = robot.listen(DiagnosticArray, '/diagnostics')
    robot.until(lambda: False, 0.5)
    assert len(messages) < 3
    assert robot.depth.trigger_configure().name == 'FAILURE'
    assert 'diagnostics_period' in capfd.readouterr().err


def test_input_size_changes_the_network_without_a_restart(
        make_robot: Callable[..., Robot]) -> None:
    """Computed at the new size once that is compiled, published at the image's."""
    robot = make_robot()
    robot.bring_up()
    depths = robot.listen(Image, DEPTH)
    assert robot.depth._engine.state.network_hw == (112, 154)
    assert robot.set_parameters(input_size=56)[0].successful
    assert robot.until(lambda: robot.depth._engine.state.network_hw == (56, 70))
    robot.show(np.zeros((120, 160, 3), np.uint8))
    assert robot.until(lambda: depths)
    assert robot.depth._engine.state.network_hw == (56, 70)
    assert (depths[0].height, depths[0].width) == (120, 160)


def test_points_follow_stride_and_range_at_once(make_robot: Callable[..., Robot]) -> None:
    """Stride sets the cloud's size, points_min and points_max make NaN."""
    robot = make_robot(relative_scale=1.0, points_stride=2)
    robot.bring_up()
    clouds = robot.listen(PointCloud2, '/depth_anything/points')
    robot.publish('camera_info', camera_info(160, 120))
    assert robot.until(lambda: robot.stream()._camera_info is not None)
    picture = np.full((120, 160, 3), (0, 0, 255), np.uint8)  # inverse depth 1: one metre
    robot.show(picture)
    assert robot.until(lambda: len(clouds) == 1)
    assert (clouds[0].height, clouds[0].width) == (60, 80)
    assert np.isfinite(np.frombuffer(clouds[0].data, np.float32)[2::4]).all()
    for number, change in enumerate(({'points_max': 0.5}, {'points_max': 0.0, 'points_min': 2.0},
                                     {'points_stride': 8}), start=2):
        assert all(result.successful for result in robot.set_parameters(**change))
        robot.show(picture)
        assert robot.until(lambda number=number: len(clouds) == number)
        assert np.isnan(np.frombuffer(clouds[-1].data, np.float32)[2::4]).all()
    assert (clouds[-1].height, clouds[-1].width) == (15, 20)


def test_depth_min_blanks_what_is_nearer(make_robot: Callable[..., Robot]) -> None:
    """NaN, never 0 or the limit itself."""
    robot = make_robot(relative_scale=1.0, depth_min=2.0)
    robot.bring_up()
    depths = robot.listen(Image, '/depth_anything/depth/image')
    robot.show(np.full((120, 160, 3), (0, 0, 255), np.uint8))
    assert robot.until(lambda: depths)
    assert np.isnan(np.frombuffer(depths[0].data, np.float32)).all()


def test_configure_compiles_for_the_expected_size(make_robot: Callable[..., Robot]) -> None:
    """expected_width and expected_height decide the network before the first image."""
    robot = make_robot(expected_width=320, expected_height=120)
    robot.bring_up()
    assert robot.depth._engine.state.network_hw == (112, 294)


def test_requests_and_precision_reach_the_device(make_robot: Callable[..., Robot]) -> None:
    """As diagnostics report them."""
    robot = make_robot(requests=3, precision='f32')
    robot.bring_up()
    assert robot.depth._engine.capacity == 3
    assert robot.depth._engine.state.execution_precision == 'f32'


def test_cache_dir_is_created_and_filled(
        make_robot: Callable[..., Robot], tmp_path: Path) -> None:
    """A second start finds the compiled model there."""
    robot = make_robot(cache_dir=str(tmp_path / 'new' / 'cache'))
    robot.bring_up()
    assert list((tmp_path / 'new' / 'cache').iterdir())


def test_a_cache_dir_that_cannot_be_made_is_a_warning(
        make_robot: Callable[..., Robot], tmp_path: Path,
        capfd: pytest.CaptureFixture[str]) -> None:
    """A read-only robot still starts."""
    (tmp_path / 'file').write_text('in the way')
    robot = make_robot(cache_dir=str(tmp_path / 'file' / 'cache'))
    robot.bring_up()
    assert 'compiled models are not cached' in capfd.readouterr().err


def test_self_check_refuses_a_device_that_computes_something_else(
        make_robot: Callable[..., Robot], make_ir: Callable[..., Path]) -> None:
    """And can be switched off."""
    wrong = str(make_ir(wrong_check=True))
    robot = make_robot(model=wrong)
    assert robot.depth.trigger_configure().name == 'FAILURE'
    assert robot.set_parameters(self_check=False)[0].successful
    robot.bring_up()


def test_request_timeout_ends_a_request_with_the_limit_in_the_log(
        make_robot: Callable[..., Robot], make_ir: Callable[..., Path],
        capfd: pytest.CaptureFixture[str]) -> None:
    """Configure is not limited by it: its warm-up has a longer time of its own."""
    robot = make_robot(model=str(make_ir(slow_layers=40)), request_timeout=0.05,
                       expected_width=640, expected_height=480, input_size=448)
    robot.bring_up()
    robot.listen(Image, DEPTH)
    robot.show(np.zeros((480, 640, 3), np.uint8))
    assert robot.until(lambda: robot.depth._scheduler.stats().failed == 1)
    assert 'did not answer within 0.05 s' in capfd.readouterr().err


def test_every_parameter_has_the_declared_type(make_robot: Callable[..., Robot]) -> None:
    """Integers stay integers, texts texts."""
    kinds = {bool: ParameterType.PARAMETER_BOOL, int: ParameterType.PARAMETER_INTEGER,
             float: ParameterType.PARAMETER_DOUBLE, str: ParameterType.PARAMETER_STRING}
    node = make_robot().depth
    for spec in SPECS:
        if not isinstance(spec.default, tuple):
            assert node.get_parameter(spec.name).get_parameter_value().type == kinds[
                type(spec.default)], spec.name
