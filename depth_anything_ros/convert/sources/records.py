"""One sha256 for a model, whether it is one file or several."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
import hashlib
import json
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20
_SUFFIX = '.download.json'
_IN_FOLDER = 'download.json'
_DISTILLED_SUFFIX = '.distilled.json'


def sha256_of(files: Iterable[Path]) -> str:
    """
    Return the sha256 of one file, or one that stands for several.

    That of several files is the sha256 of their sorted hexadecimal digests, each followed by a
    line feed (``sha256sum FILES | cut -c -64 | sort | sha256sum``): names and order do not count.
    """
    digests = sorted(_sha256(file) for file in files)
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256(''.join(f'{digest}\n' for digest in digests).encode()).hexdigest()


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open('rb') as content:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True)
class DownloadRecord:
    """
    Where a checkpoint is from.

    ``revision`` is the commit of the repository, ``files`` maps the names as they were saved to
    their sha256, ``date`` is the day of the download, YYYY-MM-DD.
    """

    repository: str
    revision: str
    files: Mapping[str, str]
    licence: str
    date: str


def record_path(path: Path) -> Path:
    """Return where the record of a checkpoint lies: inside a folder, beside a file."""
    return path / _IN_FOLDER if path.is_dir() else path.with_name(path.name + _SUFFIX)


def read_record(path: Path) -> DownloadRecord | None:
    """Return the record of the checkpoint at ``path``, None where there is no usable one."""
    try:
        found = json.loads(record_path(path).read_text(encoding='utf-8'))
        return DownloadRecord(
            str(found['repository']), str(found['revision']),
            {str(name): str(digest) for name, digest in found['files'].items()},
            str(found['licence']), str(found['date']))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_record(path: Path, record: DownloadRecord) -> None:
    """Write the record of the checkpoint that lies at ``path``."""
    record_path(path).write_text(json.dumps(asdict(record), indent=2) + '\n', encoding='utf-8')


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


def distillation_record_path(path: Path) -> Path:
    """Return where the record of the checkpoint at ``path`` lies: beside it."""
    return path.with_name(path.name + _DISTILLED_SUFFIX)


def read_distillation_record(path: Path) -> DistillationRecord | None:
    """Return the record of the checkpoint at ``path``, None without a usable one of this file."""
    try:
        found = json.loads(distillation_record_path(path).read_text(encoding='utf-8'))
        record = DistillationRecord(
            str(found['student']), str(found['teacher']), str(found['teacher_sha256']),
            str(found['licence']), int(found['images']), int(found['held_out']),
            int(found['seed']), dict(found['recipe']), float(found['rank_correlation']),
            str(found['sha256']))
        return record if record.sha256 == sha256_of([path]) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_distillation_record(path: Path, record: DistillationRecord) -> None:
    """Write the record of the checkpoint that lies at ``path``."""
    distillation_record_path(path).write_text(
        json.dumps(asdict(record), indent=2) + '\n', encoding='utf-8')
