"""Files in the share folder of the package: its model and its photographs."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def shipped_model() -> Path:
    """Return the path of the model in the package."""
    return _share() / 'models' / 'depth_anything_tiny.xml'


def photographs() -> Path:
    """Return the folder of the photographs in the package."""
    return _share() / 'resource' / 'photos'


def _share() -> Path:
    """Return the checkout, or the share folder where pip or colcon installed the package."""
    if (ROOT / 'package.xml').is_file():
        return ROOT
    return ROOT.parents[2] / 'share' / 'depth_anything_ros'
