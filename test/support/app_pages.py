"""Starts ``depth_anything_app`` in a folder of its own, and pictures for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import subprocess

import cv2
from depth_anything_ros.media.video import VideoFile
import numpy as np
from tools.web.app import running_app


def save_picture(path: Path, seed: int, size_hw: tuple[int, int] = (112, 140)) -> Path:
    """Write a smooth random PNG and return its path."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(coarse, size_hw[::-1],
                                             interpolation=cv2.INTER_CUBIC))
    return path


def write_video(path: Path, frames: int) -> Path:
    """Write a video of noise that moves."""
    noise = np.random.default_rng(0).integers(0, 256, (112, 140, 3), np.uint8)
    video = VideoFile(path, 20)
    for number in range(frames):
        video.write(np.roll(noise, number))
    video.close()
    return path


@contextmanager
def running_page(folder: Path, model: Path) -> Iterator[tuple[str, 'subprocess.Popen[str]']]:
    """Yield the address of a page and its process, which keeps its files in ``temporary``."""
    (folder / 'temporary').mkdir()
    with running_app(folder, str(model), '--precision', 'f32', stderr=subprocess.PIPE,
                     variables={'TMPDIR': str(folder / 'temporary')}) as started:
        yield started
