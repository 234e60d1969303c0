"""Pictures as the reference draws them."""

from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.drawing import draw, make_look
import numpy as np
from numpy.testing import assert_array_equal
import pytest

DEPTH = np.random.default_rng(0).uniform(0.3, 9.0, (30, 40)).astype(np.float32)
IMAGE = ColorImage(np.random.default_rng(1).integers(0, 255, (30, 40, 3), dtype=np.uint8), 'bgr')


def drawn(kind: str, color_map: str, pred_only: bool = True) -> np.ndarray:
    """Return the picture of DEPTH over its whole range."""
    look = make_look(kind, color_map, pred_only)  # type: ignore[arg-type]
    return draw(look, IMAGE, DEPTH, float(DEPTH.min()), float(DEPTH.max()))


@pytest.mark.parametrize(('kind', 'name'), [('relative', 'Spectral_r'), ('metric', 'Spectral')])
def test_colours_are_those_of_the_reference(kind: str, name: str) -> None:
    matplotlib = pytest.importorskip('matplotlib')
    levels = ((DEPTH - DEPTH.min()) / (DEPTH.max() - DEPTH.min()) * 255.0).astype(np.uint8)
    colors = matplotlib.colormaps.get_cmap(name)
    expected = (colors(levels)[:, :, :3] * 255)[:, :, ::-1].astype(np.uint8)
    # A rounding to the neighbouring level is a few steps of colour, in a few pixels.
    difference = np.abs(drawn(kind, 'spectral_r').astype(int) - expected)
    assert np.percentile(difference, 99) <= 1
    assert difference.max() <= 8


def test_near_is_red_whatever_the_unit() -> None:
    for kind, near in (('relative', DEPTH.argmax()), ('metric', DEPTH.argmin())):
        blue, green, red = drawn(kind, 'spectral_r').reshape(-1, 3)[near].astype(int)
        assert red > 150 and green < 10 and blue < 80


@pytest.mark.parametrize('kind', ['relative', 'metric'])
def test_gray_is_brighter_for_the_larger_value(kind: str) -> None:
    picture = drawn(kind, 'gray')
    assert picture.reshape(-1, 3)[DEPTH.argmax()].tolist() == [255, 255, 255]
    assert picture.reshape(-1, 3)[DEPTH.argmin()].tolist() == [0, 0, 0]


def test_the_image_stands_left_of_a_white_gap_of_50_pixels() -> None:
    picture = drawn('relative', 'turbo', pred_only=False)
    assert_array_equal(picture[:, :40], IMAGE.pixels)
    assert (picture[:, 40:90] == 255).all()
    assert_array_equal(picture[:, 90:], drawn('relative', 'turbo'))


def test_a_map_of_one_value_is_drawn() -> None:
    flat = np.full((30, 40), 3.0, np.float32)
    picture = draw(make_look('relative', 'gray', True), IMAGE, flat, 3.0, 3.0)
    assert not picture.any()
