"""What stands beside a distilled checkpoint: whom it learned from, on what, and how well."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
import json
from pathlib import Path
from typing import Any

from depth_anything_ros.convert.reading.digests import sha256_of

_SUFFIX = '.distilled.json'


@dataclass(frozen=True)
class DistillationRecord:
    """
    How a student was made.

    ``licence`` is that of the student, ``images`` those that it learned from and ``held_out`` the
    others, on which ``rank_correlation`` with the teacher was measured, a mean. ``recipe`` are the
    fields of ``recipe.Recipe``; ``sha256`` is that of the checkpoint.
    """

    student: str
    teacher: str
    teacher_sha256: str
    licence: str
    images: int
    held_out: int
    seed: int
    recipe: Mapping[str, Any]
    rank_correlation: float
    sha256: str


def record_path(path: Path) -> Path:
    """Return where the record of the checkpoint at ``path`` lies: beside it."""
    return path.with_name(path.name + _SUFFIX)


def read_record(path: Path) -> DistillationRecord | None:
    """Return the record of the checkpoint at ``path``, None without a usable one of this file."""
    try:
        found = json.loads(record_path(path).read_text(encoding='utf-8'))
        record = DistillationRecord(
            str(found['student']), str(found['teacher']), str(found['teacher_sha256']),
            str(found['licence']), int(found['images']), int(found['held_out']),
            int(found['seed']), dict(found['recipe']), float(found['rank_correlation']),
            str(found['sha256']))
        return record if record.sha256 == sha256_of([path]) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_record(path: Path, record: DistillationRecord) -> None:
    """Write the record of the checkpoint that lies at ``path``."""
    record_path(path).write_text(json.dumps(asdict(record), indent=2) + '\n', encoding='utf-8')
