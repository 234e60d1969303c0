"""The model of a subcommand: a path, or a name that is downloaded first."""

from dataclasses import dataclass
from pathlib import Path
import sys

from depth_anything_ros.cli.progress import StepReport
from depth_anything_ros.convert.hub.catalog import find_published, is_hub_id, Published
from depth_anything_ros.convert.hub.download import fetch, find_checkpoint
from depth_anything_ros.convert.sources.identity import model_name
from depth_anything_ros.errors import CheckpointError
import typer

_SUFFIXES = ('.pth', '.pt', '.bin', '.safetensors', '.onnx', '.xml')


@dataclass(frozen=True)
class DownloadOptions:
    """Whether licences are accepted without a question and whether the network is off."""

    accepted: bool = False
    offline: bool = False


def local_source(source: str, directory: Path, options: DownloadOptions,
                 report: StepReport) -> Path:
    """
    Return the path of a source; a short name or hub id is downloaded into ``directory``.

    CheckpointError as ``find_checkpoint``, ``fetch`` and ``obtain``.
    """
    path = Path(source)
    if path.exists() or not _is_name(source):
        return path
    return obtain(find_checkpoint(source, options.offline), directory, options, report)


def obtain(checkpoint: Published, directory: Path, options: DownloadOptions,
           report: StepReport) -> Path:
    """
    Report the licence of a checkpoint, ask for consent where it needs that, and fetch it.

    CheckpointError if the licence is not accepted.
    """
    note = ', which forbids commercial use' if checkpoint.non_commercial else ''
    report(f'{checkpoint.repository}: licence {checkpoint.licence}{note}')
    exists = (directory / checkpoint.saved_as).exists()
    if checkpoint.non_commercial and not exists and not options.accepted:
        _require_consent(checkpoint)
    return fetch(checkpoint, directory, offline=options.offline, report=report)


def name_of(path: Path) -> str:
    """Return the name of a model for its outputs."""
    name = model_name(path)
    return name if path.is_dir() else Path(name).stem


def _is_name(source: str) -> bool:
    """Return whether a source is no path: a hub id, or a word such as a misspelt short name."""
    is_word = not set('./\\~') & set(source)
    return is_word or find_published(source) is not None or (
        is_hub_id(source) and not source.endswith(_SUFFIXES))


def _require_consent(checkpoint: Published) -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CheckpointError(checkpoint.repository, f'{checkpoint.licence} forbids commercial '
                              'use of these weights', 'add --yes if you accept that')
    if not typer.confirm('Download it for non-commercial use?'):
        raise CheckpointError(checkpoint.repository, 'its licence was not accepted',
                              'choose one of the Small checkpoints, which are under Apache-2.0')
