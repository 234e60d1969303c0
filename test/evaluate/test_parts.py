"""The parts below the programs: predictions in flight, results, reports and pictures."""

from collections.abc import Callable
import json
from pathlib import Path

import cv2
from depth_anything_ros.cli.reports import to_json
from depth_anything_ros.errors import ImageError
from depth_anything_ros.evaluate.compare import parity_panels
from depth_anything_ros.evaluate.gallery import Case, Gallery
from depth_anything_ros.evaluate.predictions import (
    compute_order, ModelFacts, ModelOptions, open_model, predict, Prediction)
from depth_anything_ros.evaluate.results import (
    as_dict, Evaluation, Failure, ImageScores, mean_of, to_markdown, worst_first, worst_of)
from depth_anything_ros.evaluate.rgbd import depth_panels
from depth_anything_ros.vision.agreement import Agreement
from depth_anything_ros.vision.colorize import color_table
import numpy as np
import pytest
from tiny import weighted_sum

GREY = (128, 128, 128)
FACTS = ModelFacts('a.xml', 'a.pth', 'vits', 'relative', 'fp16', 'CPU', 'f32', 518)


def write(folder: Path, sizes_hw: list[tuple[int, int]]) -> list[Path]:
    """Write an image of one colour each and return the paths."""
    files = []
    for number, (height, width) in enumerate(sizes_hw):
        files.append(folder / f'{number}.png')
        image = np.full((height, width, 3), 20 + 10 * number, np.uint8)
        assert cv2.imwrite(str(files[-1]), image)
    return files


def test_sizes_that_alternate_are_computed_one_after_the_other(
        tmp_path: Path, tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    files = write(tmp_path, [(112, 154), (154, 112), (112, 154), (154, 112), (224, 308)])
    (tmp_path / '5.png').write_bytes(b'damaged')
    with open_model(tiny_ir, ModelOptions()) as model:
        assert compute_order([*files, tmp_path / '5.png'], model) == [0, 2, 4, 1, 3, 5]
    with open_model(make_ir(fixed_size_hw=(56, 56)), ModelOptions()) as model:
        assert compute_order(files, model) == [0, 1, 2, 3, 4]


def test_images_that_are_one_size_to_a_model_and_two_to_the_other_do_not_alternate(
        tmp_path: Path, tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    files = write(tmp_path, [(112, 136), (112, 144), (112, 136), (112, 144)])
    coarse, fixed = make_ir(patch_multiple=32, input_size=64), make_ir(fixed_size_hw=(56, 56))
    with open_model(tiny_ir, ModelOptions()) as model:
        assert compute_order(files, model) == [0, 1, 2, 3]
        with open_model(coarse, ModelOptions()) as other:
            assert compute_order(files, model, other) == [0, 2, 1, 3]
            with open_model(fixed, ModelOptions()) as third:
                assert compute_order(files, third, other) == [0, 2, 1, 3]


def test_every_file_gets_its_own_prediction_in_the_given_order(
        tmp_path: Path, make_ir: Callable[..., Path]) -> None:
    files = write(tmp_path, [(112, 112)] * 7)
    files[2].write_bytes(b'damaged')
    order = [6, 0, 2, 4, 1, 3, 5]
    with open_model(make_ir(slow_layers=3), ModelOptions(precision='f32')) as model:
        assert model._engine.engine.capacity == 2
        outcomes = list(predict(model, files, order))
    assert [isinstance(one, ImageError) for one in outcomes] == [index == 2 for index in order]
    for index, outcome in zip(order, outcomes):
        if isinstance(outcome, Prediction):
            image = np.full((112, 112, 3), 20 + 10 * index, np.uint8)
            np.testing.assert_array_equal(outcome.image_bgr, image)
            np.testing.assert_allclose(outcome.depth, weighted_sum(image), rtol=1e-3)


def test_the_next_images_are_started_before_a_result_is_looked_at(
        tmp_path: Path, tiny_ir: Path) -> None:
    files = write(tmp_path, [(112, 112)] * 9)
    started: list[object] = []
    with open_model(tiny_ir, ModelOptions()) as model:
        engine = model._engine.engine
        submit = engine.submit

        def counted(image: object, done: object) -> None:
            started.append(image)
            submit(image, done)

        engine.submit = counted
        for number, _ in enumerate(predict(model, files, range(9)), start=1):
            assert len(started) == min(9, number + engine.capacity)


def agreements() -> list[ImageScores[Agreement]]:
    """Return three images; the worst AbsRel and the worst Pearson are in different ones."""
    return [ImageScores('a', Agreement(0.1, 0.7)), ImageScores('b', Agreement(0.3, 0.9)),
            ImageScores('c', Agreement(0.2, 0.8))]


def test_each_figure_is_averaged_and_its_worst_found_separately() -> None:
    mean = mean_of(agreements())
    assert (mean.abs_rel, mean.pearson) == (pytest.approx(0.2), pytest.approx(0.8))
    assert worst_of(agreements()) == Agreement(0.3, 0.7)
    assert [one.name for one in worst_first(agreements())] == ['b', 'c', 'a']


def test_reports_hold_facts_figures_and_failures() -> None:
    unmatched = tuple(f'{number}.png' for number in range(7))
    images = (ImageScores('a|b.png', Agreement(float('inf'), 0.5)),)
    found = Evaluation(FACTS, 'some protocol', images[0].scores, images[0].scores, images,
                       (Failure('c.png', 'it is broken'),), {}, FACTS, unmatched)
    page = to_markdown(found)
    for part in ('# a.xml', '- reference: a.xml, vits relative, fp16 weights', 'some protocol',
                 '| a\\|b.png | inf | 0.5000 |', 'Failed: c.png: it is broken',
                 'counterpart: 7 (0.png, 1.png, 2.png, 3.png, 4.png, ...)'):
        assert part in page
    content = json.loads(to_json(as_dict(found)))
    assert content['images'] == [{'name': 'a|b.png', 'abs_rel': None, 'pearson': 0.5}]
    assert content['unmatched'] == list(unmatched)
    assert content['failed'] == [{'name': 'c.png', 'reason': 'it is broken'}]


def test_unknown_depth_is_grey_and_errors_go_from_dark_to_bright() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    truth = np.full((8, 8), 2.0, np.float32)
    truth[0], truth[1] = np.nan, 4.0
    predicted = truth.copy()
    predicted[2], predicted[3:5] = np.nan, 2 * truth[3:5]
    _, prediction, measured, error = depth_panels(image, predicted, truth)
    table = color_table('inferno')[:, 0]
    assert (measured[0] == GREY).all() and (prediction[2] == GREY).all()
    assert (error[[0, 2]] == GREY).all()
    assert (error[1] == table[0]).all() and (error[4] == table[255]).all()
    np.testing.assert_array_equal(measured[5], prediction[5])


def test_a_scale_is_no_difference_in_the_picture_of_two_relative_models() -> None:
    expected = np.random.default_rng(0).uniform(1, 7, (20, 28)).astype(np.float32)
    image = np.zeros((40, 56, 3), np.uint8)
    _, found, reference, difference = parity_panels(image, 3 * expected + 1, expected, True)
    assert found.shape == reference.shape == difference.shape == image.shape
    assert np.abs(found.astype(int) - reference).max() <= 8
    assert (difference == color_table('inferno')[0, 0]).mean() > 0.99
    flat = parity_panels(image, np.ones_like(expected), expected, True)
    assert (flat[1] == GREY).all() and (flat[3] == GREY).all()


def case(name: str, badness: float) -> Case:
    """Return a case with a picture."""
    return Case(name, 'a caption', badness, lambda: [np.zeros((30, 60, 3), np.uint8)] * 2)


def test_a_gallery_keeps_the_extremes_of_any_number_of_cases_from_bad_to_good() -> None:
    gallery = Gallery(('image', 'map'), count=2)
    for badness in (0.5, 0.1, 0.9, 0.4, 0.3, 0.8, 0.2):
        gallery.offer(case(f'{badness}', badness))
    assert [one.name for one in gallery.kept()] == ['0.9', '0.8', '0.2', '0.1']


def test_a_case_among_the_worst_and_the_best_is_drawn_once() -> None:
    gallery = Gallery(('image', 'map'), count=3)
    for badness in (0.2, 0.1):
        gallery.offer(case('bild-ü.png', badness))
    sheet = gallery.sheet()
    assert sheet.shape == (26 + 2 * (26 + 180 + 6), 6 + 2 * 366, 3)
    assert (sheet[26:52, :300] < 100).any(), 'no name is written above the row'
    with pytest.raises(ValueError, match='no case'):
        Gallery(('image',)).sheet()
