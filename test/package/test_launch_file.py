"""The launch file and the RViz configurations; without launch_ros only their text is checked."""

import ast
from collections.abc import Callable
import importlib.util
import math
from pathlib import Path
from types import ModuleType

from depth_anything_ros.demo.player import FRAME_ID
from depth_anything_ros.errors import MissingDependencyError, SettingsError
from depth_anything_ros.parameters import Settings, SPECS
import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / 'launch' / 'depth_anything.launch.py'
OWN_PARAMETERS = ROOT / 'config' / 'depth_anything.yaml'
ARGUMENTS = {
    'model': '', 'cameras': '', 'device': '', 'input_size': '', 'transport': '', 'namespace': '',
    'node_name': 'depth_anything', 'image_topic': 'image', 'camera_info_topic': '',
    'alignment': '', 'odom_frame': '', 'reference_topic': '', 'camera_height': '',
    'camera_pitch': '', 'rviz': 'false', 'points': 'true', 'view': 'false',
    'view_host': '127.0.0.1', 'frame': FRAME_ID, 'autostart': 'true', 'required': 'false',
    'dds_profile': '', 'use_sim_time': 'false', 'log_level': 'info'}


def _tree() -> ast.Module:
    return ast.parse(FILE.read_text(), str(FILE))


def test_it_compiles() -> None:
    compile(_tree(), str(FILE), 'exec')


def test_its_arguments_set_parameters_that_exist() -> None:
    table, = (node.value for node in _tree().body if isinstance(node, ast.Assign)
              and node.targets[0].id == 'PARAMETER_OF')
    assert set(ast.literal_eval(table).values()) <= {spec.name for spec in SPECS}


def _rviz(name: str) -> dict:
    yaml = pytest.importorskip('yaml')
    return yaml.safe_load((ROOT / 'config' / name).read_text())['Visualization Manager']


def test_rviz_without_points_is_the_same_but_for_the_cloud() -> None:
    full, images = _rviz('depth_anything.rviz'), _rviz('depth_anything_images.rviz')
    clouds = [display for display in full['Displays'] if display['Class'].endswith('PointCloud2')]
    assert [(cloud['Topic']['Value'], cloud['Color Transformer']) for cloud in clouds] == [
        ('/depth_anything/points', 'RGB8')]
    full['Displays'].remove(clouds[0])
    assert full == images


def test_rviz_topics_are_those_that_the_launch_file_remaps() -> None:
    topics = {display['Topic']['Value'] for display in _rviz('depth_anything.rviz')['Displays']
              if 'Topic' in display}
    texts = {node.value for node in ast.walk(_tree()) if isinstance(node, ast.Constant)}
    assert topics == {'/image', '/depth_anything/color/image', '/depth_anything/points'}
    assert topics <= texts


def test_rviz_looks_forward_from_behind_and_above_the_camera() -> None:
    manager = _rviz('depth_anything.rviz')
    view = manager['Views']['Current']
    horizontal = view['Distance'] * math.cos(view['Pitch'])
    eye_y = view['Focal Point']['Y'] + horizontal * math.sin(view['Yaw'])
    eye_z = view['Focal Point']['Z'] + view['Distance'] * math.sin(view['Pitch'])
    assert manager['Global Options']['Fixed Frame'] == FRAME_ID
    assert eye_y < -1 and eye_z < -1, 'the optical frame has z forward and y down'


@pytest.fixture
def launch_file(install: Callable[[str], Path]) -> ModuleType:
    """Return the launch file as a module, the source tree standing in for the share folder."""
    pytest.importorskip('launch_ros', reason='launch_ros is not installed')
    spec = importlib.util.spec_from_file_location('depth_anything_launch', FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def context_of(launch_file: ModuleType) -> Callable[..., object]:
    """Return a function that makes a launch context from arguments, defaults for the others."""
    from launch import LaunchContext

    def make(**changes: str) -> object:
        context = LaunchContext()
        for action in launch_file.generate_launch_description().get_launch_arguments():
            if action.name in changes:
                context.launch_configurations[action.name] = changes.pop(action.name)
            action.visit(context)
        assert not changes, f'no such argument: {changes}'
        return context

    return make


def test_every_argument_is_described_and_has_its_default(launch_file, context_of) -> None:
    described = {action.name: action.description for action
                 in launch_file.generate_launch_description().get_launch_arguments()}
    found = context_of().launch_configurations
    assert Path(found['params_file']).resolve() == OWN_PARAMETERS
    assert {name: found[name] for name in described} == {
        **ARGUMENTS, 'params_file': found['params_file']}
    for text in described.values():
        assert text.partition(' Valid choices')[0].endswith('.')
    for argument, name in launch_file.PARAMETER_OF.items():
        spec, = (spec for spec in SPECS if spec.name == name)
        assert described[argument].startswith(spec.description)


def test_left_alone_it_changes_nothing(launch_file, context_of) -> None:
    file, = launch_file._parameters(context_of())
    assert Path(file).resolve() == OWN_PARAMETERS


def test_a_file_of_ones_own_is_not_touched(launch_file, context_of, tmp_path: Path) -> None:
    own = tmp_path / 'own.yaml'
    own.write_text('/**: {ros__parameters: {model: mine.xml}}')
    assert launch_file._parameters(context_of(params_file=str(own))) == [str(own)]


def test_given_arguments_override_the_file_in_the_right_type(launch_file, context_of) -> None:
    context = context_of(model='a.xml', device='GPU,CPU', input_size='252', transport='compressed',
                         cameras='front, rear', alignment='ground', camera_height='1',
                         camera_pitch='-0.1', odom_frame='robot/odom', use_sim_time='true')
    _, overrides = launch_file._parameters(context)
    assert overrides.pop('use_sim_time') is True
    assert overrides == {'model': 'a.xml', 'device': 'GPU,CPU', 'input_size': 252,
                         'image_transport': 'compressed', 'cameras': ['front', 'rear'],
                         'alignment.source': 'ground', 'camera_height': 1.0,
                         'camera_pitch': -0.1, 'motion.odom_frame': 'robot/odom'}
    assert type(overrides['camera_height']) is float
    Settings.from_mapping(overrides)


@pytest.mark.parametrize('text', ['many', '-1', '99999', '2.5'])
def test_an_impossible_input_size_is_an_error(launch_file, context_of, text: str) -> None:
    with pytest.raises(SettingsError, match='input_size .* integer from 0 to'):
        launch_file._parameters(context_of(input_size=text))


def test_a_missing_parameter_file_is_an_error_with_its_path(launch_file, context_of) -> None:
    with pytest.raises(FileNotFoundError, match='/no/such.yaml'):
        launch_file._parameters(context_of(params_file='/no/such.yaml'))


@pytest.mark.parametrize(('image', 'camera_info', 'expected'), [
    ('image', '', 'camera_info'),
    ('/front/image_raw', '', '/front/camera_info'),
    ('/image', '', '/camera_info'),
    ('/front/image_raw', '/calibration', '/calibration'),
])
def test_inputs_are_remapped(launch_file, context_of, image: str, camera_info: str,
                             expected: str) -> None:
    context = context_of(image_topic=image, camera_info_topic=camera_info)
    assert launch_file._inputs(context) == [
        ('image', image), ('camera_info', expected)]


def test_inputs_of_several_cameras_follow_a_pattern(launch_file, context_of) -> None:
    context = context_of(cameras='front,rear', image_topic='/{camera}/image_raw',
                         reference_topic='/{camera}/lidar')
    assert dict(launch_file._inputs(context)) == {
        f'{camera}/{name}': f'/{camera}/{topic}' for camera in ('front', 'rear')
        for name, topic in (('image', 'image_raw'), ('camera_info', 'camera_info'),
                            ('reference/depth', 'lidar'), ('reference/points', 'lidar'),
                            ('reference/range', 'lidar'))}


def test_one_topic_for_several_cameras_is_refused(launch_file, context_of) -> None:
    with pytest.raises(SettingsError, match=r'image_topic .* pattern with \{camera\}'):
        launch_file._inputs(context_of(cameras='front,rear', image_topic='/image_raw'))


def test_names_in_the_parameter_file_reach_the_topics(
        launch_file, context_of, tmp_path: Path) -> None:
    file = tmp_path / 'two.yaml'
    file.write_text('/**: {ros__parameters: {cameras: [front, rear]}}')

    def inputs(**changes: str) -> list[tuple[str, str]]:
        return launch_file._inputs(context_of(params_file=str(file), **changes))

    assert inputs(image_topic='/{camera}/image_raw') == [
        ('front/image', '/front/image_raw'), ('front/camera_info', '/front/camera_info'),
        ('rear/image', '/rear/image_raw'), ('rear/camera_info', '/rear/camera_info')]
    assert all(name == topic for name, topic in inputs()), 'the inputs keep their names'
    assert inputs(cameras='left', image_topic='/image_raw') == [
        ('left/image', '/image_raw'), ('left/camera_info', '/camera_info')]
    with pytest.raises(SettingsError, match=r'image_topic .* cameras front, rear'):
        inputs(image_topic='/image_raw')


def test_a_reference_has_its_own_topic(launch_file, context_of) -> None:
    remapped = dict(launch_file._inputs(context_of(reference_topic='/stereo/depth')))
    assert remapped['reference/depth'] == '/stereo/depth'


def test_autostart_rviz_and_view_are_switches(launch_file, context_of, install) -> None:
    install('rviz2')

    def kinds(**changes: str) -> list[str]:
        return [type(action).__name__ for action in launch_file._start(context_of(**changes))]

    alone = kinds(autostart='false')
    assert 'LifecycleNode' in alone
    started = kinds()
    assert started == ['RegisterEventHandler', 'RegisterEventHandler', *alone]
    assert kinds(rviz='true') == [*started, 'Node']
    assert kinds(view='true') == [*started, 'Node']
    assert kinds(rviz='true', view='true') == [*started, 'Node', 'Node']


def test_without_rviz_the_error_has_the_install_line(launch_file, context_of) -> None:
    with pytest.raises(MissingDependencyError, match='sudo apt install ros-jazzy-rviz2'):
        launch_file._start(context_of(rviz='true'))
