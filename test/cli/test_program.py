"""Errors, signals and the exit status of a console script."""

from collections.abc import Callable
import os
import signal
import subprocess
import sys
from typing import Annotated

from depth_anything_ros.cli.program import Program, run_app, run_program
from depth_anything_ros.errors import DepthAnythingError
import pytest

typer = pytest.importorskip('typer')

PROGRAM = Program('try_it', "pip install 'everything'", 'all files are complete')
MISSING = ModuleNotFoundError("No module named 'wheel.of'", name='wheel.of')


def failing(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error
    return main


def interrupted_import() -> None:
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as error:
        raise ImportError('numpy could not be imported') from error


EXPECTED = [
    (failing(DepthAnythingError('one\n   sentence')), 1, 'error: one sentence\n'),
    (failing(OSError('the disk is full')), 1, 'error: the disk is full\n'),
    (failing(MISSING), 1, 'error: try_it needs wheel, which is not installed: pip install '
     "'everything'\n"),
    (failing(KeyboardInterrupt()), 130, 'error: interrupted; all files are complete\n'),
    (interrupted_import, 130, 'error: interrupted; all files are complete\n'),
    (failing(SystemExit(143)), 143, ''),
    (failing(SystemExit(None)), 0, ''),
    (lambda: None, 0, '')]


@pytest.mark.parametrize(('main', 'status', 'message'), EXPECTED)
def test_an_expected_error_is_one_line_and_a_status(
        main: Callable[[], None], status: int, message: str,
        capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(PROGRAM, main) == status
    assert capsys.readouterr() == ('', message)


@pytest.mark.parametrize('error', [ValueError('a mistake'), ImportError('a broken library')])
def test_a_fault_of_the_program_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        run_program(PROGRAM, failing(error))
    with pytest.raises(type(error)):
        run_app(PROGRAM, lambda: single(failing(error)), [])


def single(main: Callable[[], None]) -> 'typer.Typer':
    """Return an app with one command."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    return app


def several(main: Callable[[], None]) -> 'typer.Typer':
    """Return an app with two subcommands; ``main`` is the second one."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command('first')(lambda: pytest.fail('the wrong subcommand'))
    app.command('second')(main)
    return app


@pytest.mark.parametrize(('main', 'status', 'message'), EXPECTED)
def test_commands_and_subcommands_fail_in_the_same_way(
        main: Callable[[], None], status: int, message: str,
        capsys: pytest.CaptureFixture[str]) -> None:
    for app, argv in ((single, []), (several, ['second'])):
        assert run_app(PROGRAM, lambda app=app: app(main), argv) == status
        assert capsys.readouterr() == ('', message)


def test_an_app_gets_its_arguments_and_its_context_object(
        capsys: pytest.CaptureFixture[str]) -> None:
    def command(context: typer.Context,
                number: Annotated[int, typer.Option('--number')] = 1) -> None:
        print(number, context.obj)
        raise typer.Exit(3)

    assert run_app(PROGRAM, lambda: single(command), ['--number', '7'], 'a table') == 3
    assert capsys.readouterr() == ('7 a table\n', '')
    assert run_app(PROGRAM, lambda: single(command), ['--wrong']) == 2
    assert 'Usage: try_it' in capsys.readouterr().err


def test_an_app_whose_import_fails_names_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(PROGRAM, failing(MISSING), []) == 1  # type: ignore[arg-type]
    assert 'try_it needs wheel' in capsys.readouterr().err


def test_sigterm_runs_the_clean_up_and_the_handler_is_restored() -> None:
    before, cleaned = signal.getsignal(signal.SIGTERM), []

    def main() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            cleaned.append(True)

    assert run_program(PROGRAM, main) == 143
    assert cleaned and signal.getsignal(signal.SIGTERM) is before


def test_a_reader_that_closes_the_pipe_is_no_traceback() -> None:
    code = ('import sys\nfrom depth_anything_ros.cli.program import Program, run_program\n'
            'def main():\n    for number in range(100000):\n        print(number)\n'
            "sys.exit(run_program(Program('try_it'), main))\n")
    run = subprocess.run(['bash', '-c', '"$0" -c "$1" | head -1', sys.executable, code],
                         capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout == '0\n' and 'Traceback' not in run.stderr
