"""
Training batches: crops of images and labels, augmented, made ahead of time on threads.

Source: Depth Anything V1 (2024): strong colour jitter and blur on the student's input alone,
CutMix for half of the images. Crops that look down or are tilted, dark or blurred by motion stand
for views that robots have and photographs lack.
"""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
import math
import os
from typing import TypeVar

import cv2
from depth_anything_ros.arrays import F32, F64, U8
from depth_anything_ros.distill.dataset import LabelledImage
from depth_anything_ros.distill.job import Augmentation
from depth_anything_ros.distill.processes import ALONE, Processes
from depth_anything_ros.networks.models import InputSpec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

RandomGenerator = np.random.Generator

_BLUR_FROM_SCALE = 1.5
_BATCHES_AHEAD = 2
AnyBatch = TypeVar('AnyBatch')


@dataclass(frozen=True)
class Batch:
    """
    The input of one training step.

    ``images`` u8 [N, H, W, 3], BGR; ``labels`` f32 [N, H, W], inverse depth of the image that
    each pixel is from; ``pasted`` bool [N, H, W], true where CutMix pasted another image.
    """

    images: Tensor
    labels: Tensor
    pasted: Tensor


def batches(images: Sequence[LabelledImage], size: int, crop_hw: tuple[int, int],
            augmentation: Augmentation, seed: int, first_step: int = 0,
            processes: Processes = ALONE) -> Generator[Batch, None, None]:
    """
    Yield batches of ``size`` images without end, from step ``first_step`` on.

    Of several processes each gets its part of the images, and all parts are the batch that one
    process gets. It depends only on the seed and the number of the step, not on the threads or
    on where a training resumed. Each epoch has every image once. The error of an image that cannot
    be read is raised here; closing the generator ends the threads.
    """
    order = shuffled(len(images), seed)

    def make(step: int) -> Batch:
        chosen = [images[order(index)] for index in range(step * size, (step + 1) * size)]
        return _make(chosen, processes.part_of_batch(size), crop_hw, augmentation, (seed, step, 2))

    return made_ahead(make, first_step, processes)


def made_ahead(make: Callable[[int], AnyBatch], first_step: int,
               processes: Processes = ALONE) -> Generator[AnyBatch, None, None]:
    """Yield ``make(step)`` from ``first_step`` on, made on threads; closing ends these."""
    # Half of the processors: the other half computes the steps.
    threads = max(1, (os.cpu_count() or 1) // (2 * processes.local_count))
    with ThreadPoolExecutor(threads, thread_name_prefix='batches') as pool:
        ahead: deque[Future[AnyBatch]] = deque()
        step = first_step
        try:
            while True:
                while len(ahead) < threads + _BATCHES_AHEAD:
                    ahead.append(pool.submit(make, step))
                    step += 1
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def normalized(images_bgr: Tensor, input_spec: InputSpec) -> Tensor:
    """Return u8 [N, H, W, 3], BGR, as the network's input f32 [N, 3, H, W] on the same device."""
    mean, std = (torch.tensor(values, device=images_bgr.device) * 255
                 for values in (input_spec.mean_rgb, input_spec.std_rgb))
    return ((images_bgr.flip(-1).float() - mean) / std).permute(0, 3, 1, 2)


def crop_and_rotate(image: U8, label: F32, size_hw: tuple[int, int], augmentation: Augmentation,
                    generator: RandomGenerator) -> tuple[U8, F32]:
    """
    Return the same random crop of an image [H, W, 3] and its label [H, W], both ``size_hw``.

    The crop may be scaled, rotated and flipped; beyond the edges both are mirrored.
    """
    matrix = crop_matrix(label.shape, size_hw, augmentation, generator)
    return warped(image, label, matrix, size_hw)


def warped(image: U8, label: F32, matrix: F64, size_hw: tuple[int, int]) -> tuple[U8, F32]:
    """Return the crop that ``matrix`` of ``crop_matrix`` describes, as ``crop_and_rotate``."""
    # Against aliasing, where the crop is much larger than the result.
    scale = float(np.hypot(*matrix[:, :2]).max())
    if scale > _BLUR_FROM_SCALE:
        image = _blurred(image, 0.4 * scale)
    size = size_hw[1], size_hw[0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return tuple(cv2.warpAffine(  # type: ignore[return-value]
        one, matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        for one in (image, label))


def change_appearance(image: U8, augmentation: Augmentation, generator: RandomGenerator) -> U8:
    """Return the image [H, W, 3] with random changes of colour, light, sharpness and noise."""
    for chance, change in (
            (augmentation.jitter_chance, _jitter), (augmentation.grey_chance, _grey),
            (augmentation.blur_chance, _blur), (augmentation.motion_chance, _motion_blur),
            (augmentation.dark_chance, _darken), (augmentation.noise_chance, _noise)):
        if generator.random() < chance:
            image = change(image, generator)
    return image


def cutmix_box(size_hw: tuple[int, int], augmentation: Augmentation,
               generator: RandomGenerator) -> tuple[slice, slice]:
    """Return (rows, columns) of the box that CutMix replaces, often an empty one."""
    if generator.random() >= augmentation.cutmix_chance:
        return slice(0, 0), slice(0, 0)
    share, stretch = generator.uniform(0.1, 0.5), 2 ** generator.uniform(-0.5, 0.5)
    height, width = (min(side, round(side * math.sqrt(share) * factor))
                     for side, factor in zip(size_hw, (stretch, 1 / stretch)))
    top = int(generator.integers(size_hw[0] - height + 1))
    left = int(generator.integers(size_hw[1] - width + 1))
    return slice(top, top + height), slice(left, left + width)


def _make(images: Sequence[LabelledImage], part: range, crop_hw: tuple[int, int],
          augmentation: Augmentation, seed: tuple[int, ...]) -> Batch:
    """Return the crops of a part of a batch; those of all parts do not depend on the parts."""
    generators = [np.random.default_rng((*seed, position)) for position in range(len(images))]

    @cache
    def crop(position: int) -> tuple[U8, F32]:
        generator = generators[position]
        image, label = crop_and_rotate(*images[position].read(), crop_hw, augmentation, generator)
        return change_appearance(image, augmentation, generator), label

    mixed, labels = (np.stack(arrays) for arrays in zip(*map(crop, part)))
    pasted = np.zeros(labels.shape, np.bool_)
    for index, position in enumerate(part if len(images) > 1 else ()):
        # CutMix with the next image of the whole batch.
        box = cutmix_box(crop_hw, augmentation, generators[position])
        if pasted[index][box].size:
            other, other_label = crop((position + 1) % len(images))
            mixed[index][box], labels[index][box] = other[box], other_label[box]
            pasted[index][box] = True
    return Batch(*map(torch.from_numpy, (mixed, labels, pasted)))


def shuffled(count: int, seed: int) -> Callable[[int], int]:
    """Return a map from position in the training to image, shuffled for each epoch."""
    @lru_cache(maxsize=2)
    def order(epoch: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng((seed, epoch, 1)).permutation(count)

    def image_at(index: int) -> int:
        return int(order(index // count)[index % count])

    return image_at


def crop_matrix(image_hw: tuple[int, int], size_hw: tuple[int, int], augmentation: Augmentation,
                generator: RandomGenerator) -> F64:
    """Return the matrix [2, 3] that maps pixels (x, y, 1) of the crop to those of the image."""
    height, width = image_hw
    area = generator.uniform(augmentation.area, 1.0) * height * width
    ratio = size_hw[1] / size_hw[0] * augmentation.aspect ** generator.uniform(-1, 1)
    crop_h, crop_w = math.sqrt(area / ratio), math.sqrt(area * ratio)
    fits = min(1.0, height / crop_h, width / crop_w)
    crop_h, crop_w = fits * crop_h, fits * crop_w
    low = 0.5 if generator.random() < augmentation.low_chance else 0.0
    middle_y = crop_h / 2 + generator.uniform(low, 1) * (height - crop_h)
    middle_x = crop_w / 2 + generator.uniform() * (width - crop_w)
    angle = 0.0
    if generator.random() < augmentation.tilt_chance:
        tilt_deg = augmentation.tilt_deg
        angle = math.radians(generator.uniform(-tilt_deg, tilt_deg))
    mirror = -1 if generator.random() < augmentation.flip_chance else 1
    sine, cosine = math.sin(angle), math.cos(angle)
    along_x, along_y = mirror * crop_w / size_hw[1], crop_h / size_hw[0]
    turn = np.array([[cosine * along_x, -sine * along_y], [sine * along_x, cosine * along_y]])
    middle = np.array([(size_hw[1] - 1) / 2, (size_hw[0] - 1) / 2])
    shift = np.array([middle_x - 0.5, middle_y - 0.5]) - turn @ middle
    return np.column_stack([turn, shift])


def _jitter(image: U8, generator: RandomGenerator) -> U8:
    """Change brightness, contrast, saturation, hue and white balance."""
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + round(generator.uniform(-18, 18))) % 180
    hsv[..., 1] = cv2.convertScaleAbs(hsv[..., 1], alpha=generator.uniform(0.4, 1.6))
    balance = generator.uniform(0.85, 1.15, 3)
    bright, contrast = generator.uniform(0.6, 1.4), generator.uniform(0.6, 1.4)
    offset = float(image.mean()) * bright * (1 - contrast)
    levels = np.arange(256)[:, None] * balance * bright * contrast + offset
    return cv2.LUT(  # type: ignore[return-value]
        cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR), np.clip(levels, 0, 255).astype(np.uint8)[None])


def _grey(image: U8, generator: RandomGenerator) -> U8:
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)  # type: ignore[return-value]


def _blur(image: U8, generator: RandomGenerator) -> U8:
    return _blurred(image, generator.uniform(0.3, 2.0))


def _motion_blur(image: U8, generator: RandomGenerator) -> U8:
    """Blur along a line, as a moving camera does."""
    length = int(generator.integers(2, 7))
    kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
    angle = generator.uniform(0, math.pi)
    across, down = round(length * math.cos(angle)), round(length * math.sin(angle))
    cv2.line(kernel, (length - across, length - down), (length + across, length + down), 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum())  # type: ignore[return-value]


def _darken(image: U8, generator: RandomGenerator) -> U8:
    """Darken the image, dark pixels most."""
    gain, gamma = generator.uniform(0.4, 1.0), generator.uniform(1.0, 3.0)
    levels = 255 * gain * (np.arange(256) / 255) ** gamma
    return cv2.LUT(image, levels.astype(np.uint8))  # type: ignore[return-value]


def _noise(image: U8, generator: RandomGenerator) -> U8:
    noise = generator.standard_normal(image.shape, np.float32) * generator.uniform(2, 12)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def _blurred(image: U8, sigma: float) -> U8:
    return cv2.GaussianBlur(image, (0, 0), sigma)  # type: ignore[return-value]
