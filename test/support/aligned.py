"""Bilinear resizing with aligned corners as two matrix products."""

import numpy as np


def resize_aligned(values: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Return ``values`` [H, W] at ``size_hw``: the corner pixels stay where they are."""
    rows, columns = (_weights(source, target) for source, target in zip(values.shape, size_hw))
    return rows @ values.astype(np.float64) @ columns.T


def _weights(source: int, target: int) -> np.ndarray:
    weights = np.zeros((target, source))
    for index in range(target):
        position = index * (source - 1) / (target - 1) if target > 1 else 0.0
        for neighbour in range(source):
            weights[index, neighbour] = max(0.0, 1 - abs(position - neighbour))
    return weights
