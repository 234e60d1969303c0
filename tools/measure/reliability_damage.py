"""The share of random damages of a model and its compiled copies that never become wrong depth."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
import shutil
import tempfile

from depth_anything_ros.arrays import F32
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.inference.pool import wait_for_one
from depth_anything_ros.resources import shipped_model
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.self_check import self_check_image
import numpy as np
from tools.fuzz.damage import damaged

_IMAGE_HW, _INPUT_SIZE = (96, 128), 96


def blob_damage(count: int, log: Callable[[str], None], model: Path | None = None,
                seed: int = 0) -> dict[str, float]:
    """
    Damage the .bin and the compiled model in turn, and start an engine on them, ``count`` times.

    ``blob_damage_caught`` is the share of the starts that refuse the model, or whose depth is
    equal to that of the whole model, by default that of the package.
    """
    model = model or shipped_model()
    rng, caught = Random(seed), 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / model.name
        for suffix in ('.xml', '.bin'):
            shutil.copy(model.with_suffix(suffix), copy.with_suffix(suffix))
        cache = Path(folder) / 'cache'
        cache.mkdir()
        whole = _depth(copy, cache)
        blobs = {blob: blob.read_bytes() for blob in cache.glob('*.blob')}
        weights = copy.with_suffix('.bin')
        contents = {weights: weights.read_bytes(), **blobs}
        for number in range(count):
            file = tuple(contents)[number % len(contents)]
            content, what = damaged(contents[file], rng)
            file.write_bytes(content)
            try:
                depth = _depth(copy, cache)
                harmless = np.array_equal(depth, whole)
            except DepthAnythingError:
                harmless = True
            caught += harmless
            if not harmless:
                log(f'{file.name}, {what}: the depth differs by '
                    f'{np.abs(depth - whole).max() / whole.std():.2g} standard deviations')
            for path, before in contents.items():
                path.write_bytes(before)
    return {'blob_damages': float(count), 'blob_damage_caught': caught / count}


def _depth(model: Path, cache: Path) -> F32:
    """Return the depth of one image by an engine that starts and ends here."""
    options = EngineOptions(precision='f32', image_hw=_IMAGE_HW, input_size=_INPUT_SIZE,
                            cache_dir=cache)
    engine = Engine(model, options, lambda sentence: None)
    try:
        depth: F32 = wait_for_one(partial(
            engine.submit, ColorImage(self_check_image(_IMAGE_HW), 'bgr')))
        return depth
    finally:
        engine.close()
