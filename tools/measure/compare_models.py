"""
Draw the depth of several models for the same photographs side by side in one picture.

The picture has a row per photograph and a column per model; near is red. The colours of each panel
range from the 2nd to the 98th percentile of its depth.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys

import cv2
from depth_anything_ros.api import load_model
from depth_anything_ros.arrays import U8
from depth_anything_ros.demo.footage import fit, read_bgr
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.resources import photographs
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.colorize import RangeTracker
from depth_anything_ros.vision.drawing import depth_style, draw_depth
import numpy as np

_IMAGE_HW, _PANEL_HW = (480, 640), (270, 360)
_GAP_PX, _LINE_PX = 6, 26
_PAPER, _INK = 255, 24


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the picture and return 0, or 1 with a sentence if that failed."""
    options = _parser().parse_args(arguments)
    try:
        images = [fit(read_bgr(file), _IMAGE_HW) for file in options.photos or _shipped()]
        columns = [_column('photograph', images),
                   *(_model_column(model, images) for model in options.models)]
        if not cv2.imwrite(str(options.output), _beside(columns)):
            raise OSError(f'{options.output} could not be written; is the folder writable?')
    except (DepthAnythingError, OSError, cv2.error) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'wrote {options.output}')
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m tools.measure.compare_models',
                                     description=__doc__)
    parser.add_argument('models', type=Path, nargs='+', metavar='NAME.xml', help='an IR')
    parser.add_argument('--photos', type=Path, nargs='+', metavar='FILE',
                        help='pictures to show (default: the photographs of the package)')
    parser.add_argument('--output', type=Path, default=Path('compared.jpg'), metavar='FILE',
                        help='.jpg or .png (default: compared.jpg)')
    return parser


def _shipped() -> list[Path]:
    return sorted(photographs().glob('*.jpg'))


def _model_column(path: Path, images: Sequence[U8]) -> U8:
    """Return the column of a model; DepthAnythingError if it cannot run."""
    with load_model(path) as model:
        style = depth_style(model.info.kind, 'spectral_r', pred_only=True)
        depths = map(model.infer, images)
        pictures = [draw_depth(style, ColorImage(image, 'bgr'), depth,
                               *RangeTracker().update(depth))
                    for image, depth in zip(images, depths)]
        height, width = model.state.network_hw
    return _column(f'{path.stem}, {width}x{height}', pictures)


def _column(heading: str, pictures: Sequence[U8]) -> U8:
    """Return a column, BGR [H, W, 3]: the heading and below it the pictures."""
    line = _blank(_LINE_PX, _PANEL_HW[1])
    plain = heading.encode('ascii', 'replace').decode()
    cv2.putText(line, plain, (0, _LINE_PX - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.5,
                (_INK, _INK, _INK), 1, cv2.LINE_AA)
    parts = [line]
    for picture in pictures:
        panel = cv2.resize(picture, _PANEL_HW[::-1], interpolation=cv2.INTER_AREA)
        parts += [np.asarray(panel, np.uint8), _blank(_GAP_PX, _PANEL_HW[1])]
    return np.concatenate(parts[:-1])


def _beside(columns: Sequence[U8]) -> U8:
    gap = _blank(columns[0].shape[0], _GAP_PX)
    return np.concatenate(
        [part for column in columns for part in (column, gap)][:-1], axis=1)


def _blank(height: int, width: int) -> U8:
    return np.full((height, width, 3), _PAPER, np.uint8)


if __name__ == '__main__':
    sys.exit(main())
