"""The parameters: their defaults, their limits and the contradictions between them."""

from dataclasses import fields, FrozenInstanceError, replace
from typing import Any

from depth_anything_ros.errors import SettingsError
from depth_anything_ros.parameter_spec import Spec
from depth_anything_ros.parameters import AlignmentSettings, MotionParameters, Settings, SPECS
import pytest

BY_NAME = {spec.name: spec for spec in SPECS}
RANGED = [spec for spec in SPECS
          if spec.minimum is not None and not isinstance(spec.default, tuple)]
NEEDED = {'camera_height': 1.0, 'points_clearing': 100.0}
CHOSEN = [spec for spec in SPECS if spec.choices]
WRONG_TYPES: dict[type, list[Any]] = {
    bool: [1, 'true', None], int: [True, 1.0, '1', None], float: [True, '1.0', None],
    str: [1, True, None, b'CPU'], tuple: ['front', 1, [None], [1, 'front'], [True] * 6]}


def by_name(spec: Spec) -> str:
    """Return the name of a parameter as the test's id."""
    return spec.name


def test_there_is_one_spec_per_field_and_its_default_is_valid() -> None:
    groups = {'': Settings, 'alignment.': AlignmentSettings, 'motion.': MotionParameters}
    declared = [(prefix, field) for prefix, group in groups.items() for field in fields(group)
                if f'{field.name}.' not in groups]
    assert {spec.name for spec in SPECS} == {prefix + field.name for prefix, field in declared}
    assert len(SPECS) == len(declared)
    assert [spec.check(spec.default) for spec in SPECS] == [spec.default for spec in SPECS]
    assert Settings.from_mapping({}) == Settings()


@pytest.mark.parametrize('spec', SPECS, ids=by_name)
def test_a_value_of_another_type_is_refused_by_name(spec: Spec) -> None:
    for value in WRONG_TYPES[type(spec.default)]:
        with pytest.raises(SettingsError, match=f'parameter {spec.name} is'):
            Settings.from_mapping({spec.name: value})


@pytest.mark.parametrize('spec', RANGED, ids=by_name)
def test_limits_are_inclusive_and_nothing_beyond_them_is_valid(spec: Spec) -> None:
    assert spec.minimum is not None and spec.maximum is not None
    kind = type(spec.default)
    for limit, step in ((spec.minimum, -1), (spec.maximum, 1)):
        assert spec.check(kind(limit)) == limit
        with pytest.raises(SettingsError, match='from .* to '):
            spec.check(kind(limit) + kind(step))


@pytest.mark.parametrize('spec', CHOSEN, ids=by_name)
def test_only_the_listed_choices_are_valid_and_the_message_lists_them(spec: Spec) -> None:
    assert spec.default in spec.choices
    for choice in spec.choices:
        assert Settings.from_mapping({**NEEDED, spec.name: choice}).value(spec.name) == choice
    with pytest.raises(SettingsError) as error:
        Settings.from_mapping({spec.name: 'plaid'})
    assert "'plaid'" in str(error.value) and ', '.join(spec.choices) in str(error.value)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), float('-inf')])
def test_a_number_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(SettingsError, match='relative_shift'):
        Settings(relative_shift=value)


def test_a_whole_number_is_valid_for_a_float_and_becomes_one() -> None:
    value = Settings.from_mapping({'relative_scale': 2}).relative_scale
    assert value == 2.0 and isinstance(value, float)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match='devise') as error:
        Settings.from_mapping({'devise': 'CPU'})
    assert 'device' in str(error.value).split('one of', 1)[1]


@pytest.mark.parametrize(('text', 'devices'), [
    ('CPU', ('CPU',)), ('NPU, GPU.1 ,CPU', ('NPU', 'GPU.1', 'CPU')), ('GPU,', ('GPU',))])
def test_devices_are_read_in_order(text: str, devices: tuple[str, ...]) -> None:
    assert Settings(device=text).devices == devices


@pytest.mark.parametrize('text', ['', ' , ', 'cpu', 'AUTO', 'AUTO:GPU,CPU', 'GPU.x', 'CPU;GPU'])
def test_a_device_that_openvino_would_not_take_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match='parameter device .* separated by commas'):
        Settings(device=text)


@pytest.mark.parametrize(('values', 'name'), [
    ({'points_near': 10.0, 'points_far': 10.0}, 'points_near'),
    ({'depth_min': 5.0, 'depth_max': 4.0}, 'depth_min'),
    ({'points_min': 20.0}, 'points_min')])
def test_two_values_that_contradict_each_other_are_refused(
        values: dict[str, object], name: str) -> None:
    with pytest.raises(SettingsError, match=f'parameter {name} is .* below'):
        Settings.from_mapping(values)


def test_a_maximum_of_zero_is_no_limit() -> None:
    settings = Settings(depth_min=5.0, depth_max=0.0, points_min=30.0, points_max=0.0)
    assert settings.depth_min == 5.0


def test_settings_cannot_change_behind_the_nodes_back() -> None:
    settings = Settings()
    with pytest.raises(FrozenInstanceError):
        settings.input_size = 252  # type: ignore[misc]
    with pytest.raises(SettingsError):
        replace(settings, input_size=-1)


def test_every_parameter_is_described_in_sentences() -> None:
    assert [spec.name for spec in SPECS if not spec.description.endswith('.')] == []
    assert BY_NAME['request_timeout'].unit == 's'
    assert BY_NAME['points_stride'].expected == 'an integer from 1 to 64'
    assert BY_NAME['self_check'].expected == 'true or false'


@pytest.mark.parametrize(('given', 'named'), [
    ({'cameras': ['front', 'front']}, 'cameras'), ({'cameras': ['1st']}, 'cameras'),
    ({'cameras': ['x' * 65]}, 'cameras'),
    ({'cameras': ['front/left']}, 'cameras'), ({'cameras': ['']}, 'cameras'),
    ({'points_clearing': 5.0}, 'points_max'),
    ({'points_clearing': 5.0, 'points_max': 0.0}, 'points_max'),
    ({'sky_filter': 'far'}, 'points_clearing'),
    ({'points_height_max': 1.0}, 'camera_height'),
    ({'camera_height': 1.0, 'points_height_min': 2.0, 'points_height_max': 1.0},
     'points_height_min'),
    ({'alignment.source': 'ground'}, 'camera_height'),
    ({'alignment.source': 'motion', 'motion.odom_frame': ''}, 'motion.odom_frame'),
    ({'alignment.source': 'motion+ground'}, 'camera_height'),
    ({'alignment.source': 'motion+ground', 'camera_height': 1.0, 'motion.odom_frame': ''},
     'motion.odom_frame'),
    ({'alignment.reference_min': 30.0}, 'alignment.reference_min')])
def test_contradictions_of_the_outputs_are_named(given: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=f'parameter {named} is'):
        Settings.from_mapping(given)


@pytest.mark.parametrize('topic', ['odom topic', '1odom', 'odom//filtered', '/odom/', 'ödom'])
def test_a_topic_that_ros_cannot_resolve_is_refused_by_the_name_of_its_parameter(
        topic: str) -> None:
    with pytest.raises(SettingsError, match='parameter motion.odometry_topic is'):
        Settings.from_mapping({'motion.odometry_topic': topic})


@pytest.mark.parametrize('topic', ['odom', '/odom', '~/odom', '/robot_1/odom', '{node}/odom'])
def test_topics_of_every_kind_are_accepted(topic: str) -> None:
    assert Settings.from_mapping({'motion.odometry_topic': topic}).motion.odometry_topic == topic


def test_lists_become_tuples_and_an_empty_one_may_come_without_a_value() -> None:
    settings = Settings.from_mapping({
        'cameras': ['front', 'rear'], 'alignment.reference_pose': [1, 2.5, 0, 0, 0, 0]})
    assert settings.cameras == ('front', 'rear')
    assert settings.alignment.reference_pose == (1.0, 2.5, 0.0, 0.0, 0.0, 0.0)
    assert Settings.from_mapping({'cameras': None}).cameras == ()


@pytest.mark.parametrize('value', [[0.0] * 5, [0.0] * 5 + [float('nan')], [1e4] + [0.0] * 5, 'x'])
def test_a_pose_has_six_numbers_in_range(value: object) -> None:
    with pytest.raises(SettingsError, match='a list of 6 numbers'):
        Settings.from_mapping({'alignment.reference_pose': value})
