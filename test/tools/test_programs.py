"""``python -m tools.peers`` and ``python -m tools.limit`` from the command line."""

from collections.abc import Callable
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from types import ModuleType

from depth_anything_ros.errors import ModelError
from mode_stand_in import LONG, ModeStandIn, OUTPUTS
import pytest

pytest.importorskip('typer')

from tools.limit import __main__ as limit_program, measure as limit  # noqa: E402
from tools.peers import __main__ as peers_program, measure as peers  # noqa: E402

ROOT = Path(__file__).parents[2]
PROGRAMS = {'peers': (peers_program, 'a.pth'), 'limit': (limit_program, 'a.xml')}

Run = Callable[..., tuple[int, str, str]]
both = pytest.mark.parametrize('name', PROGRAMS)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> ModeStandIn:
    """Return what is in the place of both measurements."""
    measure = ModeStandIn()
    monkeypatch.setattr(peers, 'measure_peers', measure)
    monkeypatch.setattr(limit, 'measure_limit', measure)
    return measure


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path) -> Run:
    """Return a function that runs a program in an empty folder: status, output and errors."""
    monkeypatch.setenv('COLUMNS', '100')
    monkeypatch.chdir(tmp_path)

    def run_program(program: ModuleType, *arguments: str) -> tuple[int, str, str]:
        code = program.main(arguments)
        return code, *capsys.readouterr()

    return run_program


@pytest.mark.parametrize(('name', 'expected'), [
    ('peers', peers.PeersOptions(Path('a.pth'))), ('limit', limit.LimitOptions(Path('a.xml')))])
def test_without_options_a_program_runs_with_the_defaults_that_it_declares(
        run: Run, stand_in: ModeStandIn, name: str, expected: object) -> None:
    assert run(*PROGRAMS[name])[0] == 0
    assert stand_in.options == [expected]


def test_every_option_reaches_its_measurement(run: Run, stand_in: ModeStandIn) -> None:
    for program, arguments, expected in [
            (peers_program,
             'a.pth a.xml b.xml --peer int8 --peer onnxruntime --images images --input-size 252 '
             '--rounds 2 --seconds 0.5',
             peers.PeersOptions(Path('a.pth'), (Path('a.xml'), Path('b.xml')), Path('images'), 252,
                                2, 0.5, ('int8', 'onnxruntime'))),
            (limit_program,
             'a.xml --input-size 112 --precision f32 --size 154x112 --rounds 2',
             limit.LimitOptions(Path('a.xml'), 112, 'f32', (112, 154), 2))]:
        assert run(program, *arguments.split())[0] == 0
        assert stand_in.options.pop() == expected


@both
def test_the_report_goes_to_stdout_and_progress_to_stderr(
        run: Run, stand_in: ModeStandIn, name: str) -> None:
    code, out, err = run(*PROGRAMS[name])
    assert (code, err) == (0, 'round [1] of 1\n')
    for part in ('machine: quiet', 'Peers', 'ours [bf16]', '12.5', 'more is better', LONG.strip()):
        assert part in out


@both
def test_a_markdown_page_is_headed_by_the_command(
        run: Run, stand_in: ModeStandIn, name: str, tmp_path: Path) -> None:
    pytest.importorskip('matplotlib')
    assert run(*PROGRAMS[name], *OUTPUTS)[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'found.json', 'found.md', 'found.png']
    page = (tmp_path / 'found.md').read_text()
    assert page.startswith(f'# python -m tools.{name}\n\n## stand_in\n')


@both
def test_an_error_is_one_line_and_nothing_is_written(
        run: Run, stand_in: ModeStandIn, name: str, tmp_path: Path) -> None:
    stand_in.error = ModelError('a.xml', 'it is\nbroken', 'take another')
    code, out, err = run(*PROGRAMS[name], '--json', 'found.json')
    assert (code, out) == (1, '')
    assert err.splitlines()[1:] == [f'error: {" ".join(str(stand_in.error).split())}']
    assert not list(tmp_path.iterdir())


@both
def test_a_file_that_is_not_there_is_named_in_one_line(run: Run, name: str) -> None:
    code, out, err = run(*PROGRAMS[name])
    assert (code, out) == (1, '')
    last = err.splitlines()[-1]
    assert last.startswith('error: ') and PROGRAMS[name][1] in last
    assert 'Traceback' not in err


def test_wrong_usage_ends_with_status_two(run: Run, stand_in: ModeStandIn) -> None:
    for program, arguments, sentence in [
            (limit_program, 'a.xml --size 4x', '4x'), (limit_program, '', 'MODEL.xml'),
            (limit_program, 'a.xml --rounds 0', 'rounds'),
            (limit_program, 'a.xml --precision f8', 'f8'),
            (peers_program, 'a.pth --seconds 0', 'seconds'), (peers_program, '', 'CHECKPOINT')]:
        code, _, err = run(program, *arguments.split())
        assert code == 2 and sentence in err
    assert not stand_in.options


@pytest.mark.parametrize(('name', 'parts'), [
    ('peers', ('python -m tools.peers', 'onnxruntime', 'default: 5')),
    ('limit', ('python -m tools.limit', '640x480', 'auto'))])
def test_help_names_the_command_and_the_defaults(
        run: Run, name: str, parts: tuple[str, ...]) -> None:
    code, out, _ = run(PROGRAMS[name][0], '--help')
    assert code == 0 and all(part in out for part in parts)


@pytest.mark.parametrize('name', PROGRAMS)
@pytest.mark.parametrize(('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_writes_nothing_and_says_so_by_its_status(
        tmp_path: Path, name: str, number: signal.Signals, status: int) -> None:
    slow = (f'import sys, time; from tools.{name} import measure; measure.measure_{name} = '
            "lambda options, log: (log('started'), time.sleep(60)); "
            f'from tools.{name}.__main__ import main; sys.exit(main())')
    process = subprocess.Popen(
        [sys.executable, '-c', slow, PROGRAMS[name][1], '--json', 'found.json'], cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(ROOT)}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE)
    assert process.stderr is not None and process.stderr.readline() == 'started\n'
    time.sleep(0.2)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (status, '')
    assert 'Traceback' not in err and not list(tmp_path.iterdir())
