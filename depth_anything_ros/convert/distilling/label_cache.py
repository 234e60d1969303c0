"""
Pseudo-labels on disk: one file of 16-bit floats per picture, written whole or not at all.

A label is the teacher's inverse depth [H, W] at the size of its picture.
"""

from dataclasses import asdict, dataclass
import hashlib
import json
from pathlib import Path

from depth_anything_ros.convert.reading.variants import Asked
from depth_anything_ros.errors import CheckpointError, ImageError
from depth_anything_ros.media.picture_files import read_picture
from depth_anything_ros.media.writing import staged_file
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

_AGAIN = 'remove it and run the same command again'


@dataclass(frozen=True)
class Labelled:
    """A picture and the file with its label."""

    image: Path
    label: Path

    def read(self) -> tuple[U8, F32]:
        """
        Return the picture BGR u8 [H, W, 3] and its inverse depth f32 [H, W].

        ImageError or CheckpointError name a file that is missing, damaged or not of the other.
        """
        try:
            picture = read_picture(self.image).pixels
        except ImageError as error:
            raise ImageError(f'{self.image}: {error}') from error
        try:
            label = np.load(self.label).astype(np.float32)
        except (OSError, ValueError, EOFError) as error:
            raise CheckpointError(self.label, f'the label cannot be read ({error})',
                                  _AGAIN) from error
        if label.shape != picture.shape[:2]:
            raise CheckpointError(self.label, f'it is no label of {self.image}', _AGAIN)
        return picture, label


@dataclass(frozen=True)
class LabelFacts:
    """What all labels of a folder have in common: other facts make other labels."""

    teacher_sha256: str
    asked: Asked
    sizes: tuple[int, ...]
    flip: bool
    short_side: int


def label_folder(work: Path, facts: LabelFacts) -> Path:
    """Return the folder below ``work`` for labels with these facts; labels.json there says so."""
    text = json.dumps(asdict(facts), indent=2) + '\n'
    folder = work / f'labels-{hashlib.sha256(text.encode()).hexdigest()[:8]}'
    folder.mkdir(parents=True, exist_ok=True)
    with staged_file(folder / 'labels.json') as staged:
        staged.write_text(text, encoding='utf-8')
    return folder
