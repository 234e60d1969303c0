"""
Measure alignment, stability, clouds and several cameras; write docs/figures/navigation.json.

``python -m tools.measure.navigation`` needs a folder ../shared with weights/ (a checkpoint),
images/sequence and images/rgbd, and writes two pictures too. It takes about 20 minutes on two idle
cores, ten of them a run of two cameras over DDS. ``--only PART`` measures one part and keeps the
figures of the others.
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
import multiprocessing
from pathlib import Path
import sys
import tempfile
from typing import Any

from depth_anything_ros.api import load_model
from depth_anything_ros.arrays import F32
from depth_anything_ros.cli.processes import private_domain
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.media.rgbd_folder import read_depth
from depth_anything_ros.vision.color_image import to_bgr
import numpy as np
from tools.measure.figures import read_figures, requote_pages, ROOT, rounded, write_figures
from tools.shared_data import CHECKPOINT_OVERRIDES, IMAGES, local_checkpoint, SEQUENCE, SHARED

COMMAND = 'python -m tools.measure.navigation'
PARTS = ('alignment', 'stability', 'clouds', 'cameras', 'soak')

Figures = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return 0, or 1 with a sentence if data is missing."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument('--only', choices=PARTS, action='append', help='default: all')
    parser.add_argument('--minutes', type=float, default=10.0, help='duration of the long run')
    options = parser.parse_args(arguments)
    private_domain()
    try:
        with tempfile.TemporaryDirectory() as folder:
            figures = _measure(Path(folder), options.only or PARTS, options.minutes)
    except (DepthAnythingError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    figures = rounded(figures)
    for name, value in figures.items():
        print(f'{name:32} {value:g}')
    kept = read_figures('navigation') if options.only else ()
    path = write_figures('navigation', COMMAND, figures, kept=kept)
    print(f'wrote {path} and the pages that quote it')
    requote_pages()
    return 0


def _measure(folder: Path, parts: Sequence[str], minutes: float) -> Figures:
    checkpoint = local_checkpoint()
    if checkpoint is None or not IMAGES.is_dir():
        raise FileNotFoundError(f'{SHARED} lacks weights/*.pth or images')
    from depth_anything_ros.convert.conversion import convert, Job
    model = convert(Job(checkpoint, folder / 'fp16.xml', 'fp16', CHECKPOINT_OVERRIDES)).path
    figures: Figures = {}
    if {'alignment', 'stability', 'clouds'} & set(parts):
        figures |= _vision_figures(model, parts)
    if 'cameras' in parts:
        figures |= _cameras_figures(model)
    if 'soak' in parts:
        from tools.measure.navigation_soak import soak
        figures |= soak(model, minutes, print)
    return figures


def _cameras_figures(model: Path) -> Figures:
    """Measure in another process, because PyTorch, which is loaded here, has threads too."""
    from tools.measure.navigation_cameras import cameras_figures
    with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as process:
        return process.submit(cameras_figures, model).result()


def _vision_figures(model: Path, parts: Sequence[str]) -> Figures:
    """Return the figures that need depth of real images."""
    from tools.measure.navigation_alignment import alignment_figures
    from tools.measure.navigation_cloud import cloud_figures, cloud_pictures
    from tools.measure.navigation_stability import stability_figures
    figures: Figures = {}
    with load_model(model) as depth_model:
        depth_of = partial(depth_model.infer, output_size='native')
        if 'alignment' in parts:
            figures |= alignment_figures(IMAGES, depth_of)
        if 'stability' in parts:
            print('depth of every frame of the sequence', flush=True)
            images, truths = _sequence(every=1)
            figures |= stability_figures(map(depth_of, images), truths)
        if 'clouds' in parts:
            images, truths = _sequence(every=10)
            figures |= cloud_figures(map(depth_of, images), truths)
            cloud_pictures(ROOT / 'docs' / 'images', SEQUENCE, depth_of)
    return figures


def _sequence(every: int) -> tuple[list[Any], list[F32]]:
    """Return images and true depths [m] of every n-th frame, NaN where invalid."""
    images, truths = [], []
    for file in sorted(SEQUENCE.glob('rgb_*.jpg'))[::every]:
        depth_file = file.with_name(file.name.replace('rgb_', 'depth_')).with_suffix('.png')
        depth_m = read_depth(depth_file, 1000.0)
        images.append(to_bgr(read_picture(file)))
        truths.append(np.where(depth_m > 0, depth_m, np.float32(np.nan)))
    return images, truths


if __name__ == '__main__':
    sys.exit(main())
