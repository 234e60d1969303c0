"""
The corpus of photographs beside the repository, and which of them judge a model.

A photograph whose number is divisible by ten is held out for validation and never trained on.
"""

from pathlib import Path

from depth_anything_ros.tools.model_source import SHARED

CORPUS = SHARED / 'corpus'


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
