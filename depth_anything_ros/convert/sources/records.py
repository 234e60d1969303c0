"""
The sha256 of a model, and the JSON records beside it that are valid for that sha256 only.

A download record says where a checkpoint came from, a distillation record how a student was made,
a metric record how a network was fine-tuned to metres.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
import hashlib
import json
import math
from pathlib import Path
from typing import Any, TypeVar

from depth_anything_ros.files import atomic_path
from depth_anything_ros.model_info import ModelVersion

_CHUNK_BYTES = 1 << 20
_SUFFIX = '.download.json'
_IN_FOLDER = 'download.json'
_DISTILLED_SUFFIX = '.distilled.json'
_METRIC_SUFFIX = '.metric.json'


@dataclass(frozen=True)
class DownloadRecord:
    """
    Where a checkpoint came from.

    ``revision`` is the commit of the repository, ``files`` maps the names of the saved files to
    their sha256, ``date`` is the day of the download, YYYY-MM-DD.
    """

    repository: str
    revision: str
    files: Mapping[str, str]
    licence: str
    date: str

    @property
    def digests(self) -> Collection[str]:
        """Return the sha256 of each file that the record is valid for."""
        return self.files.values()


@dataclass(frozen=True)
class DistillationRecord:
    """
    How a student was made.

    ``licence`` is that of the student, ``start`` and ``start_sha256`` are name and sha256 of the
    weights that it began with, '' for those of the teacher or random ones. It learned from
    ``images`` images; on ``held_out`` others its ``rank_correlation`` with the teacher was
    measured, the mean of the images. ``recipe`` are the settings of the training; ``sha256`` is
    that of the checkpoint.
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
    start: str = ''
    start_sha256: str = ''

    @property
    def digests(self) -> Collection[str]:
        """Return the sha256 of each file that the record is valid for."""
        return (self.sha256,)


@dataclass(frozen=True)
class MetricRecord:
    """
    How a network was fine-tuned to metres.

    ``start`` and ``start_sha256`` are name and sha256 of the relative model that it began as,
    ``licence`` is that of both. ``focal_px`` and ``range_m`` are those of ``ModelInfo``. It
    learned from ``images`` images; ``figures`` are the scores of ``held_out`` others, by method.
    ``recipe`` are the settings of the training; ``sha256`` is that of the checkpoint.
    """

    encoder: str
    model_version: ModelVersion
    start: str
    start_sha256: str
    licence: str
    focal_px: float
    range_m: tuple[float, float]
    images: int
    held_out: int
    recipe: Mapping[str, Any]
    figures: Mapping[str, Any]
    sha256: str

    @property
    def digests(self) -> Collection[str]:
        """Return the sha256 of each file that the record is valid for."""
        return (self.sha256,)


R = TypeVar('R', DownloadRecord, DistillationRecord, MetricRecord)


def file_digests(files: Iterable[Path]) -> tuple[str, ...]:
    """Return the sha256 of each file, sorted."""
    return tuple(sorted(_sha256(file) for file in files))


def combined_sha256(digests: Collection[str]) -> str:
    """
    Return the sha256 of a model from those of its files.

    That of several files is the sha256 of their sorted hexadecimal digests, each followed by a
    line feed (``sha256sum FILES | cut -c -64 | sort | sha256sum``): names and order do not count.
    """
    if len(digests) == 1:
        return next(iter(digests))
    return hashlib.sha256(''.join(f'{digest}\n' for digest in sorted(digests)).encode()
                          ).hexdigest()


def sha256_of(files: Iterable[Path]) -> str:
    """Return the sha256 of a model in one file or in several, see ``combined_sha256``."""
    return combined_sha256(file_digests(files))


def _sha256(file: Path) -> str:
    with file.open('rb') as content:
        digest = hashlib.sha256()
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def record_path(path: Path) -> Path:
    """Return the path of the download record: inside a folder, beside a file."""
    return path / _IN_FOLDER if path.is_dir() else path.with_name(path.name + _SUFFIX)


def read_record(path: Path, digests: Collection[str] = ()) -> DownloadRecord | None:
    """
    Return the download record of the checkpoint at ``path``.

    None where there is no usable one, or where it lacks one of the ``digests``, which are the
    sha256 of the checkpoint's files.
    """
    return _read(record_path(path), _download_record, digests)


def write_record(path: Path, record: DownloadRecord) -> None:
    """Write the download record of the checkpoint at ``path``."""
    _write(record_path(path), record)


def distillation_record_path(path: Path) -> Path:
    """Return the path of the distillation record: beside the checkpoint."""
    return path.with_name(path.name + _DISTILLED_SUFFIX)


def read_distillation_record(path: Path, digests: Collection[str] | None = None
                             ) -> DistillationRecord | None:
    """
    Return the distillation record of the checkpoint at ``path``.

    None where there is no usable one for the ``digests``, by default the sha256 of the file.
    """
    return _read_of_file(path, distillation_record_path(path), _distillation_record, digests)


def write_distillation_record(path: Path, record: DistillationRecord) -> None:
    """Write the distillation record of the checkpoint at ``path``."""
    _write(distillation_record_path(path), record)


def metric_record_path(path: Path) -> Path:
    """Return the path of the record of a fine-tuning: beside the checkpoint."""
    return path.with_name(path.name + _METRIC_SUFFIX)


def read_metric_record(path: Path, digests: Collection[str] | None = None
                       ) -> MetricRecord | None:
    """
    Return the record of the fine-tuning of the checkpoint at ``path``.

    None where there is no usable one for the ``digests``, by default the sha256 of the file.
    """
    return _read_of_file(path, metric_record_path(path), _metric_record, digests)


def write_metric_record(path: Path, record: MetricRecord) -> None:
    """Write the record of the fine-tuning of the checkpoint at ``path``."""
    _write(metric_record_path(path), record)


def _read_of_file(file: Path, path: Path, parse: Callable[[Any], R],
                  digests: Collection[str] | None) -> R | None:
    """Return a record for the ``digests``, where they are None for the sha256 of ``file``."""
    if digests is not None:
        return _read(path, parse, digests)
    record = _read(path, parse, ())
    if record is None or not file.is_file():
        return None
    return record if set(record.digests) == {_sha256(file)} else None


def _read(path: Path, parse: Callable[[Any], R], digests: Collection[str]) -> R | None:
    try:
        record = parse(json.loads(path.read_text(encoding='utf-8')))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return record if set(digests) <= set(record.digests) else None


def _write(path: Path,
           record: DownloadRecord | DistillationRecord | MetricRecord) -> None:
    with atomic_path(path) as file:
        file.write_text(json.dumps(asdict(record), indent=2) + '\n', encoding='utf-8')


def _download_record(found: Any) -> DownloadRecord:
    if any(Path(name).name != name for name in found['files']):
        raise ValueError('it names a file outside its folder')
    return DownloadRecord(
        str(found['repository']), str(found['revision']),
        {str(name): str(digest) for name, digest in found['files'].items()},
        str(found['licence']), str(found['date']))


def _distillation_record(found: Any) -> DistillationRecord:
    return DistillationRecord(
        str(found['student']), str(found['teacher']), str(found['teacher_sha256']),
        str(found['licence']), int(found['images']), int(found['held_out']), int(found['seed']),
        dict(found['recipe']), float(found['rank_correlation']), str(found['sha256']),
        str(found.get('start', '')), str(found.get('start_sha256', '')))


def _metric_record(found: Any) -> MetricRecord:
    version = str(found['model_version'])
    nearest, farthest = map(float, found['range_m'])
    focal_px = float(found['focal_px'])
    if version not in ('v1', 'v2') or not (0 < nearest < farthest and 0 < focal_px < math.inf):
        raise ValueError('it describes no network in metres')
    return MetricRecord(
        str(found['encoder']), 'v1' if version == 'v1' else 'v2', str(found['start']),
        str(found['start_sha256']), str(found['licence']), focal_px, (nearest, farthest),
        int(found['images']), int(found['held_out']), dict(found['recipe']),
        dict(found['figures']), str(found['sha256']))
