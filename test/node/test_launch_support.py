"""What the launch files share: required packages, arguments, and how the node is activated."""

from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from xml.etree import ElementTree

from depth_anything_ros.errors import MissingDependencyError, SettingsError
from depth_anything_ros.node.launch_support import (
    argument, calibration_topic, camera_names, DDS_PROFILE, lifecycle_node, node_parameters,
    profile_path, require_one_camera, require_packages)
import pytest
import rclpy

# Handlers that end launch with the node.
WATCHING = 2


@pytest.fixture(autouse=True)
def one_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put one package into an index of its own."""
    index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages'
    index.mkdir(parents=True)
    (index / 'here').touch()
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')


def test_installed_packages_are_accepted() -> None:
    require_packages('a scan', ['here'])
    require_packages('nothing', [])


def test_one_sentence_names_the_purpose_the_package_and_the_line_that_installs_all() -> None:
    with pytest.raises(MissingDependencyError) as caught:
        require_packages('a scan', ['here', 'not_here', 'nor_this'])
    assert str(caught.value) == (
        'a scan needs not_here, which is not installed: sudo apt install ros-jazzy-not-here '
        'ros-jazzy-nor-this')
    assert caught.value.package == 'not_here'


def test_without_a_sourced_distribution_the_line_names_the_variable(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('ROS_DISTRO')
    with pytest.raises(MissingDependencyError, match=r'ros-\$ROS_DISTRO-not-here$'):
        require_packages('a scan', ['not_here'])


@pytest.fixture
def lifecycle_action(monkeypatch: pytest.MonkeyPatch) -> type:
    """Return the LifecycleNode action of launch_ros from 0.26.7 on, which has ``autostart``."""
    actions = pytest.importorskip('launch_ros.actions', reason='launch_ros is not installed')

    class WithAutostart(actions.LifecycleNode):

        def __init__(self, *, autostart: bool = False, **options: object) -> None:
            super().__init__(**options)
            self.autostart = autostart

    monkeypatch.setattr(actions, 'LifecycleNode', WithAutostart)
    return WithAutostart


@pytest.mark.parametrize('autostart', [True, False])
def test_launch_ros_activates_the_node_where_it_can(lifecycle_action: type,
                                                    autostart: bool) -> None:
    *handlers, node, _ = lifecycle_node(autostart, True, package='here', executable='node',
                                        name='n', namespace='')
    assert len(handlers) == WATCHING
    assert type(node) is lifecycle_action
    assert node.autostart is autostart


def test_event_handlers_activate_the_node_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    actions = pytest.importorskip('launch_ros.actions', reason='launch_ros is not installed')

    class WithoutAutostart(actions.LifecycleNode):

        def __init__(self, **options: object) -> None:
            super().__init__(name='n', namespace='', **options)

    monkeypatch.setattr(actions, 'LifecycleNode', WithoutAutostart)
    for autostart, more in ((False, 0), (True, 2)):
        *handlers, node, _ = lifecycle_node(autostart, True, package='here', executable='node')
        assert type(node) is WithoutAutostart
        assert [type(handler).__name__ for handler in handlers] == (
            ['RegisterEventHandler'] * (WATCHING + more))


def test_an_argument_without_a_default_is_required() -> None:
    pytest.importorskip('launch.actions', reason='launch is not installed')
    required, optional = argument('driver', None, 'Driver.', ['a', 'b']), argument('fps', 30, '-')
    assert (required.default_value, required.choices) == (None, ['a', 'b'])
    assert optional.default_value[0].text == '30'
    assert optional.choices is None


def test_a_profile_of_fast_dds_is_a_file_or_that_of_the_package(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share = tmp_path / 'share' / 'depth_anything_ros'
    (share.parent / 'ament_index' / 'resource_index' / 'packages' / share.name).touch()
    monkeypatch.chdir(tmp_path)
    assert profile_path('fastdds.xml') == share / 'config' / 'fastdds.xml'
    own = tmp_path / 'own.xml'
    own.write_text('<dds/>')
    assert profile_path('own.xml') == profile_path(str(own)) == own
    with pytest.raises(FileNotFoundError, match='no.xml does not exist; fastdds.xml is the one'):
        profile_path('no.xml')


def test_the_profile_of_the_package_gives_shared_memory_of_64_mib_and_keeps_udp() -> None:
    root = ElementTree.parse(Path(__file__).parents[2] / DDS_PROFILE).getroot()
    space = {'': root.tag[1:].partition('}')[0]}
    transports = {entry.findtext('transport_id', namespaces=space): entry
                  for entry in root.iterfind('.//transport_descriptor', space)}
    assert {entry.findtext('type', namespaces=space) for entry in transports.values()} == {
        'SHM', 'UDPv4'}
    assert transports['shared_memory'].findtext('segment_size', namespaces=space) == str(2**26)
    participant = root.find('.//participant', space)
    assert participant.get('is_default_profile') == 'true'
    assert {entry.text for entry in participant.iterfind('.//userTransports/transport_id', space)
            } == set(transports)


def test_a_consumer_of_one_camera_refuses_names_of_cameras() -> None:
    """Its topics are those of a node without names."""
    context = SimpleNamespace(launch_configurations={})
    require_one_camera(context, 'RTAB-Map')
    context.launch_configurations['cameras'] = 'front'
    with pytest.raises(SettingsError, match="'front'; it must be empty, because RTAB-Map reads"):
        require_one_camera(context, 'RTAB-Map')


@pytest.mark.parametrize('namespace', ['', 'robot', 'robot/front'])
@pytest.mark.parametrize('text', [
    """
    /**: {ros__parameters: {a: 1, z: all}}
    /*: {ros__parameters: {b: 1}}
    /**/d: {ros__parameters: {c: 1}}
    /robot/**: {ros__parameters: {d: 1, z: robots}}
    /robot/d: {ros__parameters: {e: 1, z: one}}
    /*/d: {ros__parameters: {f: 1}}
    /*/*/d: {ros__parameters: {f: 2}}
    d: {ros__parameters: {g: 1}}
    other: {ros__parameters: {h: 1}}
    """,
    """
    # A node without parameters.
    """,
    """
    /**: {ros__parameters: {a: !text any, z: 1}}
    ---
    /**: {ros__parameters: {b: 1, z: 2}}
    """,
    """
    robot:
      d: {ros__parameters: {a: 1, z: one}}
      front:
        d: {ros__parameters: {b: 1}}
      "**": {ros__parameters: {c: 1}}
    /**: {ros__parameters: {z: all}}
    """], ids=['flat', 'empty', 'documents', 'nested'])
def test_parameters_in_a_file_are_those_that_rclpy_finds(
        tmp_path: Path, text: str, namespace: str) -> None:
    file = tmp_path / 'params.yaml'
    file.write_text(dedent(text))
    context = rclpy.Context()
    rclpy.init(args=['--ros-args', '--params-file', str(file)], context=context)
    try:
        node = rclpy.create_node('d', namespace=namespace, context=context,
                                 automatically_declare_parameters_from_overrides=True)
        declared = {name: str(parameter.value) for name, parameter
                    in node.get_parameters_by_prefix('').items() if len(name) == 1}
        found = node_parameters(file, node.get_fully_qualified_name())
    finally:
        rclpy.shutdown(context=context)
    assert found == declared


def launched_with(file: Path, **arguments: str) -> SimpleNamespace:
    return SimpleNamespace(launch_configurations={
        'params_file': str(file), 'namespace': '/robot', 'node_name': 'depth', **arguments})


@pytest.mark.parametrize(('text', 'names'), [
    ('/**: {ros__parameters: {cameras: [front, rear]}}', ['front', 'rear']),
    ('/robot/depth: {ros__parameters: {cameras: [front]}}', ['front']),
    ('/other: {ros__parameters: {cameras: [front]}}', []),
    ('/**: {ros__parameters: {cameras: []}}', []),
    ('/**: {ros__parameters: }', [])])
def test_names_of_cameras_may_be_in_the_parameter_file(
        tmp_path: Path, text: str, names: list[str]) -> None:
    file = tmp_path / 'params.yaml'
    file.write_text(text)
    assert camera_names(launched_with(file)) == names
    assert camera_names(launched_with(file, cameras='left, right')) == ['left', 'right']
    if names:
        with pytest.raises(SettingsError, match=f"cameras is '{names[0]}.*'; it must be empty"):
            require_one_camera(launched_with(file), 'RTAB-Map')


@pytest.mark.parametrize(('text', 'sentence'), [
    ('/**: {ros__parameters: {cameras: front}}', "cameras is 'front'; it must be a list of"),
    ('/**: {ros__parameters: [cameras', 'params_file is .*; it must be a YAML file with'),
    ('- cameras', 'params_file is .*; it must be a YAML file with'),
    ('/**: {ros__parameters: front}', 'params_file is .*; it must be a YAML file with')])
def test_a_parameter_file_that_cannot_be_read_is_named(
        tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / 'params.yaml'
    file.write_text(text)
    with pytest.raises(SettingsError, match=sentence):
        camera_names(launched_with(file))


@pytest.mark.parametrize(('image', 'given', 'topic'), [
    ('/camera/image_rect', '', '/camera/camera_info'), ('image', '', 'camera_info'),
    ('/camera/image_rect', '/calibration', '/calibration')])
def test_the_calibration_is_beside_the_image(image: str, given: str, topic: str) -> None:
    context = SimpleNamespace(launch_configurations={'camera_info_topic': given})
    assert calibration_topic(context, image) == topic
