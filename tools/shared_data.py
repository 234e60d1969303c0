"""Where a demo or a measurement takes its model and its pictures from."""

from pathlib import Path

from depth_anything_ros.resources import ROOT

SHARED = ROOT.parent / 'shared'
SEQUENCE = SHARED / 'images' / 'sequence'
SEQUENCE_FOCAL_PX = 481.2
CORPUS = SHARED / 'corpus'


def local_checkpoint() -> Path | None:
    """Return the checkpoint that lies beside the repository, or None."""
    found = sorted((SHARED / 'weights').glob('*.pth'))
    return found[0] if found else None


def sequence_folder() -> Path | None:
    """Return the folder of the image sequence beside the repository, or None."""
    return SEQUENCE if SEQUENCE.is_dir() else None


def training_photographs(corpus: Path) -> list[Path]:
    """Return the photographs that a model may be trained or calibrated on, by name."""
    return [file for file in _photographs(corpus) if not is_held_out(file)]


def validation_photographs(corpus: Path) -> list[Path]:
    """Return the photographs that are held out, by name."""
    return [file for file in _photographs(corpus) if is_held_out(file)]


def is_held_out(file: Path) -> bool:
    """Return whether the number that the file is named by is divisible by ten."""
    return file.stem.endswith('0')


def _photographs(corpus: Path) -> list[Path]:
    return sorted((corpus / 'images').glob('*.jpg'))
