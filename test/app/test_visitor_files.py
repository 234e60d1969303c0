"""Files of visitors are removed when they are old, and nothing else is."""

from pathlib import Path
import shutil
import threading
import time

from depth_anything_ros.app import visitor_files
from depth_anything_ros.app.visitor_files import VisitorFiles
import pytest


def test_old_files_of_visitors_are_removed_without_another_request(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of answers, uploads that broke off, and whatever else Gradio leaves."""
    for name, value in (('_PERIOD_S', 0.05), ('KEPT_S', 0.5), ('_ANSWER_KEPT_S', 0.5)):
        monkeypatch.setattr(visitor_files, name, value)
    example = tmp_path / 'gradio' / 'photograph' / 'camera.jpg'
    example.parent.mkdir(parents=True)
    example.touch()
    files = VisitorFiles(tmp_path)
    with files.removed_when_old():
        answer = files.new_folder() / 'a_depth.png'
        upload, broken = example.parent / 'a.png', tmp_path / 'gradio' / 'tmp0123'
        for path in (answer, upload, broken):
            path.touch()
        assert [path.exists() for path in (answer, upload, broken)] == [True] * 3
        deadline = time.monotonic() + 20
        while any(path.exists() for path in (answer.parent, upload, broken)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert example.exists()
    assert 'remove old files' not in [thread.name for thread in threading.enumerate()]


def test_files_that_others_remove_at_the_same_time_are_no_error(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = VisitorFiles(tmp_path)
    age_s = visitor_files._age_s

    def gone(path: Path, now: float) -> float:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return age_s(path, now) + 1e6

    monkeypatch.setattr(visitor_files, '_age_s', gone)
    (files.new_folder() / 'a_depth.png').touch()
    (tmp_path / 'a.png').touch()
    files._remove_old(set())
    assert list(tmp_path.iterdir()) == []
