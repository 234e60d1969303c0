"""The log of a training continues after a resume, and its figure shows it."""

from pathlib import Path
import sys

import cv2
import numpy as np
import pytest

pytest.importorskip('torch')

from depth_anything_ros.distill.curves import (  # noqa: E402, I100
    draw_curves, read_log, TrainingLog)
from depth_anything_ros.distill.trainer import StepResult  # noqa: E402
from depth_anything_ros.errors import CheckpointError, MissingDependencyError  # noqa: E402


def add_steps(log: TrainingLog, first: int, last: int) -> None:
    """Add steps whose loss is 10 / step."""
    for step in range(first, last + 1):
        log.add(StepResult(step, 10 / step, 0.5))


def test_a_line_has_the_mean_of_the_steps_since_the_previous_line(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / 'journal.jsonl')
    add_steps(log, 1, 45)
    log.add_validation(45, 0.75)
    first, second, validation = read_log(tmp_path / 'journal.jsonl')
    assert (first['step'], first['rate'], second['step']) == (20, 0.5, 40)
    assert first['loss'] == pytest.approx(np.mean([10 / step for step in range(1, 21)]))
    assert second['loss'] == pytest.approx(np.mean([10 / step for step in range(21, 41)]))
    assert validation == {'step': 45, 'rank_correlation': 0.75}


def test_entries_after_the_resumed_step_are_removed(tmp_path: Path) -> None:
    path = tmp_path / 'journal.jsonl'
    log = TrainingLog(path)
    add_steps(log, 1, 100)
    log.add_validation(100, 0.5)
    resumed = TrainingLog(path, 60)
    add_steps(resumed, 61, 80)
    assert [entry['step'] for entry in read_log(path)] == [20, 40, 60, 80]


def test_the_duration_continues_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / 'journal.jsonl'
    path.write_text('{"step": 20, "loss": 1.0, "rate": 1.0, "seconds": 1000.0}\n')
    add_steps(TrainingLog(path, 20), 21, 40)
    assert 1000 <= read_log(path)[-1]['seconds'] < 1010


def test_a_new_journal_forgets_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / 'journal.jsonl'
    add_steps(TrainingLog(path), 1, 20)
    TrainingLog(path)
    assert read_log(path) == []


def test_an_incomplete_line_is_left_out_and_overwritten(tmp_path: Path) -> None:
    path = tmp_path / 'journal.jsonl'
    path.write_text('{"step": 20, "loss": 1.0, "rate": 1, "seconds": 1}\n{"step": 40, "lo')
    assert [entry['step'] for entry in read_log(path)] == [20]
    TrainingLog(path, 100).add_validation(60, 0.5)
    assert [entry['step'] for entry in read_log(path)] == [20, 60]


def test_bytes_that_a_broken_disk_left_are_no_entry(tmp_path: Path) -> None:
    path = tmp_path / 'journal.jsonl'
    path.write_bytes(b'{"step": 1, "loss": 2.0}\n\xff\xfe\0\n')
    assert read_log(path) == [{'step': 1, 'loss': 2.0}]


def test_the_figure_shows_loss_and_rank_correlation(tmp_path: Path) -> None:
    pytest.importorskip('matplotlib')
    path, picture = tmp_path / 'journal.jsonl', tmp_path / 'curves.png'
    log = TrainingLog(path)
    add_steps(log, 1, 200)
    draw_curves(path, picture)
    before = cv2.imread(str(picture))
    for step in (100, 150, 200):
        log.add_validation(step, step / 250)
    draw_curves(path, picture)
    after = cv2.imread(str(picture))
    half = after.shape[0] // 2
    # matplotlib's C0 is blue and C1 orange.
    assert count_like(after[:half], (180, 119, 31)) > 300
    assert count_like(after[half:], (14, 127, 255)) > 300 > count_like(before, (14, 127, 255))


def count_like(picture: np.ndarray, colour_bgr: tuple[int, int, int]) -> int:
    return int((np.abs(picture.astype(int) - colour_bgr).max(-1) < 30).sum())


def test_validations_without_losses_are_drawn_and_an_empty_log_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip('matplotlib')
    path = tmp_path / 'journal.jsonl'
    log = TrainingLog(path)
    with pytest.raises(CheckpointError, match=r'journal\.jsonl: there is nothing'):
        draw_curves(path, tmp_path / 'curves.png')
    log.add_validation(5, 0.5)
    draw_curves(path, tmp_path / 'curves.png')
    assert cv2.imread(str(tmp_path / 'curves.png')) is not None


def test_without_matplotlib_the_line_that_installs_it_is_named(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'journal.jsonl'
    add_steps(TrainingLog(path), 1, 20)
    monkeypatch.setitem(sys.modules, 'matplotlib.backends.backend_agg', None)
    with pytest.raises(MissingDependencyError, match=r'matplotlib.*depth_anything_ros\[distill\]'):
        draw_curves(path, tmp_path / 'curves.png')
