"""Where a demo or a measurement takes its model and its pictures from."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / 'shared'
SEQUENCE = SHARED / 'images' / 'sequence'
SEQUENCE_FOCAL_PX = 481.2


def shipped_model() -> Path:
    """Return the path of the model that the package brings."""
    return _share() / 'models' / 'depth_anything_nano.xml'


def photographs() -> Path:
    """Return the folder of the photographs that the package brings."""
    return _share() / 'resource' / 'photos'


def local_checkpoint() -> Path | None:
    """Return the checkpoint that lies beside the repository, or None."""
    found = sorted((SHARED / 'weights').glob('*.pth'))
    return found[0] if found else None


def sequence_folder() -> Path | None:
    """Return the folder of the image sequence beside the repository, or None."""
    return SEQUENCE if SEQUENCE.is_dir() else None


def _share() -> Path:
    """Return the checkout, or the share folder of where pip or colcon installed the package."""
    if (ROOT / 'package.xml').is_file():
        return ROOT
    return ROOT.parents[2] / 'share' / 'depth_anything_ros'
