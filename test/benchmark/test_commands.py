"""The program ``depth_anything_benchmark`` from the command line; a stand-in measures."""

from collections.abc import Callable
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import cv2
from depth_anything_ros.benchmark import ladder, node
from depth_anything_ros.benchmark.ladder import LadderOptions
from depth_anything_ros.benchmark.main import main
from depth_anything_ros.benchmark.node import NodeOptions
from depth_anything_ros.benchmark.report import as_dict
from depth_anything_ros.cli.reports import to_json
from depth_anything_ros.errors import ModelError
from mode_stand_in import LONG, ModeStandIn, OUTPUTS
import pytest

pytest.importorskip('typer')

ROOT = Path(__file__).parents[2]
MAIN = 'from depth_anything_ros.benchmark.main import main; sys.exit(main())'
MODES = {'node': node, 'ladder': ladder}

Run = Callable[..., tuple[int, str, str]]


def start(folder: Path, code: str, *arguments: object) -> 'subprocess.Popen[str]':
    """Start the program in ``folder`` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, '-c', f'import sys; {code}', *map(str, arguments)], cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> ModeStandIn:
    """Return what is in the place of both modes."""
    measure = ModeStandIn()
    for mode, module in MODES.items():
        monkeypatch.setattr(module, f'measure_{mode}', measure)
    return measure


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path) -> Run:
    """Return a function that runs the program in an empty folder: status, output and errors."""
    monkeypatch.setenv('COLUMNS', '100')
    monkeypatch.chdir(tmp_path)

    def run_program(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run_program


@pytest.mark.parametrize(('mode', 'expected'), [
    ('node', NodeOptions(Path('a.xml'))), ('ladder', LadderOptions((Path('a.xml'),)))])
def test_without_options_a_mode_runs_with_the_defaults_that_it_declares(
        run: Run, stand_in: ModeStandIn, mode: str, expected: object) -> None:
    assert run(mode, 'a.xml')[0] == 0
    assert stand_in.options == [expected]


def test_every_option_reaches_its_mode(run: Run, stand_in: ModeStandIn) -> None:
    model, other, images = Path('a.xml'), Path('b.xml'), Path('images')
    for arguments, expected in [
            ('node a.xml --size 320x240 --size 64x48 --rate 2.5 --rate 7 --images images '
             '--rounds 1 --seconds 2 --frames 50',
             NodeOptions(model, images, ((240, 320), (48, 64)), (2.5, 7.0), 1, 2.0, 50)),
            ('ladder a.xml b.xml --input-size 112 --input-size 56 --precision bf16 --images '
             'images --rgbd truth --rounds 1 --teacher c.xml --sequence moving',
             LadderOptions((model, other), images, Path('truth'), (112, 56), 1, ('bf16',),
                           Path('c.xml'), Path('moving')))]:
        assert run(*arguments.split())[0] == 0
        assert stand_in.options.pop() == expected


def test_the_report_goes_to_stdout_and_progress_to_stderr(
        run: Run, stand_in: ModeStandIn) -> None:
    code, out, err = run('ladder', 'a.xml')
    assert (code, err) == (0, 'round [1] of 1\n')
    for part in ('machine: quiet', 'Peers', 'ours [bf16]', '12.5', 'more is better'):
        assert part in out


def test_a_wide_table_is_whole_when_stdout_is_a_file(run: Run, stand_in: ModeStandIn) -> None:
    assert LONG.strip() in run('ladder', 'a.xml')[1]


def test_json_markdown_and_picture_are_written_where_they_are_asked_for(
        run: Run, stand_in: ModeStandIn, tmp_path: Path) -> None:
    pytest.importorskip('matplotlib')
    code, _, err = run('ladder', 'a.xml', *OUTPUTS)
    assert (code, err) == (0, 'round [1] of 1\n')
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'found.json', 'found.md', 'found.png']
    stand_in.options.clear()
    assert (tmp_path / 'found.json').read_text() == to_json(as_dict(stand_in(None, print)))
    assert json.loads((tmp_path / 'found.json').read_text())['figures'] == {'rate': 12.5}
    page = (tmp_path / 'found.md').read_text()
    assert page.startswith('# depth_anything_benchmark ladder\n\n## stand_in\n')
    assert '| ours [bf16] | 12.5 | words' in page
    assert cv2.imread(str(tmp_path / 'found.png')).shape == (8, 16, 3)


@pytest.mark.parametrize(('arguments', 'sentence'), [
    (('--json', 'none/found.json'), 'name a file in a folder that exists'),
    (('--markdown', '.'), 'name a file in a folder that exists'),
    (('--picture', 'found.jpg'), 'let it end in .png')])
def test_files_that_cannot_be_written_are_refused_before_anything_is_measured(
        run: Run, stand_in: ModeStandIn, arguments: tuple[str, str], sentence: str) -> None:
    code, out, err = run('ladder', 'a.xml', *arguments)
    assert (code, out, stand_in.options) == (1, '', [])
    assert err.startswith('error: ') and err.count('\n') == 1 and sentence in err


def test_a_picture_without_matplotlib_is_refused_before_anything_is_measured(
        run: Run, stand_in: ModeStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    code, _, err = run('ladder', 'a.xml', '--picture', 'found.png')
    assert (code, stand_in.options) == (1, [])
    assert err == ('error: the picture needs matplotlib, which is not installed: '
                   "pip install 'depth_anything_ros[tools]', in a virtual environment\n")
    assert run('ladder', 'a.xml')[0] == 0


def test_a_report_without_a_picture_says_so(
        run: Run, stand_in: ModeStandIn, tmp_path: Path) -> None:
    pytest.importorskip('matplotlib')
    stand_in.draw = None
    code, out, err = run('ladder', 'a.xml', '--picture', 'found.png')
    assert code == 1 and 'Peers' in out
    assert err.splitlines()[1:] == ['error: stand_in has no picture; run it without --picture']
    assert not list(tmp_path.iterdir())


def test_what_could_not_be_measured_is_named_after_the_report_was_written(
        run: Run, stand_in: ModeStandIn, tmp_path: Path) -> None:
    stand_in.failed = ('a.xml: it is broken', 'b.xml: it is missing')
    code, out, err = run('ladder', 'a.xml', 'b.xml', 'c.xml', '--json', 'found.json')
    assert code == 1 and 'Peers' in out and (tmp_path / 'found.json').is_file()
    assert err.splitlines()[1:] == ['error: a.xml: it is broken', 'error: b.xml: it is missing']


def test_an_error_of_a_mode_is_one_line_and_nothing_is_written(
        run: Run, stand_in: ModeStandIn, tmp_path: Path) -> None:
    for error in (ModelError('a.xml', 'it is\nbroken', 'take another'), OSError('disk full')):
        stand_in.error = error
        code, out, err = run('ladder', 'a.xml', '--json', 'found.json')
        assert (code, out) == (1, '')
        assert err.splitlines()[1:] == [f'error: {" ".join(str(error).split())}']
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('mode', MODES)
def test_a_file_that_is_not_there_is_named_in_one_line(run: Run, mode: str) -> None:
    code, out, err = run(mode, 'a.xml')
    assert (code, out) == (1, '')
    last = err.splitlines()[-1]
    assert last.startswith('error: ') and 'a.xml' in last
    assert 'Traceback' not in err


def test_wrong_usage_ends_with_status_two(run: Run, stand_in: ModeStandIn) -> None:
    for arguments, sentence in [
            ('nothing', 'nothing'), ('peers a.pth', 'peers'), ('limit a.xml', 'limit'),
            ('node', 'MODEL.xml'), ('node a.xml --size 640', '640'),
            ('node a.xml --size 0x480', 'for example 640x480'), ('node a.xml --rate 0', 'rate'),
            ('node a.xml --rounds 0', 'rounds'), ('node a.xml --seconds 0', 'seconds'),
            ('ladder a.xml --precision f8', 'f8')]:
        code, _, err = run(*arguments.split())
        assert code == 2 and sentence in err
    assert not stand_in.options


def test_help_names_every_mode_and_what_its_options_are_by_default(run: Run) -> None:
    code, out, _ = run('--help')
    assert code == 0 and all(f'  {mode}' in out for mode in MODES)
    for mode, parts in {'node': ('640x480', '2000'), 'ladder': ('168', 'f32')}.items():
        code, out, _ = run(mode, '--help')
        assert code == 0 and all(part in out for part in parts)


@pytest.mark.parametrize('package', ['typer', 'rich'])
def test_a_missing_package_is_answered_with_the_line_that_installs_it(
        tmp_path: Path, package: str) -> None:
    process = start(tmp_path, f'sys.modules[{package!r}] = None; {MAIN}', '--help')
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, '')
    assert err == (f'error: depth_anything_benchmark needs {package}, which is not installed: '
                   "pip install 'depth_anything_ros[tools]', in a virtual environment\n")


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_writes_nothing_and_says_so_by_its_status(
        tmp_path: Path, number: signal.Signals, status: int) -> None:
    slow = ('import time, depth_anything_ros.benchmark.ladder as ladder; '
            'ladder.measure_ladder = lambda options, log: '
            f"(log('started'), time.sleep(60)); {MAIN}")
    process = start(tmp_path, slow, 'ladder', 'a.xml', '--json', 'found.json')
    assert process.stderr is not None and process.stderr.readline() == 'started\n'
    time.sleep(0.2)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (status, '')
    assert 'Traceback' not in err and not list(tmp_path.iterdir())
