"""Files that the package brings: its model and its photographs."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def shipped_model() -> Path:
    """Return the path of the model that the package brings."""
    return _share() / 'models' / 'depth_anything_nano.xml'


def photographs() -> Path:
    """Return the folder of the photographs that the package brings."""
    return _share() / 'resource' / 'photos'


def _share() -> Path:
    """Return the checkout, or the share folder of where pip or colcon installed the package."""
    if (ROOT / 'package.xml').is_file():
        return ROOT
    return ROOT.parents[2] / 'share' / 'depth_anything_ros'
