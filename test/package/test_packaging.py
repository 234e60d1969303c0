"""What the package says about itself: versions, dependencies, programs, top level."""

import ast
import os
from pathlib import Path
import re
import subprocess
import sys
import zipfile

import depth_anything_ros
import numpy as np
import pytest
from sources import copy_sources

ROOT = Path(__file__).resolve().parents[2]
TOP_LEVEL = {
    '.ci', '.github', '.gitignore', 'CHANGELOG.rst', 'CONTRIBUTING.md', 'LICENSE', 'Makefile',
    'QUALITY_DECLARATION.md', 'README.md', 'config', 'depth_anything_ros', 'docker', 'docs',
    'launch', 'models', 'package.xml', 'pyproject.toml', 'resource', 'setup.cfg', 'setup.py',
    'test', 'tools'}
ROSDEP_OF = {'tf2_ros': 'tf2_ros_py', 'cv2': 'python3-opencv', 'numpy': 'python3-numpy'}
# The server of viser, without which viser cannot be installed.
PART_OF = {'viser': {'websockets'}}
MODULE_OF = {'opencv-python-headless': 'cv2', 'pyyaml': 'yaml'}


@pytest.fixture(scope='module')
def package() -> object:
    """Return package.xml as catkin_pkg reads it; a warning is an error."""
    catkin_package = pytest.importorskip('catkin_pkg.package')
    warnings = []
    result = catkin_package.parse_package(str(ROOT / 'package.xml'), warnings=warnings)
    result.validate(warnings=warnings)
    assert not warnings
    return result


def test_package_xml_is_format_3_for_ament_python(package) -> None:
    assert package.package_format == 3
    assert package.name == depth_anything_ros.__name__
    assert [export.content for export in package.exports] == ['ament_python']
    assert package.licenses == ['Apache-2.0']
    assert (ROOT / package.licenses[0].file).read_text().lstrip().startswith('Apache License')


def test_one_version_everywhere(package, setup_arguments) -> None:
    changelog = pytest.importorskip('catkin_pkg.changelog').get_changelog_from_path(
        str(ROOT / 'CHANGELOG.rst'))
    *_, newest = (version for version, _, _ in changelog.foreach_version())
    assert {package.version, setup_arguments['version'], newest} == {
        depth_anything_ros.__version__}


def test_package_xml_and_setup_py_name_the_same_maintainer_and_licence(
        package, setup_arguments) -> None:
    maintainer, = package.maintainers
    assert maintainer.name == setup_arguments['maintainer']
    assert maintainer.email == setup_arguments['maintainer_email']
    assert package.licenses == [setup_arguments['license']]


def test_every_ros_import_is_declared_and_every_declared_package_is_imported(
        package, setup_arguments) -> None:
    imported = {name for folder in ('depth_anything_ros', 'launch')
                for path in (ROOT / folder).rglob('*.py') for name in _imports(path)}
    needed = {ROSDEP_OF.get(name, name) for name in imported
              if name not in _from_pip(setup_arguments) and name != depth_anything_ros.__name__}
    assert {dependency.name for dependency in package.exec_depends} == needed


def test_pip_lines_in_package_xml_are_the_requirements_of_setup_py(setup_arguments) -> None:
    text = (ROOT / 'package.xml').read_text()
    node, convert, distill, tools, app, view, fleet = (
        re.search(rf'{name}: +pip install (.*)', text).group(1).replace('"', '')
        for name in ('node', 'converter', 'distilling', 'tools', 'app', 'page', 'fleet'))
    assert view.split() == setup_arguments['extras_require']['view']
    assert ['numpy', *node.split()] == setup_arguments['install_requires']
    for line, extra in ((convert, 'convert'), (distill, 'distill'), (tools, 'tools'),
                        (app, 'app'), (fleet, 'fleet')):
        assert line.split() == setup_arguments['extras_require'][extra]


def test_old_numpy_can_import_every_module() -> None:
    """The one of Ubuntu 22.04, 1.21, has no generic types of its own at run time."""
    subscripted = [
        f'{path.relative_to(ROOT)}:{node.lineno}'
        for folder in ('depth_anything_ros', 'docker', 'launch', 'tools')
        for path in sorted((ROOT / folder).rglob('*.py'))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute)
        and isinstance(node.value.value, ast.Name) and node.value.value.id == 'np'
        and isinstance(getattr(np, node.value.attr), type)]
    assert not subscripted, 'use the types of arrays.py'


def test_every_program_has_a_main_function(setup_arguments) -> None:
    for line in setup_arguments['entry_points']['console_scripts']:
        module, _, function = line.split(' = ')[1].partition(':')
        path = ROOT.joinpath(*module.split('.')).with_suffix('.py')
        assert path.is_file(), line
        assert function in {node.name for node in ast.parse(path.read_text()).body
                            if isinstance(node, ast.FunctionDef)}, line


def test_a_program_imports_packages_only_where_it_handles_ctrl_c_and_missing_ones(
        setup_arguments) -> None:
    """That is in its function ``main``."""
    lines = setup_arguments['entry_points']['console_scripts']
    code = ('import importlib, sys\nfor name in sys.argv[1:]:\n'
            '    importlib.import_module(name)\n'
            "print(*{name.partition('.')[0] for name in sys.modules})")
    found = subprocess.run(
        [sys.executable, '-c', code, *(line.split(' = ')[1].partition(':')[0] for line in lines)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    assert 'depth_anything_ros' in found
    assert not {'numpy', 'cv2', 'openvino', 'rclpy', 'torch', 'typer'} & set(found)


def test_every_python_folder_is_installed(setup_arguments) -> None:
    folders = {'.'.join(path.parent.relative_to(ROOT).parts)
               for path in (ROOT / 'depth_anything_ros').rglob('*.py')}
    assert set(setup_arguments['packages']) == folders


@pytest.fixture(scope='module')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the names of the files in a wheel that pip builds from a copy of the sources."""
    folder = tmp_path_factory.mktemp('wheel')
    copy_sources(folder / 'sources')
    for suffix in ('.xml', '.bin'):
        (folder / 'sources' / 'models' / f'depth_anything_tiny{suffix}').write_text('model')
    done = subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '--no-index',
         '--wheel-dir', str(folder), str(folder / 'sources')],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    file, = folder.glob('*.whl')
    with zipfile.ZipFile(file) as archive:
        return set(archive.namelist())


def test_a_wheel_holds_every_module_and_nothing_of_the_tools(wheel: set[str]) -> None:
    modules = {str(path.relative_to(ROOT))
               for path in (ROOT / 'depth_anything_ros').rglob('*.py')}
    assert {name for name in wheel if name.endswith('.py') and '.data/' not in name} == modules
    assert {name.split('/')[0].partition('-')[0] for name in wheel} == {'depth_anything_ros'}
    assert 'depth_anything_ros/py.typed' in wheel


def test_a_wheel_holds_launch_files_configuration_model_and_photographs(wheel: set[str]) -> None:
    share = 'share/depth_anything_ros/'
    found = {name.partition(share)[2] for name in wheel if share in name}
    expected = {str(path.relative_to(ROOT)) for folder, pattern in (
        ('launch', '*.launch.py'), ('config', '*.*'), ('resource/photos', '*.*'))
        for path in (ROOT / folder).glob(pattern)}
    assert found == expected | {'package.xml', 'models/README.md',
                                *(f'models/depth_anything_tiny{end}' for end in ('.xml', '.bin'))}


def test_the_model_in_the_box_is_small_and_free_to_use() -> None:
    pytest.importorskip('openvino')
    from depth_anything_ros.inference.ir import read_model
    from depth_anything_ros.resources import shipped_model
    import openvino as ov
    model = shipped_model()
    _, info = read_model(ov.Core(), model)
    assert (info.kind, info.licence, info.fixed_size_hw) == ('relative', 'Apache-2.0', None)
    assert (info.encoder, info.precision) == ('tiny', 'int8')
    size = sum(model.with_suffix(suffix).stat().st_size for suffix in ('.xml', '.bin'))
    assert size <= 26 * 2 ** 20


def test_the_graph_in_the_box_is_static_and_has_no_operation_that_devices_cannot_run() -> None:
    pytest.importorskip('openvino')
    from depth_anything_ros.inference.ir import build_graph, read_model
    from depth_anything_ros.resources import shipped_model
    import openvino as ov
    model, info = read_model(ov.Core(), shipped_model())
    graph = build_graph(model, info, (196, 266))
    assert not graph.is_dynamic()
    # The size of their result or the number of their steps depends on values.
    found = {node.get_type_name() for node in graph.get_ops()}
    assert not found & {'If', 'Loop', 'NonMaxSuppression', 'NonZero', 'Range', 'TensorIterator',
                        'Unique'}
    # The GPU plugin computes cubic interpolation wrongly.
    assert not [node for node in graph.get_ops() if node.get_type_name() == 'Interpolate'
                and 'cubic' in node.get_attributes()['mode']]
    weights = [sum(node.get_element_type() == ov.Type.i8 for node in one.get_ops()
                   if node.get_type_name() == 'Constant') for one in (model, graph)]
    assert weights[0] == weights[1] > 50, 'they stay in 8 bit'


@pytest.mark.parametrize('module', ['openvino', 'nncf'])
def test_no_usage_statistics_are_sent(module: str, tmp_path: Path) -> None:
    pytest.importorskip(module)
    home = {**os.environ, 'HOME': str(tmp_path)}
    home.pop('CI', None)
    code = f'import depth_anything_ros, {module}; import sys; print(*sys.modules, sep=chr(10))'
    done = subprocess.run([sys.executable, '-c', code], env=home, text=True, check=True,
                          capture_output=True, timeout=120)
    assert module in done.stdout.split()
    assert not [name for name in done.stdout.split() if name.startswith('openvino_telemetry.')]
    assert not list(tmp_path.glob('intel/*')), 'the identity of this user was written'


@pytest.mark.parametrize(('name', 'ignored'), [
    ('depth_anything_tiny.xml', False), ('depth_anything_tiny.bin', False),
    ('depth_anything_tiny.pth', True), ('depth_anything_v2_vits.xml', True), ('a.bin', True)])
def test_no_other_model_gets_into_the_repository(name: str, ignored: bool) -> None:
    if not (ROOT / '.git').exists():
        pytest.skip('not a git checkout')
    done = subprocess.run(['git', 'check-ignore', '--no-index', '-q', f'models/{name}'], cwd=ROOT)
    assert (done.returncode == 0) == ignored


def test_top_level_holds_nothing_else() -> None:
    if not (ROOT / '.git').exists():
        pytest.skip('not a git checkout')
    tracked = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, check=True, text=True,
                             capture_output=True).stdout.split('\0')
    assert {name.split('/')[0] for name in tracked if name} <= TOP_LEVEL


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split('.')[0])
    return names - set(sys.stdlib_module_names)


def _from_pip(arguments: dict) -> set[str]:
    extras = [extra for name, extra in arguments['extras_require'].items()
              if name not in ('jazzy', 'kilted', 'lint')]
    lines = [*arguments['install_requires'], *(line for extra in extras for line in extra)]
    names = {re.split('[<>=]', line)[0] for line in lines}
    parts = {part for name in names for part in PART_OF.get(name, ())}
    return {MODULE_OF.get(name, name) for name in names} - set(ROSDEP_OF) | parts
