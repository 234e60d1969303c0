"""A training and its labels on two processes: the same result as on one, one voice, one end."""

from collections.abc import Sequence
from contextlib import suppress
import json
import os
from pathlib import Path
import random
import socket
import subprocess
import sys

import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch')
for package in ('typer', 'openvino', 'onnx', 'onnxscript', 'onnxruntime', 'matplotlib'):
    pytest.importorskip(package)
if not torch.distributed.is_gloo_available():
    pytest.skip('this torch has no gloo', allow_module_level=True)

from depth_anything_ros.distill.processes import (  # noqa: E402, I100
    ALONE, find_processes, Processes)
from depth_anything_ros.distill.train_loop import load_state  # noqa: E402
from depth_anything_ros.errors import SettingsError  # noqa: E402
from joint_training import make_trainer, whole, write_images  # noqa: E402

ROOT = Path(__file__).parents[2]
TRAINING = ROOT / 'test' / 'support' / 'joint_training.py'
PROGRAM = ('-m', 'depth_anything_ros.distill.main')
TIMEOUT_S = 600


def free_port() -> int:
    """Return a port that no client gets from the system until torch, slow to load, listens."""
    while True:
        port = random.randrange(20000, 32768)
        with socket.socket() as one, suppress(OSError):
            one.bind(('127.0.0.1', port))
            return port


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, 'PYTHONPATH': f'{ROOT}{os.pathsep}{TRAINING.parent}',
            'COLUMNS': '99', **more}


def run_two(*line: str) -> list[tuple[int, str, str]]:
    """Run a script in two processes and return exit status, stdout and stderr of each."""
    port = str(free_port())
    programs = [subprocess.Popen(
        [sys.executable, *line], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2',
                        LOCAL_WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=port))
        for rank in range(2)]
    try:
        texts = [program.communicate(timeout=TIMEOUT_S) for program in programs]
    finally:
        for program in programs:
            program.kill()
    return [(program.returncode, *text) for program, text in zip(programs, texts)]


def run_training(mode: str, folder: Path) -> None:
    for status, out, err in run_two(str(TRAINING), mode, str(folder)):
        assert (status, out, err) == (0, '', '')


def distance(one: dict[str, object], other: dict[str, object]) -> float:
    """Return the largest difference of the weights of two trainings."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.fixture(scope='module')
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a training in one process."""
    folder = tmp_path_factory.mktemp('alone')
    write_images(folder)
    whole(folder, ALONE)
    return folder


@pytest.fixture(scope='module')
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the same training in two processes."""
    folder = tmp_path_factory.mktemp('together')
    write_images(folder)
    run_training('whole', folder)
    return folder


def weights_in(folder: Path) -> dict[str, object]:
    return torch.load(folder / 'weights.pth', weights_only=True)


def first_weights(folder: Path) -> dict[str, object]:
    return make_trainer(folder, ALONE).averaged.values


def test_two_processes_train_like_one_and_agree_with_each_other(
        alone: Path, together: Path) -> None:
    one, = json.loads((alone / 'found.json').read_text())
    first, second = json.loads((together / 'found.json').read_text())
    assert first == second
    assert first['losses'] == pytest.approx(one['losses'], rel=1e-4)
    assert len(set(one['losses'])) == 4
    moved = distance(weights_in(alone), first_weights(alone))
    assert distance(weights_in(alone), weights_in(together)) < 0.02 * moved


def test_a_training_resumes_with_another_number_of_processes(
        alone: Path, together: Path, tmp_path: Path) -> None:
    expected = weights_in(alone)
    moved = distance(expected, first_weights(alone))
    trainer = make_trainer(alone, ALONE)
    load_state(together / 'half.pth', trainer)
    assert [result.step for result in trainer.run()] == [3, 4]
    assert distance(trainer.averaged.values, expected) < 0.02 * moved
    write_images(tmp_path)
    (tmp_path / 'state.pth').write_bytes((alone / 'half.pth').read_bytes())
    run_training('rest', tmp_path)
    state = torch.load(tmp_path / 'state.pth', weights_only=True)
    assert state['step'] == 4
    assert distance(state['averaged']['values'], expected) < 0.02 * moved
    assert (tmp_path / 'journal.jsonl').is_file() and (tmp_path / 'curves.png').is_file()


def error_lines(results: Sequence[tuple[int, str, str]]) -> list[str]:
    """Return all lines on stderr of processes that failed without printing anything else."""
    assert all(status == 1 and out == '' for status, out, _ in results), results
    return [line for _, _, err in results for line in err.splitlines()]


@pytest.mark.parametrize(('mode', 'message'), [
    ('lacking', 'none.npy: the label cannot be read'),
    ('dying', 'another process of this training ended without a message')])
def test_a_process_that_fails_ends_the_other_with_one_sentence(
        mode: str, message: str, tmp_path: Path) -> None:
    write_images(tmp_path)
    results = run_two(str(TRAINING), mode, str(tmp_path))
    if mode == 'dying':
        assert results.pop()[0] == 9
    line, = error_lines(results)
    assert line.startswith('error: ') and message in line


def test_an_impossible_batch_is_one_line(tmp_path: Path) -> None:
    results = run_two(*PROGRAM, 'none.pth', str(tmp_path), '-o', str(tmp_path / 'mine.xml'),
                      '--batch', '3')
    assert error_lines(results) == [
        'error: parameter --batch is 3; it must be a multiple of 2, the number of processes']


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of twelve small images, of which one is damaged behind its header."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        coarse = rng.integers(0, 255, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f'{number:02}.png'), cv2.resize(coarse, (64, 48)))
    damaged = folder / '03.png'
    damaged.write_bytes(damaged.read_bytes()[:60])
    return folder


def test_torchrun_shares_the_labels_and_prints_once(
        tiny_ir: Path, photos: Path, tmp_path: Path) -> None:
    """The leading process has the even images, so the damaged one is reported by the other."""
    work = tmp_path / 'work'
    done = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', '2', '--master-port',
         str(free_port()), '-m', '--', PROGRAM[1], str(tiny_ir), str(photos), '-o',
         str(tmp_path / 'mine.xml'), '--work', str(work), '--hold-out', '4', '--device', 'cpu',
         '--labels-only'],
        text=True, capture_output=True, timeout=TIMEOUT_S, env=environment())
    assert (done.returncode, done.stderr) == (0, '')
    assert [path.stem[:2] for path in sorted(work.rglob('*.npy'))] == [
        f'{number:02}' for number in range(12) if number != 3]
    lines = done.stdout.splitlines()
    assert len(lines) == len(set(lines))
    assert sum('03.png is left out' in line for line in lines) == 1
    assert sum('labels: part 1 of 1, 11 of 12 images' in line for line in lines) == 1


def test_parts_are_disjoint_and_complete() -> None:
    three = [Processes(rank, 3) for rank in range(3)]
    assert [list(one.part_of_batch(6)) for one in three] == [[0, 1], [2, 3], [4, 5]]
    assert [one.part('abcdefg') for one in three] == ['adg', 'be', 'cf']
    assert ALONE.part('abc') == 'abc' and list(ALONE.part_of_batch(2)) == [0, 1]
    with pytest.raises(SettingsError, match='--batch is 8; it must be a multiple of 3'):
        three[0].check_batch(8)


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE'):
        monkeypatch.delenv(name, raising=False)
    assert find_processes() is ALONE
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert find_processes() is ALONE
