"""A copy of the sources, so that a build leaves no trace in the checkout."""

from pathlib import Path
import shutil

ROOT = Path(__file__).resolve().parents[2]
NAME = 'depth_anything_ros'
# All that a build could find by mistake is there, too.
_FOLDERS = ('config', NAME, 'docker', 'docs', 'launch', 'resource', 'test', 'tools')
_FILES = ('LICENSE', 'README.md', 'models/README.md', 'package.xml', 'pyproject.toml', 'setup.cfg',
          'setup.py')


def copy_sources(target: Path) -> None:
    """Copy what is in the repository, without the models that may be in this checkout."""
    for name in _FOLDERS:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns('__pycache__'))
    (target / 'models').mkdir()
    for name in _FILES:
        shutil.copy2(ROOT / name, target / name)
