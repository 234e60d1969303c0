"""A real colcon build: everything is where ros2 run and ros2 launch look, and it runs."""

from collections.abc import Iterator
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

import pytest
from sources import copy_sources, NAME, ROOT

pytest.importorskip('colcon_ros', reason='colcon is not installed')
pytest.importorskip('ament_index_python', reason='ROS 2 is not installed')

PROGRAMS = {f'depth_anything_{name}' for name in (
    'node', 'convert', 'distill', 'run', 'app', 'evaluate', 'benchmark', 'demo', 'player',
    'view')}
MODEL = 'depth_anything_tiny'
DOMAIN_ID = 58


@pytest.fixture(scope='module')
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Build a copy of the sources, with a model in it, and yield the install folder."""
    workspace = tmp_path_factory.mktemp('workspace')
    copy_sources(workspace / 'src' / NAME)
    for suffix in ('.xml', '.bin'):
        (workspace / 'src' / NAME / 'models' / f'{MODEL}{suffix}').write_text('model')
    done = subprocess.run(
        [sys.executable, '-m', 'colcon', 'build'], cwd=workspace, env=_clean_environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=300)
    assert done.returncode == 0, done.stdout
    yield workspace / 'install'
    shutil.rmtree(workspace)


def test_the_package_is_found_through_the_ament_index(installed: Path) -> None:
    code = ('from ament_index_python.packages import get_package_share_directory as share; '
            f'import {NAME}; print(share({NAME!r})); print({NAME}.__file__)')
    share, module = _run(installed, [sys.executable, '-c', code]).stdout.split()
    assert Path(share) == installed / NAME / 'share' / NAME
    assert Path(module).is_relative_to(installed / NAME / 'lib')


def test_the_share_folder_holds_launch_config_models_and_photographs(installed: Path) -> None:
    share = installed / NAME / 'share' / NAME
    for folder, pattern in {'launch': '*.py', 'config': '*', 'resource/photos': '*'}.items():
        expected = {path.name for path in (ROOT / folder).glob(pattern) if path.is_file()}
        assert {path.name for path in (share / folder).iterdir()} == expected
        assert expected
    assert {path.name for path in (share / 'models').iterdir()} == {
        'README.md', f'{MODEL}.xml', f'{MODEL}.bin'}
    assert (share / 'package.xml').read_text() == (ROOT / 'package.xml').read_text()


def test_the_programs_find_the_installed_model_and_photographs(installed: Path) -> None:
    code = ('from depth_anything_ros.resources import photographs, shipped_model; '
            'print(shipped_model().is_file(), len(list(photographs().glob("*.jpg"))))')
    found = _run(installed, [sys.executable, '-c', code]).stdout.split()
    assert found == ['True', str(len(list((ROOT / 'resource' / 'photos').glob('*.jpg'))))]


def test_programs_lie_where_ros2_run_looks(installed: Path) -> None:
    folder = installed / NAME / 'lib' / NAME
    assert {path.name for path in folder.iterdir() if os.access(path, os.X_OK)} == PROGRAMS


def test_every_module_is_installed(installed: Path) -> None:
    modules = {path.relative_to(ROOT) for path in (ROOT / NAME).rglob('*.py')}
    site_packages, = (installed / NAME / 'lib').glob('python3.*/site-packages')
    assert {path.relative_to(site_packages)
            for path in (site_packages / NAME).rglob('*.py')} == modules


def test_nothing_of_tools_test_and_docs_is_installed(installed: Path) -> None:
    site_packages, = (installed / NAME / 'lib').glob('python3.*/site-packages')
    packages = {path.name for path in site_packages.iterdir() if path.is_dir()}
    assert {name for name in packages if not name.endswith(('-info', '__pycache__'))} == {NAME}
    folders = {part for path in installed.rglob('*') for part in path.relative_to(installed).parts}
    assert not folders & {'tools', 'test', 'docs'}


def test_the_marker_of_a_typed_package_is_installed(installed: Path) -> None:
    site_packages, = (installed / NAME / 'lib').glob('python3.*/site-packages')
    assert (site_packages / NAME / 'py.typed').is_file()


@pytest.mark.parametrize('name', ['convert', 'distill', 'run', 'evaluate', 'benchmark'])
def test_an_installed_program_prints_its_help(installed: Path, name: str) -> None:
    pytest.importorskip('typer')
    done = _run(installed, [str(installed / NAME / 'lib' / NAME / f'depth_anything_{name}'),
                            '--help'])
    assert f'Usage: depth_anything_{name}' in done.stdout


def test_installed_node_comes_up_and_ends_cleanly_on_ctrl_c(installed: Path) -> None:
    rclpy = pytest.importorskip('rclpy')
    context = rclpy.Context()
    node = subprocess.Popen(
        _sourced([str(installed / NAME / 'lib' / NAME / 'depth_anything_node')]),
        env=_environment_of(installed), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        rclpy.init(context=context, domain_id=DOMAIN_ID)
        observer = rclpy.create_node('observer', context=context)
        assert _appears(observer, 'depth_anything', timeout_s=30)
        node.send_signal(signal.SIGINT)
        output, _ = node.communicate(timeout=30)
    finally:
        rclpy.try_shutdown(context=context)
        if node.poll() is None:
            node.kill()
            node.communicate()
    assert node.returncode == 0, output
    assert 'Traceback' not in output


def _appears(observer: object, name: str, timeout_s: float) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if name in observer.get_node_names():
            return True
        time.sleep(0.1)
    return False


def _clean_environment() -> dict[str, str]:
    sourced = {'AMENT_PREFIX_PATH', 'COLCON_PREFIX_PATH', 'PYTHONPATH'}
    return {name: value for name, value in os.environ.items() if name not in sourced}


def _environment_of(installed: Path) -> dict[str, str]:
    return {**_clean_environment(), 'COLCON_CURRENT_PREFIX': str(installed),
            'ROS_DOMAIN_ID': str(DOMAIN_ID)}


def _sourced(command: list[str]) -> list[str]:
    return ['sh', '-c', '. "$COLCON_CURRENT_PREFIX/local_setup.sh"; exec "$@"', 'sh', *command]


def _run(installed: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_sourced(command), cwd=installed, env=_environment_of(installed),
                          check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=120)
