"""
Make docs/images/turn.gif: a photograph that turns into its depth, and beside it the cloud.

``python -m tools.moving_picture`` runs the model of the package on a photograph of the package.
The cloud is the one for display: the nearest 2 % of the depth at 1 m, the farthest at 4 m.
"""

from collections.abc import Iterator
import math
from pathlib import Path
import sys

import cv2
from depth_anything_ros.api import load_model, point_cloud, to_metric
from depth_anything_ros.arrays import F32, U8
from depth_anything_ros.demo.footage import fit, read_bgr
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.resources import photographs, ROOT
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.colorize import RangeTracker
from depth_anything_ros.vision.depth import display_scale_shift, remove_flying_pixels
from depth_anything_ros.vision.drawing import depth_style, draw_depth, render_cloud
from depth_anything_ros.vision.geometry import pinhole_camera
import numpy as np

_OUTPUT = ROOT / 'docs' / 'images' / 'turn.gif'
_PHOTOGRAPH = 'motorcycle.jpg'
_IMAGE_HW, _PANEL_HW = (480, 640), (270, 360)
_FOV_DEG = 60.0
_NEAR_M, _FAR_M, _FLYING = 1.0, 4.0, 0.04
_YAW_DEG, _PITCH_DEG = 15.0, 8.0
_FRAMES, _FRAME_MS = 30, 100
_COLORS = 128


def main() -> int:
    """Write the picture and return 0, or 1 with a sentence if that failed."""
    try:
        image = fit(read_bgr(photographs() / _PHOTOGRAPH), _IMAGE_HW)
        with load_model() as model:
            depth = model.infer(image)
        _write(_OUTPUT, list(_frames(image, depth)))
    except (DepthAnythingError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'wrote {_OUTPUT}, {_OUTPUT.stat().st_size / 2**20:.2f} MiB')
    return 0


def _frames(image: U8, depth: F32) -> Iterator[U8]:
    """Yield the frames, BGR [H, 2 W, 3], of one period: the last is followed by the first."""
    low, high = RangeTracker().update(depth)
    style = depth_style('relative', 'spectral_r', pred_only=True)
    colored = draw_depth(style, ColorImage(image, 'bgr'), depth, low, high)
    scale, shift = display_scale_shift(low, high, _NEAR_M, _FAR_M)
    depth_m = remove_flying_pixels(to_metric(depth, scale, shift), _FLYING)
    cloud = point_cloud(depth_m, pinhole_camera(_IMAGE_HW, _FOV_DEG), image)
    for number in range(_FRAMES):
        phase = 2 * math.pi * number / _FRAMES
        column = round((0.5 - 0.5 * math.cos(phase)) * _IMAGE_HW[1])
        halves = np.concatenate([colored[:, :column], image[:, column:]], axis=1)
        turned = render_cloud(cloud, _IMAGE_HW, _YAW_DEG * math.sin(phase), _PITCH_DEG)
        yield np.concatenate([_panel(halves), _panel(turned)], axis=1)


def _panel(picture: U8) -> U8:
    return np.asarray(cv2.resize(picture, _PANEL_HW[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def _write(path: Path, frames: list[U8]) -> None:
    """Write a GIF that repeats forever, with one palette for all frames."""
    from PIL import Image
    everything = Image.fromarray(np.concatenate(frames)[::4, ::4, ::-1])
    palette = everything.quantize(_COLORS)
    first, *others = (Image.fromarray(frame[..., ::-1]).quantize(
        palette=palette, dither=Image.Dither.NONE) for frame in frames)
    first.save(path, save_all=True, append_images=others, duration=_FRAME_MS, loop=0,
               optimize=True)


if __name__ == '__main__':
    sys.exit(main())
