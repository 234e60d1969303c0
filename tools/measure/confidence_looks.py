"""The looks of a model at images with true depth, and their pixels that are scored."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
from depth_anything_ros.alignment.fit import fit_alignment
from depth_anything_ros.alignment.references import samples_from_depth
from depth_anything_ros.api import DepthModel, load_model
from depth_anything_ros.arrays import Bools, F32, F64, U8
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.media.rgbd_folder import read_truth, RgbdPair
from depth_anything_ros.vision.color_image import ColorImage, to_bgr
from depth_anything_ros.vision.confidence import disagreement, log_measures, mirror, WITHIN
from depth_anything_ros.vision.depth import DepthRange, inverse_depth_jumps
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np
from tools.measure.box_model_figures import Frames

# How many images ago the image was that has a second look.
AGES = (0, 1, 2, 4)
SIZES = {'three_quarters': 0.75, 'half': 0.5}
_STRIDE, _TEXTURE_PX = 4, 15


@dataclass(frozen=True)
class Picture:
    """An image with its true depth [m], NaN where none, and earlier images by their age."""

    scene: str
    image: U8
    truth_m: F32
    limits: DepthRange
    earlier: Mapping[int, U8]


@dataclass(frozen=True)
class Looked:
    """
    The scored pixels of an image: errors [N], and measures [N], larger is less certain.

    ``one_look`` [N, n] and ``two_looks`` [N, n + 1], by the age of the second look, are the inputs
    of the regressions.
    """

    scene: str
    errors: F64
    measures: Mapping[str, F64]
    one_look: F64
    two_looks: Mapping[int, F64]

    @property
    def within(self) -> Bools:
        """Return where the error is within the limit that the confidence is about."""
        found: Bools = self.errors <= WITHIN
        return found


def read_pictures(frames: Frames) -> Iterator[Picture]:
    """Yield the images with true depth, with the images before them where a camera moves."""
    for scene, dataset in frames.items():
        for pair in dataset.pairs:
            image = _read(pair.color)
            yield Picture(scene, image, read_truth(pair, dataset.config, image.shape[:2]),
                          dataset.config.limits, _earlier(pair))


def _earlier(pair: RgbdPair) -> dict[int, U8]:
    # The frames of a moving camera have numbers of five digits.
    if len(pair.key) != 5:
        return {}
    files = {age: pair.color.with_name(f'rgb_{int(pair.key) - age:05d}.jpg') for age in AGES[1:]}
    return {age: _read(file) for age, file in files.items() if file.is_file()}


def _read(file: Path) -> U8:
    return to_bgr(read_picture(file))


def look(pictures: Sequence[Picture], model: Path | None, input_size: int = 0,
         sizes: Mapping[str, float] | None = None) -> list[Looked]:
    """Compute all looks of a model at all pictures; return the pixels that are scored."""
    with load_model(model, input_size=input_size, hint='LATENCY') as depth_model:
        looks = [{age: _both(depth_model, image)
                  for age, image in {0: one.image, **one.earlier}.items()} for one in pictures]
        size = depth_model.state.input_size
    smaller: list[dict[str, F32]] = [{} for _ in pictures]
    for name, share in (SIZES if sizes is None else sizes).items():
        with load_model(model, input_size=round(size * share), hint='LATENCY') as depth_model:
            for found, one in zip(smaller, pictures):
                found[name] = depth_model.infer(one.image, output_size='native')
    return [_scored(*one) for one in zip(pictures, looks, smaller)]


def _both(depth_model: DepthModel, image: U8) -> tuple[F32, F32]:
    first, second = (depth_model.infer(one, output_size='native')
                     for one in (image, mirror(ColorImage(image, 'bgr')).pixels))
    return first, second


def _scored(picture: Picture, looks: Mapping[int, tuple[F32, F32]],
            smaller: Mapping[str, F32]) -> Looked:
    """Return the pixels of every fourth row and column that have a true depth."""
    inverse_depth, limits, truth_m = looks[0][0], picture.limits, picture.truth_m
    fit = fit_alignment(samples_from_depth(inverse_depth, truth_m, limits, truth_m.size), True)
    scale_shift = fit.scale, fit.shift
    scored = np.isfinite(truth_m)[::_STRIDE, ::_STRIDE]

    def pixels(values: F32) -> F64:
        full = resize_depth(values, (truth_m.shape[0], truth_m.shape[1]))
        return full[::_STRIDE, ::_STRIDE][scored].astype(np.float64)

    native, image_size = (
        np.maximum(one * np.float32(fit.scale) + np.float32(fit.shift),
                   np.float32(1 / limits.maximum_m))
        for one in (inverse_depth, resize_depth(inverse_depth, picture.image.shape[:2])))
    changes = {age: disagreement(*both, scale_shift) for age, both in looks.items()}
    measures = {'edge_filter': pixels(inverse_depth_jumps(image_size) / image_size),
                'distance': pixels(1 / image_size), 'texture': pixels(_texture(picture.image)),
                'mirrored': pixels(changes[0])}
    for name, other in smaller.items():
        # ``disagreement`` mirrors it back.
        measures[name] = pixels(disagreement(inverse_depth, other[:, ::-1], scale_shift))

    def inputs(change: F32 | None) -> F64:
        return np.stack([pixels(values) for values in
                         log_measures(native, fit.residual, change)], axis=1)

    found_m, true_m = 1 / pixels(image_size), pixels(truth_m)
    return Looked(picture.scene, np.abs(found_m - true_m) / true_m, measures, inputs(None),
                  {age: inputs(change) for age, change in changes.items()})


def _texture(image_bgr: U8) -> F32:
    """Return the standard deviation of the brightness around each pixel."""
    gray = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY).astype(np.float32)
    window = (_TEXTURE_PX, _TEXTURE_PX)
    variance = cv2.blur(gray * gray, window) - cv2.blur(gray, window) ** 2
    found: F32 = np.sqrt(np.maximum(variance, 0))
    return found
