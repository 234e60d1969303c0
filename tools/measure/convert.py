"""
Measure conversions of other networks, and the sky filter; write docs/figures/convert.json.

``python -m tools.measure.convert --published FOLDER`` needs a checkout of Depth-Anything-3 of
ByteDance-Seed, with einops and addict installed, and a folder ../shared with weights/ (a
checkpoint) and images/. It takes about five minutes. ``--only sky`` measures one part.

Weights of other networks are not needed: stand-ins with random weights have their operators, and
Depth Anything 3 is compared in its real size, with random weights, with the published code.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
import sys
import tempfile
from types import ModuleType
from typing import Any

import cv2
from depth_anything_ros.api import load_model
from depth_anything_ros.arrays import Bools, F32, U8
from depth_anything_ros.convert.conversion import convert, Job
from depth_anything_ros.convert.parity.measure import card_input
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.networks.depth_anything import build_network
from depth_anything_ros.networks.models import find_encoder
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.sky import sky_mask
import numpy as np
from tools.measure.figures import read_figures, requote_pages, ROOT, rounded, write_figures
from tools.shared_data import (
    CHECKPOINT_OVERRIDES, CORPUS, IMAGES, local_checkpoint, require_data)
import torch

COMMAND = 'python -m tools.measure.convert --published FOLDER'
_PARTS = ('foreign', 'da3', 'sky')
# Photographs of the corpus and of the photos that show sky, seen by eye.
_WITH_SKY = (IMAGES / 'photos' / 'demo01.jpg', CORPUS / 'images' / '03300.jpg',
             CORPUS / 'images' / '04480.jpg')
_DESCRIPTIONS: tuple[dict[str, Any], ...] = (
    {'output': 'depth', 'color': 'bgr'}, {'output': 'depth', 'metres': True}, {'metres': True},
    {'output': 'depth', 'metres': 'focal', 'focal_px': 300.0, 'resize': 'longest_side'},
    {'resize': 'letterbox'})
_SIZES_HW = ((504, 504), (378, 504))
# Colours of neighbours that differ by less than this belong to the same sky.
_SAME_SKY = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return 0, or 1 with a sentence if something is missing."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument('--published', type=Path, metavar='FOLDER')
    parser.add_argument('--only', choices=_PARTS)
    options = parser.parse_args(arguments)
    parts = [options.only] if options.only else [*_PARTS]
    figures: dict[str, float] = {}
    try:
        if 'foreign' in parts:
            figures['foreign_parity_max'] = foreign_parity()
        if 'da3' in parts:
            if options.published is None:
                parser.error('--published FOLDER is missing')
            figures |= da3_parity(options.published)
        if 'sky' in parts:
            figures |= sky_figures()
    except (DepthAnythingError, OSError, ImportError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    figures = rounded(figures)
    for name, value in figures.items():
        print(f'{name:28} {value:g}')
    kept = read_figures('convert') if options.only else ()
    path = write_figures('convert', COMMAND, figures, kept=kept)
    print(f'wrote {path} and the pages that quote it')
    requote_pages()
    return 0


def foreign_parity() -> float:
    """Return the largest error in f32 of stand-ins against ONNX Runtime, in their deviations."""
    stand_ins = _load(ROOT / 'test' / 'support' / 'foreign.py')
    errors = []
    with tempfile.TemporaryDirectory() as folder, _on_path(ROOT / 'test' / 'support'):
        root = Path(folder)
        sources = [(stand_ins.write_zipdepth(root / f'zip{unfold}.onnx', (384, 512),
                                             unfold=unfold), None) for unfold in (True, False)]
        sources += [(stand_ins.write_network(root / 'yolo.onnx', {'output0': 'exp'}, properties={
            'author': 'Ultralytics', 'task': 'depth'}, shape=(1, 3, 768, 768)), None)]
        for number, changes in enumerate(_DESCRIPTIONS):
            sources.append((stand_ins.write_network(root / f'{number}.onnx', {'y': 'linear'}),
                            stand_ins.write_facts(root / f'{number}.yaml', **changes)))
        for source, facts in sources:
            done = convert(Job(source, source.with_suffix('.xml'), 'fp32', describe=facts))
            errors.append(done.parity.worst('OpenVINO'))
    return max(errors)


def da3_parity(published: Path) -> dict[str, float]:
    """
    Return the largest errors against the published code with random weights, at two sizes.

    Those of depth are in standard deviations of the logarithm of depth, those of sky absolute.
    """
    with _on_path(published / 'src'):
        # Its __init__.py imports the networks for several views, which need more packages.
        package = ModuleType('depth_anything_3.model')
        package.__path__ = [str(published / 'src' / 'depth_anything_3' / 'model')]
        sys.modules[package.__name__] = package
        from depth_anything_3.model.dinov2.dinov2 import (  # type: ignore[import-not-found]
            DinoV2)
        from depth_anything_3.model.dpt import DPT  # type: ignore[import-not-found]

        torch.manual_seed(0)
        backbone = DinoV2('vitl', [4, 11, 17, 23], cat_token=False).eval()
        head = DPT(1024).eval()
    spec = find_encoder('da3_vitl')
    weights = {f'depth_head.{name}': value for name, value in _random(head).items()}
    weights |= _random(backbone)
    network = build_network(spec, 'v3', None, weights)
    errors: dict[str, list[float]] = {'depth': [], 'sky': []}
    for size_hw in _SIZES_HW:
        image = torch.from_numpy(card_input(size_hw, spec.input_spec))
        with torch.inference_mode():
            features, _ = backbone(image[None])
            expected = head(features, *size_hw, patch_start_idx=0)
            depth, sky = network.maps(image)
        log_depth = expected['depth'][0].log()
        found = -depth.log()
        errors['depth'].append(float(((found - log_depth).abs() / log_depth.std()).max()))
        errors['sky'].append(float((sky - expected['sky'][0]).abs().max()))
    return {'da3_parity_max': max(errors['depth']), 'da3_sky_parity_max': max(errors['sky'])}


def _random(module: Any) -> dict[str, torch.Tensor]:
    """Fill a module with random weights whose output is not flat, and return them."""
    for name, value in module.named_parameters():
        if 'gamma' in name:
            value.data.uniform_(0.05, 0.2)
        elif 'norm' in name and name.endswith('weight'):
            value.data.uniform_(0.8, 1.2)
        elif name.endswith(('bias', 'cls_token')):
            value.data.normal_(0, 0.1)
        elif name.endswith('pos_embed'):
            value.data.normal_(0, 0.5)
        else:
            value.data.normal_(0, value[0].numel() ** -0.5)
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def sky_figures() -> dict[str, float]:
    """
    Return the shares of pixels that the sky filter removes with a V2 model.

    They are those of the sky in photographs, of the rest of these, and of indoor images. The sky
    to compare with is the region of even colour at the upper border.
    """
    require_data()
    checkpoint = local_checkpoint()
    assert checkpoint is not None
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / 'v2.xml'
        convert(Job(checkpoint, target, overrides=CHECKPOINT_OVERRIDES), sizes_hw=((392, 518),))
        with load_model(target, input_size=392) as model:
            def removed(image: U8) -> Bools:
                depth: F32 = model.infer(image, output_size='native')
                mask = sky_mask(depth, model.info).astype(np.uint8)
                return cv2.resize(mask, (image.shape[1], image.shape[0]),
                                  interpolation=cv2.INTER_NEAREST) > 0

            pairs = [(removed(image), _sky_by_color(image)) for image in map(_read, _WITH_SKY)]
            indoor = [removed(_read(file)).mean()
                      for file in sorted((IMAGES / 'rgbd').glob('rgb_*.png'))]
    in_sky = [float(found[sky].mean()) for found, sky in pairs]
    elsewhere = [float(found[~sky].mean()) for found, sky in pairs]
    return {'sky_pixels_removed_share': float(np.mean(in_sky)),
            'sky_other_removed_share': float(np.mean(elsewhere)),
            'sky_indoor_removed_share': float(np.max(indoor))}


def _sky_by_color(image: U8) -> Bools:
    """Return the region of slowly changing, bright colour at the upper border."""
    smooth = cv2.GaussianBlur(cv2.resize(image, (640, 640 * image.shape[0] // image.shape[1])),
                              (5, 5), 0)
    mask = np.zeros((smooth.shape[0] + 2, smooth.shape[1] + 2), np.uint8)
    for column in range(0, smooth.shape[1], 4):
        if not mask[1, column + 1] and smooth[0, column].max() > 100:
            cv2.floodFill(smooth, mask, (column, 0), 0, (_SAME_SKY,) * 3, (_SAME_SKY,) * 3,
                          4 | cv2.FLOODFILL_MASK_ONLY)
    return cv2.resize(mask[1:-1, 1:-1], (image.shape[1], image.shape[0]),
                      interpolation=cv2.INTER_NEAREST) > 0


def _read(file: Path) -> U8:
    return to_bgr(read_picture(file))


def _load(path: Path) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


if __name__ == '__main__':
    sys.exit(main())
