"""Figures of the filled depth over a small folder in the layout of images/rgbd."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from tools.measure import filled


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two RGB-D pairs; the red of each image is 120 / z."""
    for number in range(2):
        rng = np.random.default_rng(number)
        depth_m = cv2.resize(rng.uniform(0.6, 6, (5, 7)), (160, 120))
        red = np.clip(120 / depth_m, 0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f'rgb_{number}.png'), cv2.merge([red] * 3))
        cv2.imwrite(str(tmp_path / f'depth_{number}.png'), (depth_m * 1000).astype(np.uint16))
    return tmp_path


def red(image_bgr: np.ndarray) -> np.ndarray:
    """Return the inverse depth that a perfect model finds."""
    return image_bgr[..., 2].astype(np.float32)


def test_a_perfect_model_fills_without_error_and_keeps_what_is_right(folder: Path) -> None:
    figures = filled.filled_figures(folder, red)
    assert set(figures) == {'filled_absrel', 'filled_absrel_no_seam', 'filled_absrel_dense',
                            'filled_kept', 'filled_kept_wrong', 'filled_ratio'}
    assert figures['filled_absrel'] < 0.02 and figures['filled_absrel_no_seam'] < 0.02
    assert figures['filled_kept'] > 0.95 and figures['filled_kept_wrong'] < 0.05
    assert figures['filled_ratio'] == pytest.approx(
        figures['filled_absrel'] / figures['filled_absrel_dense'])


def test_the_filled_pixels_carry_the_error_of_the_model(folder: Path) -> None:
    """Depth of one plane more in the right half, which no scale and shift corrects."""
    def wrong_half(image_bgr: np.ndarray) -> np.ndarray:
        inverse = red(image_bgr)
        inverse[:, 80:] *= 0.85
        return inverse

    figures = filled.filled_figures(folder, wrong_half)
    assert 0.03 < figures['filled_absrel'] < figures['filled_absrel_no_seam'] < 0.15
    assert figures['filled_absrel_dense'] > 0.03


def test_the_removed_share_is_exact_and_only_of_valid_pixels() -> None:
    valid = np.ones((60, 80), bool)
    valid[:20] = False
    chosen = filled._blobs(valid, 0.6, 0.03, 1)
    assert chosen.sum() == pytest.approx(0.6 * valid.sum(), rel=0.01)
    assert not chosen[:20].any()


def test_missing_data_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                               capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(filled, 'local_checkpoint', lambda: None)
    assert filled.main([]) == 1
    assert 'lacks weights' in capsys.readouterr().err
