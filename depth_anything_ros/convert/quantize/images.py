"""Pictures for calibration and for the gate, as network inputs."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.cli.progress import Report
from depth_anything_ros.errors import CheckpointError, ImageError
from depth_anything_ros.media.folders import left_out_text
from depth_anything_ros.media.open_images import left_out, open_images
from depth_anything_ros.media.source import ImageSource
from depth_anything_ros.model_info import ModelInfo, Size
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.transforms import (
    crop_to_aspect, model_input_hw, network_image, normalize)
import numpy as np


MIN_PICTURES = 4


def read_pictures(name: str, topic: str | None, limit: int, report: Report) -> list[U8]:
    """
    Return at most ``limit`` BGR pictures [H, W, 3], evenly spread over a source.

    Those that cannot be read are reported. CheckpointError if fewer than four are left.
    """
    source = open_images(name, topic)
    wanted = _spread(source, limit)
    pictures = []
    for image in source:
        if image.index in wanted:
            try:
                pictures.append(to_bgr(image.read()))
            except ImageError as error:
                report(f'      {image.name} is left out: {error}')
        if image.index >= max(wanted):
            break
    if others := left_out(name):
        report(f'      {left_out_text(others)}')
    if len(pictures) < MIN_PICTURES:
        raise CheckpointError(Path(name), f'it holds {len(pictures)} usable images',
                              f'give at least {MIN_PICTURES}, better 40 that differ as much as '
                              'the images of your camera')
    return pictures


def _spread(source: ImageSource, limit: int) -> set[int]:
    if not source.count:
        raise ImageError(f'{source.name} cannot be read from end to end; images for calibration '
                         'come from files, videos or bags')
    count = min(source.count, limit)
    return {int(index) for index in np.linspace(0, source.count - 1, count).round()}


def hold_out(pictures: Sequence[U8]) -> tuple[list[U8], list[U8]]:
    """Return three of four pictures for calibration, and every fourth one for the gate."""
    kept = [picture for index, picture in enumerate(pictures) if index % MIN_PICTURES != 1]
    return kept, list(pictures[1::MIN_PICTURES])


def inputs_of_own_size(pictures: Sequence[U8], info: ModelInfo, input_size: int) -> list[F32]:
    """Return network inputs [1, 3, H, W], each of the size that the runtime would choose."""
    return [_input(picture, _size(picture, info, input_size), info) for picture in pictures]


def inputs_of_one_size(pictures: Sequence[U8], info: ModelInfo, input_size: int) -> list[F32]:
    """Return inputs [1, 3, H, W] of the most frequent size; other pictures are cropped to it."""
    sizes = Counter(_size(picture, info, input_size) for picture in pictures)
    size_hw = sizes.most_common(1)[0][0]
    if info.resize not in ('stretch', 'letterbox'):
        pictures = [crop_to_aspect(picture, size_hw) for picture in pictures]
    return [_input(picture, size_hw, info) for picture in pictures]


def _size(picture: U8, info: ModelInfo, input_size: int) -> Size:
    height, width = picture.shape[:2]
    return model_input_hw(info, (height, width), input_size)


def _input(picture: U8, size_hw: Size, info: ModelInfo) -> F32:
    return normalize(network_image(picture, info.input_rule, size_hw), info.mean_rgb,
                     info.std_rgb)
