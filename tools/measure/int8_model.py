"""The INT8 model that is measured: which images calibrate it and which judge it."""

from pathlib import Path
from typing import TYPE_CHECKING

from tools import shared_data
from tools.shared_data import CORPUS, training_photographs

if TYPE_CHECKING:
    from depth_anything_ros.convert.quantize.quantize import Quantized

IMAGES = shared_data.SHARED / 'images'


def make_int8(source: Path, output: Path, calibration: Path, gate: Path) -> 'Quantized':
    """Quantize an IR with the images of two lists; QualityError if none passes the gate."""
    from depth_anything_ros.convert.quantize.quantize import quantize, QuantizeJob
    return quantize(QuantizeJob(source, output, str(calibration), gate_images=str(gate)))


def list_images(folder: Path) -> tuple[Path, Path]:
    """Write the lists of the images for the calibration and for the gate and return them."""
    calibration, gate = folder / 'calibration.txt', folder / 'gate.txt'
    calibration.write_text('\n'.join(map(str, calibration_images())), encoding='utf-8')
    gate.write_text('\n'.join(map(str, gate_images())), encoding='utf-8')
    return calibration, gate


def calibration_images() -> list[Path]:
    """Return every 95th photograph and four frames; none of them is evaluated."""
    frames = sorted(shared_data.SEQUENCE.glob('rgb_*.jpg'))
    return [*training_photographs(CORPUS)[3::95], *frames[::52][:4]]


def gate_images() -> list[Path]:
    """Return the ten photographs and the five colour images of the RGB-D pairs."""
    return [*sorted((IMAGES / 'photos').glob('*.jpg')),
            *sorted((IMAGES / 'rgbd').glob('rgb_*.png'))]


def require_data() -> Path:
    """Return the checkpoint beside the repository; FileNotFoundError if data is missing."""
    checkpoint = shared_data.local_checkpoint()
    if checkpoint is None or not CORPUS.is_dir() or not IMAGES.is_dir():
        raise FileNotFoundError(f'{shared_data.SHARED} lacks weights/*.pth, images or corpus')
    return checkpoint
