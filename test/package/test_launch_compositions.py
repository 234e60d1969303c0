"""The launch files; with launch_ros they run, with stand-ins for programs of other packages."""

import ast
from collections.abc import Callable, Iterator
import json
from pathlib import Path
import signal
import subprocess
import sys

from depth_anything_ros.cli.processes import stop
import pytest
from waiting import until

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / 'launch').glob('*.launch.py'))
OWN_PARAMETERS = ROOT / 'config' / 'depth_anything.yaml'
OURS = 'depth_anything_ros'
DEPTH_TOPICS = {'depth': 'depth_anything/depth/image',
                'depth_camera_info': 'depth_anything/depth/camera_info', 'scan': 'scan'}
LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
service = LaunchService(noninteractive=True)
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(
    PythonLaunchDescriptionSource(sys.argv[1]),
    launch_arguments=[argument.split(':=') for argument in sys.argv[2:]])]))
sys.exit(service.run())
"""
# Writes its arguments, one per line, and its parameters, one document per file.
STAND_IN = """#!/bin/sh
for argument; do
  [ "$last" = --params-file ] && echo --- && cat "$argument"
  last=$argument
done > '{record}.yaml'
printf '%s\\n' "$FASTRTPS_DEFAULT_PROFILES_FILE" > '{record}.profile'
printf '%s\\n' "$@" > '{record}.args'
"""
RTABMAP = """
import json
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
def record(context):
    open({record!r}, 'w').write(json.dumps(dict(context.launch_configurations)))
    return []
def generate_launch_description():
    return LaunchDescription([
        DeclareLaunchArgument('namespace', default_value='rtabmap'),
        DeclareLaunchArgument('rtabmap_viz', default_value='true'),
        OpaqueFunction(function=record)])
"""


def _strings(file: Path, parts_of: Callable[[ast.AST], Iterator[ast.expr]]) -> set[str]:
    return {leaf.value for node in ast.walk(ast.parse(file.read_text())) for part in parts_of(node)
            for leaf in ast.walk(part) if isinstance(leaf, ast.Constant)}


def _started(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the packages in use: package=… and get_package_share_path(…)."""
    if isinstance(node, ast.Call):
        yield from (keyword.value for keyword in node.keywords if keyword.arg == 'package'
                    and isinstance(keyword.value, ast.Constant))
        if isinstance(node.func, ast.Name) and node.func.id == 'get_package_share_path':
            yield from node.args


def _required(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the packages that are checked: NEEDS, and the lists for require_packages."""
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'NEEDS':
        yield node.value
    if (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            and node.func.id == 'require_packages'):
        yield from (argument for argument in node.args if isinstance(argument, ast.List))


def _config_files(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.Constant) and str(node.value).startswith('config/'):
        yield node


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.name)
def test_a_launch_file_starts_only_packages_that_it_checks_first(file: Path) -> None:
    compile(file.read_text(), str(file), 'exec')
    assert _strings(file, _started) <= {OURS, *_strings(file, _required)}


def test_the_launch_files_name_every_file_of_config_and_no_other() -> None:
    shared = ROOT / OURS / 'node' / 'launch_support.py'
    named = set().union(*(_strings(file, _config_files) for file in (*FILES, shared)))
    for_other_programs = {'config/foxglove.json'}
    assert named | for_other_programs == {f'config/{path.name}'
                                          for path in (ROOT / 'config').iterdir()}


@pytest.fixture
def launched(install: Callable[[str], Path], tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs a launch file to its end and returns what it printed."""
    pytest.importorskip('launch_ros', reason='launch_ros is not installed')
    stand_in(install, tmp_path, OURS, 'depth_anything_node')

    def run(file: str, *arguments: str) -> str:
        result = subprocess.run(
            [sys.executable, '-c', LAUNCH, str(ROOT / 'launch' / file), *arguments], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        assert result.returncode == 0 or 'Caught exception' in result.stdout, result.stdout
        return result.stdout

    return run


def stand_in(install: Callable[[str], Path], records: Path, package: str, program: str) -> None:
    """Install a program that records how it was started."""
    folder = install(package) / 'lib' / package
    folder.mkdir(parents=True)
    (folder / program).write_text(STAND_IN.format(record=records / program))
    (folder / program).chmod(0o755)


def recorded(records: Path, program: str) -> tuple[dict[str, str], dict[str, object], str]:
    """Return remappings, parameters and the full name of a program that was started."""
    yaml = pytest.importorskip('yaml')
    arguments = (records / f'{program}.args').read_text().splitlines()
    rules = dict(argument.split(':=', 1) for argument in arguments if ':=' in argument)
    text = (records / f'{program}.yaml').read_text().replace('!!python/tuple', '')
    parameters: dict[str, object] = {}
    for document in yaml.safe_load_all(text):
        for section in document.values():
            parameters |= section['ros__parameters']
    name = '/'.join([rules.pop('__ns').rstrip('/'), rules.pop('__node')])
    return rules, parameters, name


@pytest.fixture
def ended(install: Callable[[str], Path], tmp_path: Path) -> Callable[..., tuple[int, str, bool]]:
    """
    Return a function that launches a node of the given script, and RViz beside it for 4 s.

    It returns the exit status, what was printed, and whether launch let RViz end by itself.
    """
    pytest.importorskip('launch_ros', reason='launch_ros is not installed')

    def run(script: str, *arguments: str, interrupt: bool = False) -> tuple[int, str, bool]:
        rest, both = tmp_path / 'rviz_ended', [tmp_path / 'started', tmp_path / 'rviz_started']
        for package, program, text in (
                (OURS, 'depth_anything_node', script),
                ('rviz2', 'rviz2', f'#!/bin/sh\ntouch {both[1]}\nsleep 4 && touch {rest}\n')):
            file = install(package) / 'lib' / package / program
            file.parent.mkdir(parents=True)
            file.write_text(text)
            file.chmod(0o755)
        launch = subprocess.Popen(
            [sys.executable, '-c', LAUNCH, str(ROOT / 'launch' / 'depth_anything.launch.py'),
             'rviz:=true', 'required:=true', *arguments], text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        try:
            if interrupt:
                # A signal while launch starts a program may be lost in launch.
                assert until(lambda: all(file.exists() for file in both), 20)
                launch.send_signal(signal.SIGINT)
            printed, _ = launch.communicate(timeout=40)
        finally:
            stop(launch)
        return launch.returncode, printed, rest.exists()

    return run


@pytest.mark.parametrize('autostart', ['true', 'false'])
@pytest.mark.parametrize(('script', 'sentence'), [
    ('#!/bin/sh\nexit 1\n', 'has died with exit code 1; the lines above show why'),
    ('#!/bin/sh\nkill -KILL $$\n', 'has died with exit code -9; dmesg shows whether memory'),
    ('#!/no/such/program\n', 'could not be executed; the lines above show why')],
    ids=['error', 'killed', 'cannot start'])
def test_launch_ends_with_status_1_when_the_node_dies(
        ended, script: str, sentence: str, autostart: str) -> None:
    status, printed, rviz_ended = ended(script, f'autostart:={autostart}')
    assert status == 1, printed
    assert f'depth_anything_node {sentence}' in printed
    assert not rviz_ended


def test_a_node_that_is_not_required_leaves_the_other_programs_alone_when_it_dies(ended) -> None:
    status, printed, rviz_ended = ended('#!/bin/sh\nexit 1\n', 'autostart:=false',
                                        'required:=false')
    assert (status, rviz_ended) == (0, True), printed


@pytest.mark.parametrize('end', ['exit 0', 'kill -TERM $$', 'kill -INT $$'])
def test_a_node_that_is_stopped_leaves_the_other_programs_alone(ended, end: str) -> None:
    status, printed, rviz_ended = ended(f'#!/bin/sh\n{end}\n', 'autostart:=false')
    assert (status, rviz_ended) == (0, True), printed


def test_launch_waits_for_no_transition_of_a_node_that_is_stopped(ended) -> None:
    """Its status is that of launch_ros, whose wait for the service fails when launch ends."""
    _, printed, rviz_ended = ended('#!/bin/sh\nexit 0\n')
    assert not rviz_ended, printed


def test_an_interrupted_launch_ends_with_status_0(ended, tmp_path: Path) -> None:
    """Whatever the status of the node: launch ends it itself."""
    status, printed, _ = ended(
        f'#!/bin/sh\ntrap "exit 3" INT\ntouch {tmp_path}/started\n'
        'while :; do sleep 0.1; done\n', 'autostart:=false', interrupt=True)
    assert status == 0, printed
    assert 'exit code 3' in printed


@pytest.mark.parametrize(('file', 'arguments', 'package', 'debs'), [
    ('laserscan', [], 'depthimage_to_laserscan', 'depthimage-to-laserscan'),
    ('rtabmap', [], 'rtabmap_launch', 'rtabmap-launch'),
    ('nav2_costmap', ['costmap:=true'], 'nav2_costmap_2d',
     'nav2-costmap-2d ros-jazzy-nav2-lifecycle-manager'),
    ('camera', ['driver:=usb_cam'], 'usb_cam', 'usb-cam'),
    ('camera', ['driver:=v4l2_camera'], 'v4l2_camera', 'v4l2-camera'),
    ('camera', ['driver:=realsense'], 'realsense2_camera', 'realsense2-camera'),
])
def test_missing_packages_are_reported_before_anything_starts(
        launched, tmp_path: Path, file: str, arguments: list[str], package: str,
        debs: str) -> None:
    printed = launched(f'{file}.launch.py', 'autostart:=false', *arguments)
    assert (f' needs {package}, which is not installed: sudo apt install ros-jazzy-{debs}\n'
            ) in printed
    assert 'Traceback' not in printed
    assert not list(tmp_path.glob('*.args'))


def test_several_cameras_share_one_node(launched, tmp_path: Path) -> None:
    launched('multi_camera.launch.py', 'cameras:=front,rear', 'autostart:=false', 'device:=GPU')
    rules, parameters, name = recorded(tmp_path, 'depth_anything_node')
    assert name == '/depth_anything'
    assert rules == {f'{camera}/{topic}': f'/{camera}/{beside}' for camera in ('front', 'rear')
                     for topic, beside in (('image', 'image_raw'), ('camera_info', 'camera_info'))}
    assert (parameters['cameras'], parameters['device']) == (['front', 'rear'], 'GPU')


@pytest.mark.parametrize(('file', 'argument', 'image'), [
    ('multi_camera', 'cameras:=front,rear', '/front/image_raw'),
    ('depth_anything', 'params_file:={}/two.yaml', 'front/image')])
def test_rviz_shows_the_first_of_several_cameras(
        launched, install, tmp_path: Path, file: str, argument: str, image: str) -> None:
    stand_in(install, tmp_path, 'rviz2', 'rviz2')
    (tmp_path / 'two.yaml').write_text('/**: {ros__parameters: {cameras: [front, rear]}}')
    launched(f'{file}.launch.py', argument.format(tmp_path), 'autostart:=false', 'rviz:=true')
    rules, _, _ = recorded(tmp_path, 'rviz2')
    assert rules == {'/image': image,
                     '/depth_anything/color/image': 'depth_anything/front/color/image',
                     '/depth_anything/points': 'depth_anything/front/points'}


def test_scan_is_made_of_the_depth_in_the_same_namespace(launched, install,
                                                         tmp_path: Path) -> None:
    stand_in(install, tmp_path, 'depthimage_to_laserscan', 'depthimage_to_laserscan_node')
    launched('laserscan.launch.py', 'autostart:=false', 'namespace:=robot', 'scan_height:=10',
             'range_max:=5')
    rules, parameters, name = recorded(tmp_path, 'depthimage_to_laserscan_node')
    assert name == '/robot/depthimage_to_laserscan'
    assert rules == DEPTH_TOPICS
    assert parameters == {'scan_height': 10, 'range_min': 0.3, 'range_max': 5.0, 'scan_time': 0.2,
                          'output_frame': 'camera_link', 'use_sim_time': False}
    assert recorded(tmp_path, 'depth_anything_node')[2] == '/robot/depth_anything'


@pytest.mark.parametrize(('driver', 'package', 'program', 'name', 'image', 'expected'), [
    ('usb_cam', 'usb_cam', 'usb_cam_node_exe', '/camera/usb_cam', '/camera/image_raw',
     {'image_width': 1280, 'image_height': 720, 'framerate': 15.0,
      'frame_id': 'camera_optical_frame', 'video_device': '/dev/video0'}),
    ('v4l2_camera', 'v4l2_camera', 'v4l2_camera_node', '/camera/v4l2_camera', '/camera/image_raw',
     {'image_size': [1280, 720], 'time_per_frame': [1, 15],
      'camera_frame_id': 'camera_optical_frame', 'video_device': '/dev/video0'}),
    ('realsense', 'realsense2_camera', 'realsense2_camera_node', '/camera/camera',
     '/camera/camera/color/image_raw',
     {'enable_depth': False, 'rgb_camera.color_profile': '1280x720x15'}),
])
def test_a_driver_and_the_depth_of_its_images(
        launched, install, tmp_path: Path, driver: str, package: str, program: str, name: str,
        image: str, expected: dict[str, object]) -> None:
    stand_in(install, tmp_path, package, program)
    more = tmp_path / 'more.yaml'
    more.write_text('/**: {ros__parameters: {gain: 3}}')
    launched('camera.launch.py', f'driver:={driver}', 'width:=1280', 'height:=720', 'fps:=15',
             f'driver_params_file:={more}', 'autostart:=false')
    _, parameters, found = recorded(tmp_path, program)
    assert found == name
    assert {**parameters, **expected, 'gain': 3} == parameters
    assert recorded(tmp_path, 'depth_anything_node')[0] == {
        'image': image, 'camera_info': image.replace('image_raw', 'camera_info')}


def test_another_topic_and_frame_than_those_of_the_driver_are_used(
        launched, install, tmp_path: Path) -> None:
    stand_in(install, tmp_path, 'usb_cam', 'usb_cam_node_exe')
    stand_in(install, tmp_path, 'rviz2', 'rviz2')
    launched('camera.launch.py', 'driver:=usb_cam', 'autostart:=false', 'rviz:=true',
             'image_topic:=/camera/image_rect', 'frame:=map')
    assert recorded(tmp_path, 'depth_anything_node')[0] == {
        'image': '/camera/image_rect', 'camera_info': '/camera/camera_info'}
    assert '-f\nmap\n' in (tmp_path / 'rviz2.args').read_text()


@pytest.mark.parametrize(('file', 'arguments', 'sentence'), [
    ('camera', ['driver:=usb_cam', 'fps:=29.97'],
     "fps is '29.97'; it must be an integer of at least 1"),
    ('camera', ['driver:=v4l2_camera', 'fps:=0'], "fps is '0'; it must be an integer of at least"),
    ('camera', ['driver:=realsense', 'width:=wide'], "width is 'wide'; it must be an integer"),
    ('camera', ['driver:=usb_cam', 'driver_params_file:=/no/file'],
     'driver_params_file /no/file does not exist'),
    ('laserscan', ['scan_height:=10.5'], "scan_height is '10.5'; it must be an integer of at"),
    ('laserscan', ['range_max:=far'], "range_max is 'far'; it must be a number of at least 0"),
    ('laserscan', ['range_min:=nan'], "range_min is 'nan'; it must be a number of at least 0"),
    *((file, ['cameras:=front', *more], "cameras is 'front'; it must be empty, because")
      for file, more in (('laserscan', []), ('rtabmap', []), ('nav2_costmap', ['costmap:=true']))),
    ('nav2_costmap', ['costmap:=true', 'costmap_params_file:=/no/file'],
     'costmap_params_file /no/file does not exist'),
    ('nav2_costmap', ['costmap:=true', f'costmap_params_file:={OWN_PARAMETERS}'],
     'it must be a YAML file with local_costmap: local_costmap: ros__parameters:')])
def test_an_argument_that_cannot_be_used_is_named_before_anything_starts(
        launched, install, tmp_path: Path, file: str, arguments: list[str],
        sentence: str) -> None:
    for package in ('usb_cam', 'v4l2_camera', 'realsense2_camera', 'depthimage_to_laserscan',
                    'nav2_costmap_2d', 'nav2_lifecycle_manager', 'rtabmap_launch'):
        install(package)
    printed = launched(f'{file}.launch.py', 'autostart:=false', *arguments)
    assert sentence in printed
    assert not list(tmp_path.glob('*.args'))


def test_driver_and_node_use_the_profile_of_fast_dds(launched, install, tmp_path: Path) -> None:
    stand_in(install, tmp_path, 'usb_cam', 'usb_cam_node_exe')
    launched('camera.launch.py', 'driver:=usb_cam', 'autostart:=false', 'dds_profile:=fastdds.xml')
    for program in ('usb_cam_node_exe', 'depth_anything_node'):
        assert (tmp_path / f'{program}.profile').read_text().strip().endswith('config/fastdds.xml')


def test_costmap_and_node_are_brought_up_by_one_lifecycle_manager(launched, install,
                                                                  tmp_path: Path) -> None:
    stand_in(install, tmp_path, 'nav2_costmap_2d', 'nav2_costmap_2d')
    stand_in(install, tmp_path, 'nav2_lifecycle_manager', 'lifecycle_manager')
    launched('nav2_costmap.launch.py', 'costmap:=true', 'namespace:=robot', 'camera_height:=0.45')
    _, manager, _ = recorded(tmp_path, 'lifecycle_manager')
    assert manager == {'node_names': ['robot/depth_anything', 'costmap/costmap'],
                       'autostart': True, 'bond_timeout': 0.0, 'use_sim_time': False}
    rules, costmap, name = recorded(tmp_path, 'nav2_costmap_2d')
    assert name == '/costmap/costmap'
    assert rules == {'/depth_anything/points': '/robot/depth_anything/points'}
    assert costmap['voxel_layer.points_mark.max_obstacle_height'] == 2.0
    _, node, _ = recorded(tmp_path, 'depth_anything_node')
    assert (node['alignment.source'], node['camera_height']) == ('ground', 0.45)


def test_with_simulated_time_it_prints_what_the_costmap_needs(
        launched, install, tmp_path: Path) -> None:
    """Costmap2DROS sets use_sim_time itself, to false."""
    stand_in(install, tmp_path, 'nav2_costmap_2d', 'nav2_costmap_2d')
    stand_in(install, tmp_path, 'nav2_lifecycle_manager', 'lifecycle_manager')
    for use_sim_time in ('true', 'false'):
        printed = launched('nav2_costmap.launch.py', 'costmap:=true', 'camera_height:=0.45',
                           f'use_sim_time:={use_sim_time}')
        assert ('ros2 param set /costmap/costmap use_sim_time true' in printed) == (
            use_sim_time == 'true')


def test_without_a_costmap_it_prints_what_nav2_needs(launched, tmp_path: Path) -> None:
    printed = launched('nav2_costmap.launch.py', 'autostart:=false')
    assert 'config/nav2_costmap.yaml to the parameters of Nav2' in printed
    assert [path.name for path in tmp_path.glob('*.args')] == ['depth_anything_node.args']


def test_rtabmap_gets_depth_and_the_calibration_of_the_image(
        launched, install, tmp_path: Path) -> None:
    folder = install('rtabmap_launch') / 'share' / 'rtabmap_launch' / 'launch'
    folder.mkdir(parents=True)
    record = tmp_path / 'rtabmap.json'
    (folder / 'rtabmap.launch.py').write_text(RTABMAP.format(record=str(record)))
    printed = launched('rtabmap.launch.py', 'autostart:=false', 'namespace:=robot', 'rviz:=false',
                       'image_topic:=image_rect', 'rtabmap_viz:=false')
    found = json.loads(record.read_text())
    expected = {
        'namespace': 'rtabmap', 'rgb_topic': '/robot/image_rect', 'rtabmap_viz': 'false',
        'depth_topic': '/robot/depth_anything/depth/image', 'approx_sync': 'false',
        'camera_info_topic': '/robot/camera_info'}
    assert {name: found[name] for name in expected} == expected
    assert 'one true scale' in printed
    assert recorded(tmp_path, 'depth_anything_node')[2] == '/robot/depth_anything'


@pytest.mark.parametrize(('file', 'arguments'), [
    ('depth_anything', []), ('multi_camera', ['cameras:=front,rear']),
    ('camera', ['driver:=usb_cam']), ('laserscan', []), ('rtabmap', []),
    ('nav2_costmap', ['camera_height:=0.3']),
    ('nav2_costmap', ['camera_height:=0.3', 'costmap:=true', 'alignment:=motion+ground'])])
def test_every_launch_file_takes_the_metres_from_the_motion(
        launched, install, tmp_path: Path, file: str, arguments: list[str]) -> None:
    for package, program in (
            ('usb_cam', 'usb_cam_node_exe'), ('nav2_costmap_2d', 'nav2_costmap_2d'),
            ('nav2_lifecycle_manager', 'lifecycle_manager'),
            ('depthimage_to_laserscan', 'depthimage_to_laserscan_node')):
        stand_in(install, tmp_path, package, program)
    folder = install('rtabmap_launch') / 'share' / 'rtabmap_launch' / 'launch'
    folder.mkdir(parents=True)
    (folder / 'rtabmap.launch.py').write_text(RTABMAP.format(record=str(tmp_path / 'rtabmap')))
    launched(f'{file}.launch.py', 'autostart:=false', 'alignment:=motion', 'odom_frame:=odometry',
             *arguments)
    _, parameters, _ = recorded(tmp_path, 'depth_anything_node')
    assert parameters['alignment.source'] == (
        'motion+ground' if 'alignment:=motion+ground' in arguments else 'motion')
    assert parameters['motion.odom_frame'] == 'odometry'


@pytest.mark.parametrize(('file', 'arguments'), [
    ('laserscan', []), ('rtabmap', []), ('nav2_costmap', ['costmap:=true'])])
def test_names_of_cameras_in_the_parameter_file_are_refused_too(
        launched, install, tmp_path: Path, file: str, arguments: list[str]) -> None:
    for package in ('depthimage_to_laserscan', 'nav2_costmap_2d', 'nav2_lifecycle_manager',
                    'rtabmap_launch'):
        install(package)
    own = tmp_path / 'two.yaml'
    own.write_text('/robot/depth_anything: {ros__parameters: {cameras: [front, rear]}}')
    printed = launched(f'{file}.launch.py', 'autostart:=false', f'params_file:={own}',
                       'namespace:=robot', *arguments)
    assert "cameras is 'front, rear'; it must be empty, because" in printed
    assert not list(tmp_path.glob('*.args'))


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.name)
def test_every_argument_is_described(launched, file: Path) -> None:
    from launch import LaunchContext
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    description = PythonLaunchDescriptionSource(str(file)).get_launch_description(LaunchContext())
    arguments = description.get_launch_arguments()
    assert {'model', 'autostart'} <= {argument.name for argument in arguments}
    for argument in arguments:
        assert argument.description.partition(' Valid choices')[0].endswith('.'), argument.name
