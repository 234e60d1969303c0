"""
The data beside the repository, in ../shared: a checkpoint, photographs, image sequences.

Only tools use it, for measurements. Photographs of the corpus are named by number; those whose
number is divisible by ten are held out: no model is trained or calibrated on them.
"""

from pathlib import Path

from depth_anything_ros.convert.sources.identity import Overrides
from depth_anything_ros.resources import ROOT

SHARED = ROOT.parent / 'shared'
IMAGES = SHARED / 'images'
SEQUENCE = IMAGES / 'sequence'
CORPUS = SHARED / 'corpus'
# INT8 is calibrated on photographs before this number, so that its figures stay comparable.
_FIRST_CORPUS_END = 5040
_PHOTOGRAPH_SUFFIXES = ('.jpg', '.webp')
# A refit checkpoint has no official name, so its kind and version are stated here.
CHECKPOINT_OVERRIDES = Overrides('relative', 'v2')


def local_checkpoint() -> Path | None:
    """Return the checkpoint beside the repository, or None."""
    found = sorted((SHARED / 'weights').glob('*.pth'))
    return found[0] if found else None


def sequence_folder() -> Path | None:
    """Return the folder of the image sequence beside the repository, or None."""
    return SEQUENCE if SEQUENCE.is_dir() else None


def write_sequence(folder: Path, frames: int) -> Path:
    """Link the first frames of the image sequence into ``folder``, describe them, return it."""
    folder.mkdir()
    for pattern in ('rgb_*', 'depth_*', 'poses.txt'):
        for file in sorted(SEQUENCE.glob(pattern))[:frames]:
            (folder / file.name).symlink_to(file.absolute())
    (folder / 'dataset.yaml').write_text(
        'color: rgb_*.jpg\ndepth: depth_*.png\ndepth_scale: 1000\nmin_depth: 0.1\n'
        'max_depth: 10\ncamera: [481.2, 480.0, 319.5, 239.5]\n', encoding='utf-8')
    return folder


def training_photographs(corpus: Path) -> list[Path]:
    """Return the photographs that a model may be trained or calibrated on, by number."""
    return [file for file in _photographs(corpus) if not is_held_out(file)]


def validation_photographs(corpus: Path) -> list[Path]:
    """Return the photographs that are held out, by number."""
    return [file for file in _photographs(corpus) if is_held_out(file)]


def is_held_out(file: Path) -> bool:
    """Return whether the number of a photograph, its file name, is divisible by ten."""
    return file.stem.endswith('0')


def write_int8_lists(folder: Path) -> tuple[Path, Path]:
    """Write the lists of the images for INT8 calibration and for its gate; return their paths."""
    calibration, gate = folder / 'calibration.txt', folder / 'gate.txt'
    calibration.write_text('\n'.join(map(str, calibration_images())), encoding='utf-8')
    gate.write_text('\n'.join(map(str, gate_images())), encoding='utf-8')
    return calibration, gate


def calibration_images() -> list[Path]:
    """Return the images for INT8 calibration: every 95th photograph and four frames."""
    frames = sorted(SEQUENCE.glob('rgb_*.jpg'))
    photographs = [file for file in training_photographs(CORPUS)
                   if int(file.stem) < _FIRST_CORPUS_END]
    return [*photographs[3::95], *frames[::52][:4]]


def gate_images() -> list[Path]:
    """Return the images that judge an INT8 model: ten photographs, five of RGB-D pairs."""
    return [*sorted((IMAGES / 'photos').glob('*.jpg')),
            *sorted((IMAGES / 'rgbd').glob('rgb_*.png'))]


def require_data() -> Path:
    """Return the checkpoint beside the repository; FileNotFoundError if data is missing."""
    checkpoint = local_checkpoint()
    if checkpoint is None or not CORPUS.is_dir() or not IMAGES.is_dir():
        raise FileNotFoundError(f'{SHARED} lacks weights/*.pth, images or corpus')
    return checkpoint


def _photographs(corpus: Path) -> list[Path]:
    return sorted(file for file in (corpus / 'images').glob('*')
                  if file.suffix in _PHOTOGRAPH_SUFFIXES)
