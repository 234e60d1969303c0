"""The model in the box sees depth: in photographs, and as measured where that is at hand."""

from contextlib import closing
from functools import partial

import pytest

cv2 = pytest.importorskip('cv2')
pytest.importorskip('openvino')

from depth_anything_ros.benchmark.ladder_accuracy import score_on  # noqa: E402, I100
from depth_anything_ros.benchmark.ladder_steps import Config  # noqa: E402
from depth_anything_ros.inference.engine import Engine, EngineOptions  # noqa: E402
from depth_anything_ros.inference.pool import wait_for_one  # noqa: E402
from depth_anything_ros.resources import photographs, shipped_model  # noqa: E402
from depth_anything_ros.vision.color_image import ColorImage  # noqa: E402
import numpy as np  # noqa: E402
from tools.measure.box_model_figures import open_frames  # noqa: E402
from tools.measure.figures import read_figures  # noqa: E402
from tools.shared_data import SHARED  # noqa: E402

# Boxes (top, bottom, left, right) in shares of a photograph: one on something near, one on
# something behind it.
NEAR_AND_FAR = {
    'camera': ((0.45, 0.75, 0.1, 0.3), (0.3, 0.45, 0.75, 0.95)),
    'coffee': ((0.3, 0.7, 0.35, 0.65), (0.0, 0.1, 0.0, 0.15)),
    'motorcycle': ((0.45, 0.7, 0.35, 0.6), (0.0, 0.15, 0.4, 0.6)),
}


def depth_of(name: str) -> np.ndarray:
    """Return the inverse depth of a photograph that comes with the package."""
    picture = cv2.imread(str(photographs() / f'{name}.jpg'))
    with closing(Engine(shipped_model(), EngineOptions(image_hw=picture.shape[:2]))) as engine:
        return wait_for_one(partial(engine.submit, ColorImage(picture, 'bgr')))


def median_in(depth: np.ndarray, box: tuple[float, float, float, float]) -> float:
    """Return the median of a box in shares of the map."""
    height, width = depth.shape
    top, bottom, left, right = box
    return float(np.median(depth[int(top * height):int(bottom * height),
                                 int(left * width):int(right * width)]))


@pytest.mark.parametrize('name', NEAR_AND_FAR)
def test_what_is_near_in_a_photograph_is_nearer_than_what_is_behind_it(name: str) -> None:
    depth = depth_of(name)
    near, far = (median_in(depth, box) for box in NEAR_AND_FAR[name])
    assert near > far + 0.5 * depth.std(), (near, far)
    assert (depth == 0).mean() < 0.5


def test_measured_depth_is_met_as_well_as_the_figures_say() -> None:
    folder = SHARED / 'images'
    if not all((folder / name).is_dir() for name in ('rgbd', 'moving', 'sequence')):
        pytest.skip('../shared/images is missing or incomplete')
    expected = read_figures('box_model')
    found = score_on(open_frames(folder)['rgbd'], Config('model', 0, shipped_model(), 'auto'))
    # Another processor may compute in another precision.
    assert found.abs_rel == pytest.approx(expected['rgbd_absrel'], abs=0.01)
    assert found.delta1 == pytest.approx(expected['rgbd_delta1'], abs=0.03)
