"""Batches of changed images and their labels, made ahead of the training that takes them."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
import os

from depth_anything_ros.convert.distilling.augmentation import (
    change_look, crop_and_turn, cutmix_box)
from depth_anything_ros.convert.distilling.label_cache import Labelled
from depth_anything_ros.convert.distilling.recipe import Augmentation
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """
    What one step learns from.

    ``images`` u8 [N, H, W, 3], BGR; ``labels`` f32 [N, H, W], inverse depth of the image that
    each pixel is from; ``pasted`` bool [N, H, W], true where CutMix put another image in.
    """

    images: Tensor
    labels: Tensor
    pasted: Tensor


def batches(images: Sequence[Labelled], size: int, crop_hw: tuple[int, int], how: Augmentation,
            seed: int, first_step: int = 0) -> Generator[Batch, None, None]:
    """
    Yield batches of ``size`` images without end, from step ``first_step`` on.

    Each step's batch depends on the seed and its number alone, however many threads make it and
    wherever training was taken up again. Every image comes once before any comes again. The error
    of an image that cannot be read is raised here; closing the generator ends the threads.
    """
    order = _shuffled(len(images), seed)

    def make(step: int) -> Batch:
        chosen = [images[order(index)] for index in range(step * size, (step + 1) * size)]
        return _make(chosen, crop_hw, how, np.random.default_rng((seed, step)))

    # Half of the processors: the other half computes the steps.
    threads = max(1, (os.cpu_count() or 1) // 2)
    with ThreadPoolExecutor(threads, thread_name_prefix='batches') as pool:
        ahead: deque[Future[Batch]] = deque()
        step = first_step
        try:
            while True:
                while len(ahead) < threads + _AHEAD:
                    ahead.append(pool.submit(make, step))
                    step += 1
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def _make(images: Sequence[Labelled], crop_hw: tuple[int, int], how: Augmentation,
          generator: np.random.Generator) -> Batch:
    parts, labels = [], []
    for one in images:
        part, label = crop_and_turn(*one.read(), crop_hw, how, generator)
        parts.append(change_look(part, how, generator))
        labels.append(label)
    return _mixed(np.stack(parts), np.stack(labels), how, generator)


def _shuffled(count: int, seed: int) -> Callable[[int], int]:
    """Return which of ``count`` images is the N-th from the start, in another order per epoch."""
    @lru_cache(maxsize=2)
    def order(epoch: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng((seed, epoch, 1)).permutation(count)

    def place(index: int) -> int:
        return int(order(index // count)[index % count])

    return place


def _mixed(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.float32], how: Augmentation,
           generator: np.random.Generator) -> Batch:
    """Paste into some images a box of the next one."""
    mixed, mixed_labels = images.copy(), labels.copy()
    pasted = np.zeros(labels.shape, np.bool_)
    for index in range(len(images) if len(images) > 1 else 0):
        rows, columns = cutmix_box(labels.shape[1:], how, generator)
        other = (index + 1) % len(images)
        mixed[index, rows, columns] = images[other, rows, columns]
        mixed_labels[index, rows, columns] = labels[other, rows, columns]
        pasted[index, rows, columns] = True
    return Batch(*map(torch.from_numpy, (mixed, mixed_labels, pasted)))
