"""Scores, pairs and agreement of models whose output can be computed by hand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
import json
from pathlib import Path

import cv2
from depth_anything_ros.errors import DatasetError, ImageError, ModelError
from depth_anything_ros.evaluate.compare import compare_maps, compare_models, PARITY_HEADINGS
from depth_anything_ros.evaluate.gallery import Gallery
from depth_anything_ros.evaluate.pairs import (
    evaluate_pairs, PairedImage, PAIRS_HEADINGS, read_pairs)
from depth_anything_ros.evaluate.predictions import ModelOptions
from depth_anything_ros.evaluate.rgbd import evaluate_rgbd, RGBD_HEADINGS
from depth_anything_ros.media.rgbd_folder import open_folder, RgbdConfig, RgbdDataset
from depth_anything_ros.vision.accuracy import align_relative, score_depth
from depth_anything_ros.vision.agreement import rank_correlation
from depth_anything_ros.vision.depth import DepthRange
from depth_anything_ros.vision.transforms import resize_depth, resize_for_network
import numpy as np
import pytest
from tiny import weighted_sum

F32 = ModelOptions(precision='f32')
# A multiple of 14 whose short side is the tiny model's input size: nothing is resized.
SIZE_HW = (112, 154)


def picture(seed: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """Return a smooth coloured image, BGR [H, W, 3]."""
    coarse = np.random.default_rng(seed).integers(40, 250, (4, 5, 3), np.uint8)
    return cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_LINEAR)


def save(folder: Path, number: int, image: np.ndarray, depth_m: np.ndarray) -> None:
    """Write a pair in millimetres."""
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / f'rgb_{number}.png'), image)
    cv2.imwrite(str(folder / f'depth_{number}.png'), np.round(depth_m * 1000).astype(np.uint16))


def dataset(folder: Path, maximum_m: float = 10.0) -> RgbdDataset:
    """Return the pairs in ``folder``."""
    return open_folder(folder, RgbdConfig('rgb_*.png', 'depth_*.png', 1000.0,
                                          DepthRange(0.1, maximum_m)))


def test_a_relative_model_is_fitted_to_each_image(tmp_path: Path, tiny_ir: Path) -> None:
    for number, (scale, shift) in enumerate([(0.1, 0.05), (0.3, 0.2)]):
        image = picture(number)
        save(tmp_path, number, image, 1 / (scale * weighted_sum(image) + shift))
    found = evaluate_rgbd(tiny_ir, dataset(tmp_path), F32)
    assert found.mean.abs_rel < 2e-3 and found.mean.delta1 == 1.0
    assert 'MiDaS' in found.protocol
    assert (found.model.file, found.model.kind, found.model.execution_precision) == (
        'tiny.xml', 'relative', 'f32')


def test_the_scores_are_those_of_the_map_at_the_size_of_the_image(
        tmp_path: Path, tiny_ir: Path) -> None:
    rng = np.random.default_rng(5)
    expected = []
    for number in range(3):
        image = picture(number)
        depth_m = rng.uniform(1, 9, SIZE_HW).astype(np.float32)
        save(tmp_path, number, image, depth_m)
        stored = np.round(depth_m * 1000).astype(np.float32) / 1000
        aligned = align_relative(weighted_sum(image), stored, DepthRange(0.1, 10.0))
        expected.append(score_depth(aligned, stored, DepthRange(0.1, 10.0)))
    found = evaluate_rgbd(tiny_ir, dataset(tmp_path), F32)
    assert [one.name for one in found.images] == ['rgb_0.png', 'rgb_1.png', 'rgb_2.png']
    for one, scores in zip(found.images, expected):
        assert one.scores.abs_rel == pytest.approx(scores.abs_rel, rel=1e-4)
        assert one.scores.silog == pytest.approx(scores.silog, rel=1e-4)
    mean = np.mean([one.abs_rel for one in expected])
    assert found.mean.abs_rel == pytest.approx(mean, rel=1e-4)
    assert found.worst.abs_rel == pytest.approx(max(one.abs_rel for one in expected), rel=1e-4)
    assert found.worst.delta1 == pytest.approx(min(one.delta1 for one in expected), abs=1e-3)


def test_images_of_other_sizes_are_scored_at_their_own_size(
        tmp_path: Path, tiny_ir: Path) -> None:
    for number, size_hw in enumerate([(120, 160), (300, 200), (121, 161)]):
        image = picture(number, size_hw)
        save(tmp_path, number, image, 1 / (0.1 * weighted_sum(image) + 0.05))
    found = evaluate_rgbd(tiny_ir, dataset(tmp_path), F32)
    assert found.failed == () and found.mean.abs_rel < 0.02
    assert [one.name for one in found.images] == ['rgb_0.png', 'rgb_1.png', 'rgb_2.png']


def test_a_metric_model_is_scored_without_alignment(
        tmp_path: Path, make_ir: Callable[..., Path]) -> None:
    model = make_ir(kind='metric', max_depth_m=20.0)
    image = picture(1)
    save(tmp_path, 1, image, 2 * weighted_sum(image))
    plain = evaluate_rgbd(model, dataset(tmp_path, 20.0), F32)
    assert plain.mean.abs_rel == pytest.approx(0.5, abs=1e-3)
    assert 'without alignment' in plain.protocol
    scaled = evaluate_rgbd(model, dataset(tmp_path, 20.0), F32, median_scaling=True)
    assert scaled.mean.abs_rel < 2e-3 and 'median' in scaled.protocol


def test_what_a_model_sees_at_infinity_counts_as_the_farthest_depth(
        tmp_path: Path, make_ir: Callable[..., Path]) -> None:
    """The inverse depth is negative, and depth up to 6 m is scored."""
    save(tmp_path, 1, picture(1), np.full(SIZE_HW, 5.0))
    known = dataset(tmp_path, 6.0)
    known = replace(known, config=replace(known.config, focal_px=(100.0, 100.0)))
    model = make_ir(focal_px=300.0, has_shift=False, gain=-1.0)
    assert evaluate_rgbd(model, known, F32).mean.abs_rel == pytest.approx(0.2)


def test_metres_by_the_focal_length_are_scored_where_it_is_known(
        tmp_path: Path, make_ir: Callable[..., Path]) -> None:
    """The network sees the image unchanged, so z is 1500 / 300 ÷ output, half of the truth."""
    model = make_ir(focal_px=300.0, has_shift=False)
    image = picture(1)
    save(tmp_path, 1, image, 10 / weighted_sum(image))
    unknown = dataset(tmp_path)
    known = replace(unknown, config=replace(unknown.config, focal_px=(1500.0, 1500.0)))
    found = evaluate_rgbd(model, known, F32)
    assert found.mean.abs_rel == pytest.approx(0.5, abs=2e-3)
    assert 'without alignment' in found.protocol and 'by the focal length' in found.protocol
    scaled = evaluate_rgbd(model, known, F32, median_scaling=True)
    assert scaled.mean.abs_rel < 5e-3
    fitted = evaluate_rgbd(model, unknown, F32)
    assert fitted.mean.abs_rel < 5e-3
    assert fitted.protocol.endswith('fitted because the focal length is unknown: add camera: '
                                    '[fx, fy, cx, cy] to the description for metres')
    with pytest.raises(ModelError, match='add camera'):
        evaluate_rgbd(model, unknown, F32, median_scaling=True)


def test_a_focal_length_does_not_change_other_models(tmp_path: Path, tiny_ir: Path) -> None:
    image = picture(1)
    save(tmp_path, 1, image, 1 / (0.3 * weighted_sum(image) + 0.05))
    pairs = dataset(tmp_path)
    found = evaluate_rgbd(tiny_ir, replace(pairs, config=replace(
        pairs.config, focal_px=(150.0, 150.0))), F32)
    assert found.mean.abs_rel < 5e-3 and 'focal' not in found.protocol


def test_median_scaling_of_a_relative_model_is_refused(
        tmp_path: Path, tiny_ir: Path) -> None:
    save(tmp_path, 1, picture(1), np.full(SIZE_HW, 2.0))
    with pytest.raises(ModelError, match='fitted to each image anyway'):
        evaluate_rgbd(tiny_ir, dataset(tmp_path), F32, median_scaling=True)


def test_files_that_cannot_be_read_are_named_and_all_others_are_scored(
        tmp_path: Path, tiny_ir: Path) -> None:
    for number in range(4):
        save(tmp_path, number, picture(number), np.full(SIZE_HW, 2.0))
    (tmp_path / 'rgb_0.png').write_bytes(b'damaged')
    cv2.imwrite(str(tmp_path / 'depth_1.png'), np.full(SIZE_HW, 9, np.uint8))
    cv2.imwrite(str(tmp_path / 'depth_2.png'), np.zeros(SIZE_HW, np.uint16))
    steps: list[tuple[int, int | None]] = []

    @contextmanager
    def counting(what: str, total: int | None, done: int) -> Iterator[Callable[..., None]]:
        yield lambda: steps.append((done + len(steps) + 1, total))

    found = evaluate_rgbd(tiny_ir, dataset(tmp_path), F32, counting=counting)
    assert [one.name for one in found.images] == ['rgb_3.png']
    assert [one.name for one in found.failed] == ['rgb_0.png', 'rgb_1.png', 'rgb_2.png']
    for failure, reason in zip(found.failed, ('decode', 'uint8', 'no measured depth')):
        assert reason in failure.reason
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    (tmp_path / 'depth_3.png').write_bytes(b'damaged')
    with pytest.raises(ImageError, match='none of 4 images'):
        evaluate_rgbd(tiny_ir, dataset(tmp_path), F32)


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1, picture(1), np.full(SIZE_HW, 2.0))
    with pytest.raises(ModelError, match='no such file'):
        evaluate_rgbd(tmp_path / 'none.xml', dataset(tmp_path), F32)


def test_the_gallery_shows_the_worst_and_the_best_images(tmp_path: Path, tiny_ir: Path) -> None:
    for number in range(8):
        image = picture(number)
        noise = np.random.default_rng(number).lognormal(0, 0.1 * number, SIZE_HW)
        save(tmp_path, number, image, np.clip(noise / (0.1 * weighted_sum(image) + 0.05), 0.1, 10))
    gallery = Gallery(RGBD_HEADINGS, count=2)
    found = evaluate_rgbd(tiny_ir, dataset(tmp_path), F32, gallery=gallery)
    assert [one.name for one in found.images if one.scores.abs_rel < 0.01] == ['rgb_0.png']
    sheet = gallery.sheet()
    panel_px = round(112 * 360 / 154)
    assert sheet.shape == (26 + 4 * (26 + panel_px + 6), 6 + 4 * 366, 3)
    assert [case.name for case in gallery.kept()] == [
        'rgb_7.png', 'rgb_6.png', 'rgb_1.png', 'rgb_0.png']
    last_row = sheet[-panel_px - 6:-6]
    assert last_row[:, 1104:1464].mean() < 25 < sheet[52:52 + panel_px, 1104:1464].mean()


def annotate(folder: Path, content: object) -> Path:
    """Write an annotation file."""
    path = folder / 'annotations.json'
    path.write_text(json.dumps(content))
    return path


def pair(first: tuple[int, int], second: tuple[int, int], closer: str) -> dict[str, object]:
    """Return one entry of an annotation file."""
    return {'point1': list(first), 'point2': list(second), 'closer_point': closer}


@pytest.fixture
def halves(tmp_path: Path) -> tuple[Path, tuple[PairedImage, ...]]:
    """Return a root folder and pairs on images whose right half is brighter than the left."""
    image = np.full((*SIZE_HW, 3), 50, np.uint8)
    image[:, 77:] = 200
    left, right = (100, 20), (10, 150)
    content = {
        'images/indoor/a.png': [pair(right, left, 'point1'), pair(left, right, 'point2'),
                                pair((60, 30), (60, 140), 'point1'),
                                pair((5, 5), (6, 6), 'point1')],
        'images/outdoor/b.png': [pair(left, right, 'point2')]}
    for name in content:
        (tmp_path / name).parent.mkdir(parents=True)
        cv2.imwrite(str(tmp_path / name), image)
    return tmp_path, read_pairs(annotate(tmp_path, content))


def test_points_are_rows_and_columns_and_ties_are_wrong(
        halves: tuple[Path, tuple[PairedImage, ...]], tiny_ir: Path) -> None:
    root, annotated = halves
    found = evaluate_pairs(tiny_ir, annotated, root, F32)
    assert (found.mean.accuracy, found.mean.pairs) == (pytest.approx(3 / 5), 5)
    assert {name: (one.accuracy, one.pairs) for name, one in found.groups.items()} == {
        'indoor': (0.5, 4), 'outdoor': (1.0, 1)}
    assert found.worst.accuracy == 0.5


def test_in_metres_the_smaller_value_is_nearer(
        halves: tuple[Path, tuple[PairedImage, ...]], make_ir: Callable[..., Path]) -> None:
    root, annotated = halves
    found = evaluate_pairs(make_ir(kind='metric', max_depth_m=20.0), annotated, root, F32)
    assert found.mean.accuracy == pytest.approx(1 / 5)


def test_right_pairs_are_drawn_green_and_wrong_ones_red(
        halves: tuple[Path, tuple[PairedImage, ...]], tiny_ir: Path) -> None:
    root, annotated = halves
    gallery = Gallery(PAIRS_HEADINGS)
    evaluate_pairs(tiny_ir, annotated, root, F32, gallery=gallery)
    indoor, outdoor = (case.draw()[0].astype(int) for case in gallery.kept())
    for panel, expected in ((indoor, (True, True)), (outdoor, (True, False))):
        green, red = (panel[..., channel] - panel[..., other] > 80
                      for channel, other in ((1, 2), (2, 1)))
        assert (green.any(), red.any()) == expected


def test_images_that_cannot_be_scored_are_named(
        halves: tuple[Path, tuple[PairedImage, ...]], tiny_ir: Path) -> None:
    root, annotated = halves
    content = {'images/outdoor/b.png': [pair((0, 0), (112, 3), 'point1')], 'c.png': [
        pair((0, 0), (1, 1), 'point1')]}
    found = evaluate_pairs(tiny_ir, (*annotated[:1], *read_pairs(annotate(root, content))), root,
                           F32)
    assert found.mean.pairs == 4
    assert [one.name for one in found.failed] == ['c.png', 'images/outdoor/b.png']
    assert 'cannot be read' in found.failed[0].reason
    assert 'pair 1 has the point [112, 3], which is outside of the 154x112' in (
        found.failed[1].reason)


@pytest.mark.parametrize(('content', 'sentence'), [
    ([], 'not an object of images'), ({}, 'not an object of images'),
    ({'a.png': []}, 'a.png has no list of pairs'),
    ({'a.png': [pair((0, 0), (1, 1), 'point1'), 7]}, 'a.png, pair 2 is 7'),
    ({'a.png': [pair((0, 0), (1, 1), 'point3')]}, "a.png, pair 1: closer_point is 'point3'"),
    ({'a.png': [pair((0, 0), (-1, 1), 'point1')]}, 'a.png, pair 1: point2 is [-1, 1]'),
    ({'a.png': [{'point1': [0, 1, 2]}]}, 'a.png, pair 1: point1 is [0, 1, 2]')])
def test_a_bad_annotation_file_names_the_entry(
        tmp_path: Path, content: object, sentence: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read_pairs(annotate(tmp_path, content))
    assert sentence in str(caught.value) and 'annotations.json' in str(caught.value)


def test_an_annotation_file_that_is_not_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match='cannot be read'):
        read_pairs(tmp_path / 'none.json')
    for content in (b'{"a": [', b'\xff\xfe'):
        (tmp_path / 'a.json').write_bytes(content)
        with pytest.raises(DatasetError, match='it is not JSON'):
            read_pairs(tmp_path / 'a.json')


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_an_annotation_file_may_have_the_encodings_of_windows(
        tmp_path: Path, encoding: str) -> None:
    path = annotate(tmp_path, {'ä.png': [pair((0, 0), (1, 1), 'point1')]})
    path.write_bytes(path.read_text().encode(encoding))
    (one,) = read_pairs(path)
    assert one.name == 'ä.png'


def write_pictures(folder: Path, count: int = 3) -> list[Path]:
    """Write images and return their paths."""
    files = [folder / f'{number}.png' for number in range(count)]
    for number, file in enumerate(files):
        cv2.imwrite(str(file), picture(number))
    return files


def test_a_model_agrees_with_itself_up_to_scale(
        tmp_path: Path, tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    found = compare_models(make_ir(gain=3.0), tiny_ir, write_pictures(tmp_path), F32)
    assert found.worst.abs_rel < 1e-5 and found.worst.pearson == pytest.approx(1)
    assert found.worst.rank_correlation == pytest.approx(1, abs=1e-4)
    assert len(found.images) == 3 and found.reference is not None


def test_images_are_named_by_their_path_below_the_folder_of_all(
        tmp_path: Path, tiny_ir: Path) -> None:
    files = []
    for folder in ('photos', 'rooms'):
        (tmp_path / folder).mkdir()
        files += write_pictures(tmp_path / folder, 1)
    found = compare_models(tiny_ir, tiny_ir, files)
    assert [one.name for one in found.images] == ['photos/0.png', 'rooms/0.png']


def test_metric_models_do_not_agree_up_to_scale(
        tmp_path: Path, make_ir: Callable[..., Path]) -> None:
    model, reference = (make_ir(kind='metric', max_depth_m=20.0, gain=gain) for gain in (1.2, 1.0))
    gallery = Gallery(PARITY_HEADINGS)
    found = compare_models(model, reference, write_pictures(tmp_path), F32, gallery=gallery)
    assert found.mean.abs_rel == pytest.approx(0.2, rel=1e-3)
    assert found.mean.pearson == pytest.approx(1)
    assert gallery.sheet()[60:200, 1104:1464].mean() > 150


def test_another_network_gets_bad_scores_and_its_worst_image_is_named(
        tmp_path: Path, tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    files = write_pictures(tmp_path)
    cv2.imwrite(str(files[1]), np.full((*SIZE_HW, 3), 90, np.uint8))
    gallery = Gallery(PARITY_HEADINGS)
    found = compare_models(make_ir(gain=3.0), tiny_ir, files, F32, gallery=gallery)
    assert (found.worst.abs_rel, found.worst.pearson, found.worst.rank_correlation) == (
        np.inf, 0.0, 0.0)
    assert gallery.kept()[0].name == '1.png'
    assert np.isfinite([found.images[index].scores.abs_rel for index in (0, 2)]).all()
    assert gallery.sheet().shape[2] == 3


def test_both_models_run_at_one_input_size(
        tmp_path: Path, tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    files = write_pictures(tmp_path, 1)
    other = make_ir(input_size=224)
    found = compare_models(tiny_ir, other, files)
    assert (found.model.input_size, found.reference.input_size) == (112, 112)
    found = compare_models(other, tiny_ir, files, ModelOptions(input_size=168))
    assert (found.model.input_size, found.reference.input_size) == (168, 168)
    assert found.reference.execution_precision == 'f32'


def test_a_model_of_one_size_decides_the_size_of_both(
        tmp_path: Path, tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    fixed = make_ir(fixed_size_hw=(56, 84), input_size=56)
    found = compare_models(fixed, tiny_ir, write_pictures(tmp_path, 1), F32)
    assert found.failed == () and found.worst.abs_rel < 1e-5


def test_maps_of_two_sizes_are_compared_at_the_size_of_the_image(
        tmp_path: Path, tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    coarse = make_ir(patch_multiple=32, input_size=64)
    gallery = Gallery(PARITY_HEADINGS)
    found = compare_models(coarse, tiny_ir, write_pictures(tmp_path, 1), F32, gallery=gallery)
    image = picture(0)
    small = weighted_sum(resize_for_network(image, (64, 96)))
    expected = rank_correlation(resize_depth(small, SIZE_HW), weighted_sum(image))
    assert 0.98 < expected < 0.9999
    assert found.mean.rank_correlation == pytest.approx(expected, abs=1e-4)
    assert found.mean.pearson > 0.98 and found.mean.abs_rel < 0.1
    assert gallery.sheet().shape[2] == 3
    fixed = make_ir(fixed_size_hw=(56, 56), input_size=56)
    assert compare_models(fixed, tiny_ir, write_pictures(tmp_path), F32).worst.pearson > 0.98


def test_a_reference_of_another_multiple_runs_at_its_own_size_or_the_one_it_is_given(
        tmp_path: Path, tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    files, coarse = write_pictures(tmp_path, 1), make_ir(patch_multiple=32, input_size=64)
    found = compare_models(coarse, tiny_ir, files, ModelOptions(96))
    assert (found.model.input_size, found.reference.input_size) == (96, 112)
    for reference in (coarse, tiny_ir):
        found = compare_models(tiny_ir, reference, files, ModelOptions(112), ModelOptions(168))
        assert (found.model.input_size, found.reference.input_size) == (112, 168)


def test_a_map_with_a_pixel_that_is_not_finite_gets_the_worst_scores() -> None:
    expected = np.random.default_rng(0).random(SIZE_HW, np.float32)
    found = expected.copy()
    found[3, 4] = np.nan
    scores = compare_maps(found, expected, relative=True)
    assert (scores.abs_rel, scores.pearson, scores.rank_correlation) == (np.inf, 0.0, 0.0)


def test_sky_that_both_metric_maps_have_does_not_count() -> None:
    expected = 1 + np.random.default_rng(0).random(SIZE_HW, np.float32)
    expected[:3] = np.nan
    scores = compare_maps(expected * np.float32(1.1), expected, relative=False)
    assert (scores.abs_rel, scores.pearson, scores.rank_correlation) == pytest.approx((0.1, 1, 1))
    scores = compare_maps(expected[:3], expected[:3], relative=False)
    assert (scores.abs_rel, scores.pearson, scores.rank_correlation) == (np.inf, 0.0, 0.0)


def test_a_relative_and_a_metric_model_cannot_be_compared(
        tmp_path: Path, tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match='it is metric, but'):
        compare_models(make_ir(kind='metric', max_depth_m=20.0), tiny_ir,
                       write_pictures(tmp_path, 1), F32)
