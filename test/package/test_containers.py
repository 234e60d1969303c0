"""The images agree with package.xml and setup.py, and their health check with /diagnostics."""

from collections.abc import Callable
import json
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / 'docker'
DOCKERFILE = (DOCKER / 'Dockerfile').read_text()
LAUNCH_FILE = ROOT / 'launch' / 'depth_anything.launch.py'
OF_THE_SYSTEM = {'python3-pip', 'intel-opencl-icd', 'ros-${ROS_DISTRO}-usb-cam'}


def stages() -> dict[str, str]:
    """Return the lines of each stage of the Dockerfile by its name."""
    parts = re.split(r'^FROM (?=.* AS )', DOCKERFILE, flags=re.MULTILINE)[1:]
    return {part.split('\n')[0].rpartition(' AS ')[2]: part for part in parts}


def compose() -> dict:
    """Return what compose.yaml says."""
    yaml = pytest.importorskip('yaml')
    return yaml.safe_load((DOCKER / 'compose.yaml').read_text())


def test_apt_installs_what_package_xml_needs() -> None:
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    needed = {depend.text for depend in package.iter('exec_depend')}
    debs = {name if name.startswith('python3-')
            else '-'.join(('ros-${ROS_DISTRO}', *name.split('_'))) for name in needed}
    found = set(re.findall(r'"?(ros-\$\{ROS_DISTRO\}-[a-z0-9-]+|python3-\w+|intel-opencl-icd)"?',
                           DOCKERFILE))
    assert found - OF_THE_SYSTEM == debs


def test_pip_installs_what_setup_py_requires(setup_arguments: dict) -> None:
    assert re.findall(r"pip install '(openvino[^']*)'", stages()['base']) == [
        line for line in setup_arguments['install_requires'] if line.startswith('openvino')]
    assert re.findall(r"pip install '([^']*)'", stages()['view']) == (
        setup_arguments['extras_require']['view'])
    torch, = (line for line in setup_arguments['extras_require']['convert']
              if line.startswith('torch'))
    assert f"cpu '{torch}'" in stages()['convert']


@pytest.mark.parametrize('target', ['node', 'view', 'camera', 'convert'])
def test_no_image_runs_as_root(target: str) -> None:
    lines = stages()[target]
    if 'USER' not in lines:
        lines = stages()[lines.split(' ')[0]]
    user = re.findall(r'^USER (.+)$', lines, re.MULTILINE)[-1]
    assert re.fullmatch(r'[1-9]\d*:[1-9]\d*', user)


def test_every_file_that_is_copied_exists() -> None:
    for sources in re.findall(r'^COPY (?!--from)(.+) \S+$', DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
    assert os.access(DOCKER / 'entrypoint.sh', os.X_OK)


def test_compose_builds_targets_and_mounts_files_that_exist() -> None:
    services = compose()['services']
    for name, service in services.items():
        assert service['build']['target'] in stages(), name
        assert service['image'] == f"depth_anything_ros:{service['build']['target']}"
        assert (DOCKER / service['build']['context'] / service['build']['dockerfile']).is_file()
        for volume in service['volumes']:
            source = re.sub(r'^\$\{\w+:-([^}]*)\}', r'\1', volume).split(':')[0]
            assert source in compose()['volumes'] or (DOCKER / source).is_file(), volume
    assert {name for name, service in services.items() if 'profiles' in service} == {
        'depth-cpu', 'depth-gpu', 'depth-npu'}


def test_no_container_waits_for_ros2_run_which_ignores_sigint_in_humble(
        setup_arguments: dict) -> None:
    started = {target: json.loads(command[0]) for target, lines in stages().items()
               if (command := re.findall(r'^CMD (.+)$', lines, re.MULTILINE))}
    camera = compose()['services']['camera']['command']
    assert 'run' not in [*camera, *started['camera'], *started['view']]
    assert camera[0] == started['camera'][0]
    assert re.search(rf'ln -s "/opt/ros/\S+/{camera[0]}" /usr/local/bin/\n', stages()['camera'])
    folder, _, program = started['view'][0].rpartition('/')
    base, = re.findall(r'--install-base (\S+)', stages()['build'])
    assert folder == f'{base}/lib/depth_anything_ros'
    assert any(line.startswith(f'{program} =')
               for line in setup_arguments['entry_points']['console_scripts'])


@pytest.mark.parametrize('file', ['compose.yaml', 'depth_anything.service'])
def test_arguments_of_the_launch_file_exist(file: str) -> None:
    text = LAUNCH_FILE.read_text() + (
        ROOT / 'depth_anything_ros' / 'node' / 'launch_support.py').read_text()
    named = set(re.findall(r'(\w+):=', re.sub(
        r'(?s)__ns.*?depth-cpu', '', (DOCKER / file).read_text())))
    assert named
    assert {name for name in named if f"'{name}'" not in text} == set()


def test_the_service_is_one_that_systemd_accepts(tmp_path: Path) -> None:
    if shutil.which('systemd-analyze') is None:
        pytest.skip('systemd-analyze is not installed')
    unit = shutil.copy(DOCKER / 'depth_anything.service', tmp_path)
    done = subprocess.run(['systemd-analyze', 'verify', unit], capture_output=True, text=True,
                          timeout=60)
    assert (done.returncode, done.stderr) == (0, '')


@pytest.fixture
def check_health(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Return a function that runs the health check beside a node with the given statuses."""
    pytest.importorskip('rclpy')
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
    import rclpy
    monkeypatch.setenv('ROS_DOMAIN_ID', '87')

    def check_health(*arguments: str, **levels: int) -> tuple[int, str]:
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=87)
        node = rclpy.create_node('depth_anything', context=context)
        publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        message = DiagnosticArray(status=[
            DiagnosticStatus(level=bytes([level]), message='a reason',
                             name=f'depth_anything {name}'.removesuffix(' alone') + ': depth')
            for name, level in levels.items()])
        run = subprocess.Popen(
            [sys.executable, str(DOCKER / 'health.py'), *arguments], text=True, cwd=ROOT,
            stdout=subprocess.PIPE, env={**os.environ, 'PYTHONPATH': str(ROOT)})
        try:
            while run.poll() is None:
                if levels:
                    publisher.publish(message)
                try:
                    run.wait(0.1)
                except subprocess.TimeoutExpired:
                    continue
            return run.returncode, run.communicate()[0]
        finally:
            run.kill()
            run.wait()
            node.destroy_node()
            rclpy.shutdown(context=context)

    return check_health


def test_a_warning_is_healthy_unless_it_is_strict(
        check_health: Callable[..., tuple[int, str]]) -> None:
    assert check_health(alone=1) == (0, 'depth_anything: depth: warning: a reason\n')
    assert check_health('--strict', alone=1)[0] == 1


def test_an_error_of_one_camera_is_unhealthy(check_health: Callable[..., tuple[int, str]]) -> None:
    assert check_health(front=0, rear=2) == (
        1, 'depth_anything front: depth: OK: a reason\n'
           'depth_anything rear: depth: error: a reason\n')


def test_silence_is_unhealthy(check_health: Callable[..., tuple[int, str]]) -> None:
    status, text = check_health('--timeout', '0.5', '--node', '/robot/depth_anything', alone=0)
    assert status == 1
    assert text.startswith('robot/depth_anything sends nothing on /diagnostics')
