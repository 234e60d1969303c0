"""The command line: what it prints, what it returns and what it leaves behind."""

from collections.abc import Callable, Sequence
import io
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

from depth_anything_ros.networks.models import EncoderSpec
from loopback_hub import HubServer
import pytest

pytest.importorskip('typer')

ROOT = Path(__file__).parents[2]
MAIN = 'from depth_anything_ros.convert.main import main; sys.exit(main(sys.argv[1:]))'
COMMANDS = ('download', 'export', 'convert', 'inspect', 'verify')
LARGE_FILE = 'depth_anything_v2_vitl.pth'
LARGE = ('depth-anything/Depth-Anything-V2-Large', LARGE_FILE)
Run = Callable[..., tuple[int, str, str]]


def start(arguments: Sequence[str | Path], code: str = MAIN,
          folder: Path = ROOT) -> 'subprocess.Popen[str]':
    return subprocess.Popen(
        [sys.executable, '-c', f'import sys; {code}', *map(str, arguments)], cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'COLUMNS': '99'}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process: 'subprocess.Popen[str]') -> tuple[int, str, str]:
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def with_table(*specs: EncoderSpec) -> str:
    """Return the program for an encoder table of one's own."""
    return ('from depth_anything_ros.convert.main import main; '
            'from depth_anything_ros.networks.models import EncoderSpec, InputSpec; '
            f'sys.exit(main(sys.argv[1:], {specs!r}))')


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the program in this process: status, stdout, stderr."""
    from depth_anything_ros.convert.main import main
    monkeypatch.setenv('COLUMNS', '99')

    def run_main(arguments: Sequence[str | Path], *specs: EncoderSpec) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(one) for one in arguments], *([specs] if specs else []))
        return code, *capsys.readouterr()

    return run_main


def is_one_error(err: str, message: str) -> bool:
    return err.startswith('error: ') and err.count('\n') == 1 and message in err


def test_help_lists_the_subcommands_without_loading_torch_or_openvino() -> None:
    code, out, err = finish(start(['--help'], (
        'import atexit; from depth_anything_ros.convert.main import main\n'
        "atexit.register(lambda: print({'torch', 'openvino', 'onnx'} & set(sys.modules)))\n"
        'sys.exit(main(sys.argv[1:]))')))
    assert (code, err) == (0, '')
    assert all(f'  {name} ' in out for name in COMMANDS)
    assert out.rstrip().endswith('set()')


@pytest.mark.parametrize(('command', 'options'), [
    ('download', ['--list', '--output', '--offline', '--yes', 'download vits metric-hyper']),
    ('export', ['--encoder', '--metric', '--batch-size', '--height', '--width', '--opset',
                '--no-external-data', '--force', '--kind', 'export --encoder vits --metric']),
    ('convert', ['--output', '--precision', '--height', '--batch-size', '--kind', '--max-depth',
                 '--model-version', '--encoder', '--force', 'convert vits --height 392']),
    ('inspect', ['--json', 'inspect models/*.xml']),
    ('verify', ['--checkpoint', '--device', '--precision', '--sizes', '--json', '--device GPU'])])
def test_each_subcommand_explains_its_options_and_gives_examples(
        run: Run, command: str, options: list[str]) -> None:
    code, out, err = run([command, '--help'])
    assert (code, err) == (0, '')
    assert [option for option in options if option not in out] == []
    assert 'Examples:' in out


@pytest.mark.usefixtures('converter')
@pytest.mark.parametrize('package', ['torch', 'onnxscript', 'openvino', 'rich', 'typer'])
def test_a_missing_package_is_answered_with_the_line_that_installs_it(
        run: Run, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if package == 'typer':
        # The module of the program itself must load without it.
        code, out, err = finish(start(['any.pth'], f'sys.modules[{package!r}] = None; {MAIN}'))
    else:
        monkeypatch.setitem(sys.modules, package, None)
        code, out, err = run(['any.pth'])
    assert (code, out) == (1, '')
    assert is_one_error(err, f'error: depth_anything_convert needs {package}')
    assert "pip install 'depth_anything_ros[convert]'" in err


@pytest.mark.parametrize(('arguments', 'message'), [
    (['any.pth', '--precision', 'int3'], "'int3' is not one of"),
    (['convert'], 'Missing argument'),
    (['inspct', 'any.xml'], "No such command 'inspct'"),
    (['export', 'any.pth', '--no-data'], 'No such option')])
def test_wrong_usage_ends_with_status_2(
        run: Run, arguments: list[str], message: str) -> None:
    code, out, err = run(arguments)
    assert (code, out) == (2, '') and message in err and 'Usage: depth_anything_convert' in err


@pytest.mark.parametrize(('arguments', 'message'), [
    (['export'], 'neither a source nor --encoder'),
    (['export', '--encoder', 'vitg'], 'never published'),
    (['export', '--encoder', 'da3_vitl'], 'da3-mono and da3-metric; give a checkpoint as SOURCE'),
    (['export', '--encoder', 'vits', '--metric', 'indoor', '--kind', 'relative'], 'no metres'),
    (['any.pth', '--height', '518'], 'only one side is fixed'),
    (['download'], 'no name was given'),
    (['download', 'vitz'], 'choose one of vits'),
    (['vitz'], 'choose one of vits'),
    (['export', 'metric-hypersim-small'], 'choose one of metric-hypersim-vits'),
    (['convert', 'vitg'], 'never published'),
    (['verify', 'any.xml', '--sizes', '518'], '518 is not a size'),
    (['inspect', 'any.xml'], 'there is no such file')])
def test_what_cannot_be_meant_is_one_line_and_status_1(
        run: Run, arguments: list[str], message: str, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(arguments)
    assert (code, out) == (1, '') and is_one_error(err, message)
    assert not list(tmp_path.iterdir())


def test_the_list_names_every_published_checkpoint(run: Run) -> None:
    code, out, err = run(['download', '--list'])
    assert (code, err) == (0, '')
    rows = [line.split() for line in out.splitlines() if '/' in line]
    assert len(rows) == 26
    assert ['vitl', 'depth-anything/Depth-Anything-V2-Large', LARGE_FILE, 'CC-BY-NC-4.0'] in rows


def test_a_licence_that_forbids_commercial_use_must_be_accepted(
        run: Run, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files[LARGE] = b'weights'
    monkeypatch.setattr('sys.stdin', io.StringIO())
    code, out, err = run(['download', 'vitl', '-o', tmp_path / 'a'])
    assert code == 1 and is_one_error(err, 'forbids commercial use of these weights; add --yes')
    assert out == f'{LARGE[0]}: licence CC-BY-NC-4.0, which forbids commercial use\n'
    assert not hub.requests and not (tmp_path / 'a').exists()
    code, out, err = run(['download', 'vitl', '-o', tmp_path / 'a', '--yes'])
    assert (code, err) == (0, '')
    assert out.endswith(f'{tmp_path / "a" / LARGE_FILE} is ready\n')
    code, _, err = run(['download', 'vitl', '-o', tmp_path / 'a'])
    assert (code, err) == (0, '')


@pytest.mark.skipif(sys.platform == 'win32', reason='there is no pty')
@pytest.mark.parametrize(('answer', 'status'), [('n', 1), ('y', 0)])
def test_on_a_terminal_the_licence_is_asked_about(
        hub: HubServer, tmp_path: Path, answer: str, status: int) -> None:
    import pty
    hub.files[LARGE] = b'weights'
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, '-c', f'import sys; {MAIN}', 'download', 'vitl', '-o', tmp_path / 'a'],
        env={**os.environ, 'PYTHONPATH': str(ROOT)}, stdin=terminal, stdout=terminal,
        stderr=subprocess.PIPE)
    os.close(terminal)
    os.write(master, f'{answer}\n'.encode())
    shown = b''
    while b'ready' not in shown and process.poll() is None:
        try:
            shown += os.read(master, 4096)
        except OSError:
            break
    _, err = process.communicate(timeout=60)
    os.close(master)
    assert process.returncode == status, (shown, err)
    assert b'CC-BY-NC-4.0, which forbids commercial use' in shown
    assert (tmp_path / 'a' / LARGE_FILE).exists() == (status == 0)
    assert (b'its licence was not accepted' in err) == (status == 1)


def test_an_interrupted_download_leaves_nothing_and_works_the_next_time(
        run: Run, hub: HubServer, tmp_path: Path) -> None:
    content = bytes(24 << 20)
    hub.files[LARGE] = content
    hub.torn = 1
    hub.go_on.clear()
    models = tmp_path / 'models'
    process = start(['download', 'vitl', '-o', models, '--yes'])
    while process.poll() is None and not any(
            path.stat().st_size for path in models.rglob('*.incomplete')):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    hub.go_on.set()
    assert code == 130 and is_one_error(err, 'interrupted')
    assert not list(models.glob('*.pth'))
    code, _, err = run(['download', 'vitl', '-o', models, '--yes'])
    assert (code, err) == (0, '')
    assert (models / LARGE_FILE).read_bytes() == content


def test_offline_uses_what_lies_there_and_never_the_network(
        run: Run, hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / LARGE_FILE).write_bytes(b'weights')
    code, out, err = run(['download', 'vitl', '-o', tmp_path, '--offline'])
    assert (code, err) == (0, '') and 'the hub was not contacted' in out
    assert not hub.requests


def test_inspect_shows_the_other_files_when_one_is_foreign(
        run: Run, tiny_ir: Path, tmp_path: Path) -> None:
    (tmp_path / 'foreign.xml').write_text('<svg/>')
    (tmp_path / 'foreign.bin').write_text('')
    arguments = ['inspect', tmp_path / 'foreign.xml', tiny_ir]
    code, out, err = run(arguments)
    assert code == 1 and is_one_error(err, 'not an OpenVINO IR')
    for text in (f'{tiny_ir}\n', 'vits (the metadata of the IR)', 'Apache-2.0', 'any size',
                 'card of 252x196'):
        assert text in out
    code, out, err = run([*arguments, '--json'])
    foreign, found = json.loads(out)
    assert code == 1 and is_one_error(err, foreign['error'])
    assert (found['encoder'], found['input_shape'], found['licence']) == (
        'vits', [0, 3, 0, 0], 'Apache-2.0')


def test_verify_ends_with_its_verdict(
        run: Run, make_ir: Callable[..., Path], tiny_ir: Path) -> None:
    code, out, err = run(['verify', tiny_ir, '--sizes', '98x70'])
    assert out.startswith('depth_anything_ros: ') and '\nCPU FULL_DEVICE_NAME: ' in out
    assert (code, err) == (0, '')
    assert '98x70' in out and out.endswith('\nPASS\n')
    bad = make_ir(wrong_check=True)
    code, out, err = run(['verify', bad, '--sizes', '98x70,70x70'])
    assert (code, err) == (1, '')
    assert out.splitlines()[-1].startswith('FAIL: CPU ')
    code, out, err = run(['verify', bad, '--sizes', '98x70', '--json'])
    found = json.loads(out)
    assert (code, err) == (1, '') and found['verdict'].startswith('FAIL')
    assert found['checks'][0]['size_hw'] == [70, 98]


@pytest.fixture
def converter() -> None:
    """Skip where the packages of the converter are not installed."""
    for package in ('torch', 'onnx', 'onnxscript', 'onnxruntime', 'openvino'):
        pytest.importorskip(package)


@pytest.mark.usefixtures('converter')
def test_bad_input_is_one_line_and_no_traceback(
        run: Run, tmp_path: Path, save_checkpoint: Callable[..., Path]) -> None:
    (tmp_path / 'text.pth').write_text('text')
    (tmp_path / 'there.xml').write_text('')
    lines = [[tmp_path / 'none.pth', '-o', tmp_path / 'a.xml'],
             [tmp_path / 'text.pth', '-o', tmp_path / 'a.xml'],
             ['convert', save_checkpoint('tiny.pth'), '-o', tmp_path / 'a.xml'],
             [tmp_path / 'text.pth', '-o', tmp_path / 'there.xml']]
    messages = ['there is no such file', 'not a PyTorch checkpoint', 'known are vits',
                'add --force']
    before = sorted(tmp_path.iterdir())
    for line, message in zip(lines, messages):
        code, _, err = run(line)
        assert code == 1 and is_one_error(err, message)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures('converter')
def test_a_name_is_downloaded_and_exported_then_ovc_and_convert_make_the_ir(
        run: Run, hub: HubServer, tmp_path: Path, save_checkpoint: Callable[..., Path],
        tiny: EncoderSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = 'depth_anything_v2_metric_hypersim_vits.pth'
    hub.files['depth-anything/Depth-Anything-V2-Metric-Hypersim-Small', name] = (
        save_checkpoint('mine.pth').read_bytes())
    vits: Any = EncoderSpec('vits', *list(vars(tiny).values())[1:])
    code, out, err = run(
        ['export', '--encoder', 'vits', '--metric', 'indoor', '--height', '70', '--width', '98',
         '--batch-size', '1', '--no-external-data'], vits)
    assert (code, err) == (0, '')
    stem = 'depth_anything_v2_metric_hypersim_vits'
    assert sorted(path.name for path in (tmp_path / 'models').iterdir()) == [
        f'{stem}.onnx', f'{stem}.pth', f'{stem}.pth.download.json']
    assert f'models/{stem}.onnx is ready' in out and 'licence Apache-2.0' in out
    code, out, _ = run(['inspect', '--json', tmp_path / 'models' / f'{stem}.onnx'])
    found = json.loads(out)[0]
    assert (found['kind'], found['max_depth_m'], found['encoder'], found['input_shape']) == (
        'metric', 20.0, 'vits', [1, 3, 70, 98])
    subprocess.run([Path(sys.executable).with_name('ovc'), f'{stem}.onnx', '--output_model',
                    f'{stem}.xml', '--compress_to_fp16=False'], cwd=tmp_path / 'models',
                   check=True, capture_output=True, timeout=120)
    code, out, err = run(
        [tmp_path / 'models' / f'{stem}.xml', '-o', tmp_path / 'final.xml'], vits)
    assert (code, err) == (0, '') and 'kind: metric, from the file name' in out
    code, out, _ = run(['verify', tmp_path / 'final.xml', '--precision', 'f32'], vits)
    assert code == 0 and '98x70' in out and out.endswith('\nPASS\n')


@pytest.mark.usefixtures('converter')
def test_an_interrupted_conversion_leaves_nothing_behind(
        tmp_path: Path, save_checkpoint: Callable[..., Path], tiny: EncoderSpec) -> None:
    """Each signal while the files are being written; both processes end at the same time."""
    checkpoint = save_checkpoint('mine.pth')
    runs = []
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        models = tmp_path / number.name
        process = start([checkpoint, '-o', models / 'mine.xml', '--kind', 'relative',
                         '--model-version', 'v2'], with_table(tiny))
        while process.poll() is None and not (models.is_dir() and any(models.iterdir())):
            time.sleep(0.02)
        assert [path.is_dir() for path in models.iterdir()] == [True]
        process.send_signal(number)
        runs.append((process, models, status))
    for process, models, status in runs:
        code, out, err = finish(process)
        assert code == status and 'is ready' not in out and 'Traceback' not in err
        assert not models.exists()


def test_on_a_terminal_a_step_becomes_one_line_with_its_seconds() -> None:
    from depth_anything_ros.cli.progress import StepReport
    from rich.console import Console
    screen = io.StringIO()
    with StepReport(Console(file=screen, force_terminal=True, markup=False, highlight=False,
                            width=80)) as report:
        report('[1/2] reading a.pth')
        report('      1.5 s')
        report('      kind: [relative], from --kind')
        report('[2/2] writing')
    shown = screen.getvalue()
    assert '[1/2] reading a.pth  1.5 s\n' in shown
    assert 'kind: [relative], from --kind\n' in shown
    assert shown.endswith('[2/2] writing\n')
    assert '\n      1.5 s' not in shown
