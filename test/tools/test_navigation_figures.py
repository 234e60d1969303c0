"""The figures of stability and of the edge filter, on views made by arithmetic."""

from pathlib import Path

import cv2
import numpy as np
from tools.measure.navigation_cloud import cloud_figures, cloud_pictures
from tools.measure.navigation_stability import stability_figures

F32 = np.ndarray


def truth(number: int) -> F32:
    """Return a depth map [m] of a box that moves before a slanted wall."""
    depth_m = np.repeat(np.linspace(2.0, 3.0, 640, dtype=np.float32)[None], 480, axis=0)
    depth_m[150:300, 100 + 4 * number:260 + 4 * number] = 1.2
    return depth_m


def network_map(depth_m: F32, scale: float = 1.0, shift: float = 0.0) -> F32:
    """Return what a network gives: blurred inverse depth of its own scale and size."""
    blurred = cv2.GaussianBlur(1 / depth_m, (0, 0), 2.0)
    small = cv2.resize(blurred, (343, 259), interpolation=cv2.INTER_LINEAR)
    return (small * np.float32(scale) + np.float32(shift)).astype(np.float32)


def test_flicker_goes_down_and_accuracy_does_not_when_only_the_scale_flickers() -> None:
    rng = np.random.default_rng(0)
    truths = [truth(number) for number in range(24)]
    maps = [network_map(depth_m, float(np.exp(rng.normal(0, 0.1))), float(rng.normal(0, 0.05)))
            for depth_m in truths]
    figures = stability_figures(maps, truths)
    for rate in ('', '_10_hz', '_5_hz'):
        assert figures[f'flicker_after{rate}'] < 0.5 * figures[f'flicker_before{rate}']
        assert figures[f'sequence_absrel_after{rate}'] < figures[f'sequence_absrel_before{rate}']


def test_a_sequence_that_is_right_has_no_flicker() -> None:
    truths = [truth(number) for number in range(8)]
    figures = stability_figures([1 / depth_m for depth_m in truths], truths)
    assert figures['flicker_before'] < 1e-5 and figures['sequence_absrel_before'] < 1e-5
    assert figures['flicker_after'] < 0.01


def test_the_filter_makes_clouds_of_blurred_edges_more_precise() -> None:
    truths = [truth(0), truth(10)]
    figures = cloud_figures([network_map(depth_m) for depth_m in truths], truths)
    assert figures['edge_filter_precision_before'] < figures['edge_filter_precision_after'] <= 1
    assert 0.9 < figures['edge_filter_kept'] < 1


def test_without_a_filter_nothing_is_lost() -> None:
    figures = cloud_figures([network_map(truth(0))], [truth(0)], threshold=0.0)
    assert figures['edge_filter_kept'] == 1
    assert figures['edge_filter_precision_before'] == figures['edge_filter_precision_after']


def test_the_pictures_show_both_halves(tmp_path: Path) -> None:
    for number in (75, 165):
        gray = np.full((480, 640, 3), 200, np.uint8)
        cv2.imwrite(str(tmp_path / f'rgb_{number:05d}.jpg'), gray)
        to_millimetres = (truth(0) * 1000).astype(np.uint16)
        cv2.imwrite(str(tmp_path / f'depth_{number:05d}.png'), to_millimetres)
    written = cloud_pictures(tmp_path, tmp_path, lambda image_bgr: network_map(truth(0)))
    assert [path.name for path in written] == ['cloud_vs_truth.jpg', 'edge_filter.jpg']
    for path in written:
        picture = cv2.imread(str(path))
        middle = picture.shape[1] // 2
        assert (picture[:, :middle] > 150).sum() > 1000
        assert (picture[:, middle:] > 150).sum() > 1000
