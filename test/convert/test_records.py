"""The record of a distillation: it belongs to one file, and a damaged one is none."""

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path

from depth_anything_ros.convert.sources.records import (
    distillation_record_path, DistillationRecord, read_distillation_record, sha256_of,
    write_distillation_record)
import pytest

RECORD = DistillationRecord('tiny', 'my-teacher', '1' * 64, 'MIT', 90, 10, 3, {'steps': 7}, 0.75,
                            '')


def test_a_record_is_read_back_as_long_as_the_file_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / 'a.pth'
    assert read_distillation_record(path) is None
    path.write_bytes(b'weights')
    record = replace(RECORD, sha256=sha256_of([path]))
    write_distillation_record(path, record)
    assert distillation_record_path(path).name == 'a.pth.distilled.json'
    assert read_distillation_record(path) == record
    path.write_bytes(b'other weights')
    assert read_distillation_record(path) is None


@pytest.mark.parametrize('change', [
    lambda text: '', lambda text: '[]', lambda text: '[' * 100_000,
    lambda text: text.replace('"images": 90', '"images": "x"'),
    lambda text: text.replace('"student"', '"pupil"')])
def test_a_record_that_cannot_be_used_is_none(
        tmp_path: Path, change: Callable[[str], str]) -> None:
    path = tmp_path / 'a.pth'
    path.write_bytes(b'weights')
    write_distillation_record(path, replace(RECORD, sha256=sha256_of([path])))
    text = distillation_record_path(path).read_text()
    assert json.loads(text) and change(text) != text
    distillation_record_path(path).write_text(change(text))
    assert read_distillation_record(path) is None
