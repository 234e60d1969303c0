"""The command line: what it prints, what it returns and what it leaves behind."""

from collections.abc import Callable, Sequence
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from depth_anything_ros.convert.encoders import EncoderSpec
import pytest

ROOT = Path(__file__).parents[2]
MAIN = 'from depth_anything_ros.convert.cli import main; sys.exit(main(sys.argv[1:]))'


def start(arguments: Sequence[str | Path], code: str = MAIN,
          options: Sequence[str] = ()) -> 'subprocess.Popen[str]':
    return subprocess.Popen(
        [sys.executable, *options, '-c', f'import sys; {code}', *map(str, arguments)],
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'COLUMNS': '90'}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process: 'subprocess.Popen[str]') -> tuple[int, str, str]:
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def with_table(*specs: EncoderSpec) -> str:
    """Return the program for an encoder table of one's own."""
    return ('from depth_anything_ros.convert.cli import main; '
            'from depth_anything_ros.convert.encoders import EncoderSpec; '
            f'sys.exit(main(sys.argv[1:], {specs!r}))')


def test_help_needs_nothing_but_python() -> None:
    code, out, err = finish(start(['--help'], options=['-S']))
    assert (code, err) == (0, '')
    for option in ('--output', '--precision', '--kind', '--max-depth', '--model-version',
                   '--force'):
        assert option in out


@pytest.mark.parametrize('package', ['torch', 'onnxscript', 'openvino'])
def test_a_missing_package_is_answered_with_the_line_that_installs_it(package: str) -> None:
    pytest.importorskip(package)
    code, out, err = finish(start(['any.pth'], f'sys.modules[{package!r}] = None; {MAIN}'))
    assert (code, out) == (1, '')
    assert err.startswith(f'error: depth_anything_convert needs {package}')
    assert "pip install 'depth_anything_ros[convert]'" in err and err.count('\n') == 1


def test_wrong_options_end_with_usage() -> None:
    code, _, err = finish(start(['any.pth', '--precision', 'int3']))
    assert code == 2 and 'invalid choice' in err


@pytest.fixture
def converter() -> None:
    """Skip where the packages of the converter are not installed."""
    for package in ('torch', 'onnx', 'onnxscript', 'onnxruntime', 'openvino'):
        pytest.importorskip(package)


@pytest.mark.usefixtures('converter')
def test_bad_input_is_one_line_and_no_traceback(
        tmp_path: Path, save_checkpoint: Callable[..., Path]) -> None:
    (tmp_path / 'text.pth').write_text('text')
    (tmp_path / 'there.xml').write_text('')
    runs = [start([tmp_path / 'none.pth', '-o', tmp_path / 'a.xml']),
            start([tmp_path / 'text.pth', '-o', tmp_path / 'a.xml']),
            start([save_checkpoint('tiny.pth'), '-o', tmp_path / 'a.xml']),
            start([tmp_path / 'text.pth', '-o', tmp_path / 'there.xml'])]
    messages = ['there is no such file', 'no PyTorch checkpoint', 'known are vits', 'add --force']
    before = sorted(tmp_path.iterdir())
    for run, message in zip(runs, messages):
        code, _, err = finish(run)
        assert code == 1 and message in err
        assert err.startswith('error: ') and err.count('\n') == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures('converter')
def test_converts_a_checkpoint_and_says_what_it_found(
        tmp_path: Path, save_checkpoint: Callable[..., Path], tiny: EncoderSpec) -> None:
    checkpoint = save_checkpoint('mine.pth')
    output = tmp_path / 'models' / 'mine.xml'
    code, out, err = finish(start(
        [checkpoint, '-o', output, '--kind', 'metric', '--max-depth', '20', '--model-version',
         'v2'], with_table(tiny)))
    assert (code, err) == (0, '')
    assert sorted(path.name for path in output.parent.iterdir()) == ['mine.bin', 'mine.xml']
    for line in ('encoder: tiny, from the shapes of the tensors', 'kind: metric, as asked',
                 'max depth in metres: 20.0, as asked', 'licence: unknown', '[6/6]',
                 'OpenVINO fp16', f'{output} is ready'):
        assert line in out


@pytest.mark.usefixtures('converter')
def test_termination_leaves_nothing_behind(
        tmp_path: Path, save_checkpoint: Callable[..., Path], tiny: EncoderSpec) -> None:
    checkpoint = save_checkpoint('mine.pth')
    models = tmp_path / 'models'
    process = start([checkpoint, '-o', models / 'mine.xml', '--kind', 'relative',
                     '--model-version', 'v2'], with_table(tiny))
    deadline = time.monotonic() + 120
    while not (models.is_dir() and any(models.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [path.suffix for path in models.iterdir()] == ['']
    process.send_signal(signal.SIGTERM)
    code, out, _ = finish(process)
    assert code == 143 and 'is ready' not in out
    assert not models.exists()
