"""What stands beside a downloaded checkpoint: where it is from and under what licence."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
import json
from pathlib import Path

_SUFFIX = '.download.json'
_IN_FOLDER = 'download.json'


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
