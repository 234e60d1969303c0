"""The program ``depth_anything_evaluate`` as people run it."""

from collections.abc import Callable
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import cv2
from depth_anything_ros.evaluate.main import main
import numpy as np
import pytest
from tiny import weighted_sum

pytest.importorskip('typer')
pytest.importorskip('yaml')

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / 'shared' / 'images' / 'rgbd'
MAIN = 'from depth_anything_ros.evaluate.main import main; sys.exit(main())'
OUTPUTS = ('--json', 'found.json', '--markdown', 'found.md', '--picture', 'found.png')


Run = Callable[..., tuple[int, str, str]]


def start(folder: Path, *arguments: object, code: str = MAIN) -> 'subprocess.Popen[str]':
    """Start the program in ``folder`` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, '-c', f'import sys; {code}', *map(str, arguments)], cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the program in a folder: status, output and errors."""
    monkeypatch.setenv('COLUMNS', '100')

    def in_folder(folder: Path, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.chdir(folder)
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return in_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with three pairs that fit the tiny model, and the description of it."""
    for number in range(3):
        image = np.random.default_rng(number).integers(40, 250, (4, 5, 3), np.uint8)
        image = cv2.resize(image, (154, 112), interpolation=cv2.INTER_LINEAR)
        depth_m = 1 / (0.1 * weighted_sum(image) + 0.05)
        cv2.imwrite(str(tmp_path / f'rgb_{number}.png'), image)
        cv2.imwrite(str(tmp_path / f'depth_{number}.png'),
                    np.round(depth_m * 1000).astype(np.uint16))
    (tmp_path / 'data.yaml').write_text(
        'color: rgb_*.png\ndepth: depth_*.png\ndepth_scale: 1000\nmax_depth: 10\n')
    return tmp_path


def test_rgbd_prints_a_table_and_writes_json_markdown_and_a_picture(
        run: Run, folder: Path, tiny_ir: Path) -> None:
    (folder / 'depth_9.png').touch()
    code, out, err = run(folder, 'rgbd', tiny_ir, '.', '--config', 'data.yaml', '--precision',
                         'f32', '--input-size', '112', *OUTPUTS)
    assert (code, err) == (0, '')
    for part in ('tiny.xml, vits relative, fp32 weights, from tiny.pth; on CPU in f32, input size '
                 '112', 'MiDaS', 'AbsRel', 'SILog', 'coverage', 'worst of 3 images', 'rgb_2.png',
                 'files without a counterpart: 1 (depth_9.png)'):
        assert part in out
    found = json.loads((folder / 'found.json').read_text())
    assert found['model'] == {
        'file': 'tiny.xml', 'source_name': 'tiny.pth', 'encoder': 'vits', 'kind': 'relative',
        'precision': 'fp32', 'device': 'CPU', 'execution_precision': 'f32', 'input_size': 112}
    assert found['mean']['abs_rel'] < 2e-3 and found['mean']['coverage'] == 1
    assert [one['name'] for one in found['images']] == ['rgb_0.png', 'rgb_1.png', 'rgb_2.png']
    assert set(found['images'][0]) == {'name', *found['mean']}
    assert (found['failed'], found['unmatched']) == ([], ['depth_9.png'])
    page = (folder / 'found.md').read_text()
    assert '| mean |' in page and '| rgb_0.png |' in page
    assert cv2.imread(str(folder / 'found.png')).shape[1] == 1470


def test_files_that_cannot_be_read_are_named_and_all_others_are_scored(
        run: Run, folder: Path, tiny_ir: Path) -> None:
    (folder / 'rgb_1.png').write_bytes(b'damaged')
    (folder / 'depth_2.png').write_bytes(b'damaged')
    code, out, err = run(folder, 'rgbd', tiny_ir, '.', '--config', 'data.yaml', *OUTPUTS)
    assert code == 1
    assert [line.split(':')[1].strip() for line in err.splitlines()] == ['rgb_1.png', 'rgb_2.png']
    assert 'images: 1, failed: 2' in out
    assert [one['name'] for one in json.loads((folder / 'found.json').read_text())['failed']] == [
        'rgb_1.png', 'rgb_2.png']


def test_pairs_counts_by_scene(run: Run, folder: Path, tiny_ir: Path) -> None:
    image = np.full((112, 154, 3), 50, np.uint8)
    image[:, 77:] = 200
    (folder / 'images' / 'indoor').mkdir(parents=True)
    cv2.imwrite(str(folder / 'images' / 'indoor' / 'a.png'), image)
    (folder / 'pairs.json').write_text(json.dumps({'indoor/a.png': [
        {'point1': [9, 150], 'point2': [9, 9], 'closer_point': 'point1'}]}))
    code, out, err = run(folder, 'pairs', tiny_ir, 'pairs.json', '--images', 'images', *OUTPUTS)
    assert (code, err) == (0, '')
    assert 'accuracy' in out and 'indoor' in out
    found = json.loads((folder / 'found.json').read_text())
    assert found['mean'] == {'accuracy': 1.0, 'pairs': 1}
    assert found['groups'] == {'indoor': {'accuracy': 1.0, 'pairs': 1}}
    code, _, err = run(folder, 'pairs', tiny_ir, 'pairs.json')
    assert code == 1 and 'none of 1 images could be evaluated; indoor/a.png: ' in err


def test_parity_leaves_depth_maps_out_and_writes_what_is_not_finite_as_null(
        run: Run, folder: Path, tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    cv2.imwrite(str(folder / 'flat.png'), np.full((112, 154, 3), 90, np.uint8))
    code, out, err = run(folder, 'parity', make_ir(gain=2.0), tiny_ir, '.', '--precision-a',
                         'f32', *OUTPUTS)
    assert (code, err) == (0, '')
    found = json.loads((folder / 'found.json').read_text())
    assert [one['name'] for one in found['images']] == ['flat.png', *(
        f'rgb_{number}.png' for number in range(3))]
    assert found['worst'] == {'abs_rel': None, 'pearson': 0.0, 'rank_correlation': 0.0}
    assert found['images'][1]['rank_correlation'] > 0.999
    assert found['images'][1]['abs_rel'] < 1e-5
    assert found['reference']['execution_precision'] == 'f32'
    assert all(part in out for part in ('reference: tiny.xml', 'Pearson', 'rank correlation'))
    assert '| image | AbsRel | Pearson | rank correlation |' in (folder / 'found.md').read_text()


def test_parity_takes_a_list_of_images_and_a_size_for_each_model(
        run: Run, folder: Path, tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    coarse = make_ir(patch_multiple=32, input_size=64)
    (folder / 'split.txt').write_text('rgb_2.png\nrgb_0.png\n\nrgb_2.png\nnone.png\n')
    code, out, err = run(folder, 'parity', coarse, tiny_ir, 'split.txt', '--input-size', '96',
                         '--input-size-b', '168', '--json', 'found.json')
    assert (code, err) == (1, 'error: none.png: it cannot be read (No such file or directory)\n')
    found = json.loads((folder / 'found.json').read_text())
    assert [one['name'] for one in found['images']] == ['rgb_0.png', 'rgb_2.png']
    assert (found['model']['input_size'], found['reference']['input_size']) == (96, 168)
    assert found['mean']['rank_correlation'] > 0.98


def test_bad_input_is_one_line_and_nothing_is_written(
        run: Run, folder: Path, tiny_ir: Path) -> None:
    rgbd = ('rgbd', tiny_ir, '.', '--config', 'data.yaml')
    (folder / 'empty.txt').touch()
    (folder / 'depth_maps' / 'depth').mkdir(parents=True)
    (folder / 'depth_maps' / 'depth' / '1.png').touch()
    before = sorted(folder.iterdir())
    for arguments, sentence in [
            (('rgbd', 'none.xml', '.', '--config', 'data.yaml'), 'there is no such file'),
            (('rgbd', tiny_ir, 'none', '--config', 'data.yaml'), 'no such folder'),
            ((*rgbd, '--json', 'none/found.json'), 'name a file in a folder that exists'),
            ((*rgbd, '--json', '/dev/null'), 'name a file in a folder that exists'),
            ((*rgbd, '--picture', 'found.jpg'), 'let it end in .png'),
            ((*rgbd, '--device', 'TPU'), 'no device can run the model'),
            (('pairs', tiny_ir, 'data.yaml'), 'it is not JSON'),
            (('parity', tiny_ir, tiny_ir, 'none'), 'neither a folder with images'),
            (('parity', tiny_ir, tiny_ir, 'depth_maps'), 'all left out as depth maps'),
            (('parity', tiny_ir, tiny_ir, 'empty.txt'), 'empty.txt is empty; write one path')]:
        code, out, err = run(folder, *arguments)
        assert (code, out) == (1, '')
        assert err.startswith('error: ') and err.count('\n') == 1 and sentence in err
    assert sorted(folder.iterdir()) == before


def test_wrong_usage_ends_with_status_two(run: Run, folder: Path) -> None:
    for arguments, sentence in [(('rgbd', 'a.xml', '.'), '--config'),
                                (('nothing',), 'nothing'),
                                (('pairs', 'a.xml', 'a.json', '--precision', 'f8'), 'f8')]:
        code, _, err = run(folder, *arguments)
        assert code == 2 and sentence in err


@pytest.mark.parametrize('package', ['typer', 'rich'])
def test_a_missing_package_is_answered_with_the_line_that_installs_it(
        tmp_path: Path, package: str) -> None:
    process = start(tmp_path, '--help', code=f'sys.modules[{package!r}] = None; {MAIN}')
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, '')
    assert err == (f'error: depth_anything_evaluate needs {package}, which is not installed: '
                   "pip install 'depth_anything_ros[tools]', in a virtual environment\n")


def test_help_names_every_subcommand(run: Run, tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, '--help')
    assert code == 0 and all(name in out for name in ('rgbd', 'pairs', 'parity'))


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_writes_nothing_and_has_its_own_exit_status(
        folder: Path, make_ir: Callable[..., Path], number: signal.Signals, status: int) -> None:
    for copy in range(3, 200):
        for kind in ('rgb', 'depth'):
            os.link(folder / f'{kind}_0.png', folder / f'{kind}_{copy}.png')
    patch = ('import depth_anything_ros.evaluate.results as results; predict = results.predict; '
             "results.predict = lambda *args: print('started', flush=True) or predict(*args)")
    process = start(folder, 'rgbd', make_ir(slow_layers=30), '.', '--config', 'data.yaml',
                    *OUTPUTS, code=f'{patch}; {MAIN}')
    assert process.stdout is not None and process.stdout.readline() == 'started\n'
    time.sleep(0.2)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert 'Traceback' not in err and not list(folder.glob('*found*'))


@pytest.mark.skipif(not SHARED.is_dir(), reason='../shared/images/rgbd is not there')
def test_real_depth_maps_are_read_in_metres(run: Run, folder: Path, tiny_ir: Path) -> None:
    code, out, _ = run(folder, 'rgbd', tiny_ir, SHARED, '--config', 'data.yaml', *OUTPUTS)
    assert code == 0
    found = json.loads((folder / 'found.json').read_text())
    # The tiny model knows only colours: in an indoor scene its scores are those of a flat map.
    assert len(found['images']) == 5 and 0.2 < found['mean']['abs_rel'] < 0.6
    assert 0.5 < found['mean']['rmse_m'] < 3


@pytest.mark.parametrize('closing', ['>&-', '| true'])
def test_the_files_of_a_report_are_written_without_anyone_to_read_it(
        folder: Path, tiny_ir: Path, closing: str) -> None:
    done = subprocess.run(
        f'"{sys.executable}" -c "import sys; {MAIN}" rgbd "{tiny_ir}" . --config data.yaml '
        f'--json found.json {closing}', shell=True, cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(ROOT)}, text=True, stderr=subprocess.PIPE)
    assert 'Traceback' not in done.stderr
    assert len(json.loads((folder / 'found.json').read_text())['images']) == 3


def test_pairs_that_are_nested_too_deep_or_name_no_file_are_one_line(
        run: Run, folder: Path, tiny_ir: Path) -> None:
    pair = '{"point1": [1, 1], "point2": [5, 5], "closer_point": "point1"}'
    for text, sentence in (('[' * 100000, 'it is not JSON'),
                           (f'{{"a\\u0000.png": [{pair}]}}', 'no file can have this name'),
                           (f'{{"a\\ud800.png": [{pair}]}}', 'no file can have this name')):
        (folder / 'pairs.json').write_text(text)
        code, _, err = run(folder, 'pairs', tiny_ir, 'pairs.json')
        assert code == 1 and err.count('\n') == 1 and sentence in err
