"""Where a demo or a measurement takes its model and its pictures from."""

from collections.abc import Callable
from pathlib import Path

from depth_anything_ros.errors import MissingDependencyError

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / 'shared'
SEQUENCE = SHARED / 'images' / 'sequence'
SEQUENCE_FOCAL_PX = 481.2


def find_or_make_model(models: Path, say: Callable[[str], None]) -> Path:
    """
    Return an IR: one in ``models``, else converted from a checkpoint.

    The checkpoint is one in ``models`` or ../shared/weights, else DA-V2-Small, downloaded into
    ``models``.
    """
    existing = sorted(path for path in models.glob('*.xml') if path.with_suffix('.bin').is_file())
    if existing:
        say(f'model: {existing[0]}')
        return existing[0]
    try:
        from depth_anything_ros.convert.conversion import convert, Job
        from depth_anything_ros.convert.fetching.download import (
            DEFAULT_REPOSITORY, download_checkpoint)
    except ImportError as error:
        raise MissingDependencyError(error.name or 'torch', 'making a model',
                                     "pip install 'depth_anything_ros[convert]'") from error
    checkpoint = next(iter(sorted(models.glob('*.pth'))), None) or local_checkpoint()
    if checkpoint is None:
        say(f'downloading {DEFAULT_REPOSITORY}')
        checkpoint = download_checkpoint(DEFAULT_REPOSITORY, models)
    return convert(Job(checkpoint, models / f'{checkpoint.stem}.xml'), report=say).path


def local_checkpoint() -> Path | None:
    """Return the checkpoint that lies beside the repository, or None."""
    found = sorted((SHARED / 'weights').glob('*.pth'))
    return found[0] if found else None


def sequence_folder() -> Path | None:
    """Return the folder of the image sequence beside the repository, or None."""
    return SEQUENCE if SEQUENCE.is_dir() else None
