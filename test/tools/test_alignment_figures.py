"""Figures of the alignment over a small folder in the layout of images/."""

from pathlib import Path

import cv2
import numpy as np
from tools.measure import navigation_alignment


def folder_of_rooms(folder: Path) -> Path:
    """Write two RGB-D pairs and eleven frames; red of each image is 40 / z, made noisy."""
    for name, suffix, count in (('rgbd', 'png', 2), ('sequence', 'jpg', 11)):
        (folder / name).mkdir()
        for number in range(count):
            rng = np.random.default_rng(number)
            depth_m = cv2.resize(rng.uniform(0.6, 8, (5, 7)), (64, 48),
                                 interpolation=cv2.INTER_LINEAR)
            noisy = 120 / depth_m * np.exp(0.05 * rng.standard_normal(depth_m.shape)) + 20
            gray = np.clip(noisy, 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / name / f'rgb_{number:05}.{suffix}'), cv2.merge([gray] * 3))
            cv2.imwrite(str(folder / name / f'depth_{number:05}.png'),
                        (depth_m * 1000).astype(np.uint16))
    return folder


def test_figures_tell_how_near_few_points_come_to_all(tmp_path: Path) -> None:
    seen = []

    def depth_of(image_bgr: np.ndarray) -> np.ndarray:
        seen.append(image_bgr.shape)
        return image_bgr[..., 2].astype(np.float32)

    figures = navigation_alignment.alignment_figures(folder_of_rooms(tmp_path), depth_of)
    assert seen == [(48, 64, 3)] * 4
    assert set(figures) == {
        'alignment_excess_absrel', 'alignment_excess_absrel_40', 'alignment_excess_absrel_surface',
        'alignment_cost_share', 'ground_absrel_tilt_0', 'ground_absrel_tilt_2_scale_shift',
        'ground_absrel_tilt_2_scale'}
    assert figures['alignment_excess_absrel'] < 0.1
    assert figures['alignment_excess_absrel_40'] < 0.1
    assert figures['alignment_cost_share'] > 0
    assert figures['ground_absrel_tilt_0'] < 0.04
    assert figures['ground_absrel_tilt_2_scale'] < 0.05
    assert 0.05 < figures['ground_absrel_tilt_2_scale_shift'] < 0.15
