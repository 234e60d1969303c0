"""The ladder of the benchmark on models whose depth can be computed by hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import sys

import cv2
from depth_anything_ros.benchmark.ladder import LadderOptions, measure_ladder
from depth_anything_ros.benchmark.ladder_report import draw_ladder, pareto, Step, table_of
from depth_anything_ros.benchmark.ladder_steps import measure_speeds, plan_configs, Speed
from depth_anything_ros.benchmark.report import Report, Spread
from depth_anything_ros.errors import (
    DatasetError, ImageError, MissingDependencyError, ModelError, SettingsError)
from depth_anything_ros.evaluate.predictions import ModelOptions, open_model
from depth_anything_ros.evaluate.rgbd import evaluate_rgbd
from depth_anything_ros.evaluate.rgbd_folder import open_folder, RgbdConfig
from depth_anything_ros.resources import photographs
from depth_anything_ros.vision.agreement import agreement
from depth_anything_ros.vision.depth import DepthRange
from depth_anything_ros.vision.transforms import resize_depth, resize_for_network
import numpy as np
import pytest
from tiny import weighted_sum

SIZE_HW = (150, 200)


def write_picture(file: Path, seed: int) -> np.ndarray:
    """Write a coloured image with some detail and return it, BGR [H, W, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)
    image = cv2.resize(coarse, SIZE_HW[::-1], interpolation=cv2.INTER_LINEAR)
    file.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(file), image)
    return image


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder of two pictures."""
    for seed in (1, 2):
        write_picture(tmp_path / 'pictures' / f'{seed}.png', seed)
    return tmp_path / 'pictures'


@pytest.fixture
def rgbd(tmp_path: Path) -> Path:
    """Return a folder of two images with random depth between 1 and 9 m, in millimetres."""
    folder = tmp_path / 'rgbd'
    for seed in (3, 4):
        write_picture(folder / f'rgb_{seed}.png', seed)
        depth_m = np.random.default_rng(seed).uniform(1, 9, SIZE_HW)
        cv2.imwrite(str(folder / f'depth_{seed}.png'), (1000 * depth_m).astype(np.uint16))
    return folder


def measure(*models: Path, **options: object) -> Report:
    """Measure in one round, by default in f32 at two sizes."""
    wanted = {'rounds': 1, 'input_sizes': (112, 56), 'precisions': ('f32',)} | options
    return measure_ladder(LadderOptions(models, **wanted), lambda line: None)


def names(report: Report) -> list[str]:
    """Return the configurations that have figures."""
    return [name.removesuffix('_speed') for name in report.figures if name.endswith('_speed')]


def native(model: Path) -> str:
    """Return what auto executes on this machine."""
    with open_model(model, ModelOptions()) as depth_model:
        return depth_model.state.execution_precision


def test_every_precision_at_every_size_is_a_row_named_by_what_is_executed(
        pictures: Path, tiny_ir: Path) -> None:
    report = measure(tiny_ir, images=pictures, precisions=('f32', 'auto'))
    expected = {f'{line}_{size}' for line in ('f32', native(tiny_ir)) for size in (112, 56)}
    assert set(names(report)) == expected
    assert set(report.figures) == {f'{name}_{figure}' for name in expected
                                   for figure in ('speed', 'lost')}
    table, = report.tables
    assert sorted((row[0], row[1], row[2]) for row in table.rows) == sorted(
        (*name.split('_'), {'112': '154x112', '56': '70x56'}[name.split('_')[1]])
        for name in expected)


def test_what_is_executed_alike_is_one_row(tiny_ir: Path) -> None:
    precision = native(tiny_ir)
    plan = plan_configs((tiny_ir, tiny_ir), (precision, 'auto', precision), (56, 56))
    assert [str(config) for config in plan.configs] == [f'{precision} 56']


def test_an_int8_model_is_one_line_whatever_is_asked_for(
        tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    quantized = make_ir(precision='int8')
    plan = plan_configs((tiny_ir, quantized), ('f32',), (112, 56))
    assert [str(config) for config in plan.configs] == ['f32 112', 'f32 56', 'int8 112', 'int8 56']
    assert {config.precision for config in plan.configs if config.model == quantized} == {'auto'}


def test_a_second_model_in_the_same_precision_carries_its_name(
        tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    plan = plan_configs((tiny_ir, make_ir()), ('f32',), (56,))
    assert [str(config) for config in plan.configs] == ['f32 56', 'tiny_f32 56']
    with pytest.raises(ModelError, match='has the same name; rename one'):
        plan_configs((tiny_ir, make_ir(), make_ir()), ('f32',), (56,))


def test_a_model_of_a_fixed_size_is_one_row(
        pictures: Path, tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    fixed = make_ir(fixed_size_hw=(56, 84), input_size=56)
    report = measure(tiny_ir, fixed, images=pictures)
    assert names(report) == ['f32_112', 'f32_56', 'tiny_f32_56']
    assert ('tiny_f32', '56', '84x56') in [row[:3] for row in report.tables[0].rows]
    assert names(measure(fixed, images=pictures)) == ['f32_56']


def test_the_baseline_has_the_speed_one(pictures: Path, tiny_ir: Path) -> None:
    report = measure(tiny_ir, images=pictures, precisions=('auto',), rounds=2)
    line = native(tiny_ir)
    assert report.figures[f'{line}_112_speed'] == 1.0
    assert next(row[3] for row in report.tables[0].rows if row[1] == '112') == '1 (1 to 1)'
    assert report.settings['speed 1'].startswith(f'{line} 112 of tiny.xml, ')


def test_speed_is_relative_to_a_baseline_outside_the_ladder_too(
        make_ir: Callable[..., Path]) -> None:
    plan = plan_configs((make_ir(slow_layers=4),), ('f32',), (28,))
    assert str(plan.baseline) == 'auto 112'
    speeds = measure_speeds(plan.configs, plan.baseline, 1, lambda line: None)
    assert list(speeds) == list(plan.configs) and speeds[plan.configs[0]].relative.median > 2


def test_each_of_several_groups_is_measured_beside_the_baseline(
        tiny_ir: Path) -> None:
    plan = plan_configs((tiny_ir,), ('auto',), (112, *range(14, 154, 14)))
    logged: list[str] = []
    speeds = measure_speeds(plan.configs, plan.baseline, 2, logged.append)
    assert len(plan.configs) == 10 and list(speeds) == list(plan.configs)
    rounds = [line for line in logged if line.startswith('round')]
    assert [line.partition(':')[0] for line in rounds] == ['round 1 of 2', 'round 2 of 2'] * 2
    assert all(f'{plan.baseline} ' in line for line in rounds)
    assert [line for line in logged if line.startswith('speed')] == [
        'speed: 1 to 8 of 10', 'speed: 9 to 10 of 10']


def test_the_loss_is_that_of_the_depth_at_the_size_of_the_picture(
        pictures: Path, tiny_ir: Path) -> None:
    report = measure(tiny_ir, images=pictures)
    losses = []
    for file in sorted(pictures.iterdir()):
        image = cv2.imread(str(file))
        large, small = (resize_depth(weighted_sum(resize_for_network(image, size_hw)), SIZE_HW)
                        for size_hw in ((112, 154), (56, 70)))
        losses.append(agreement(small, large, relative=True).abs_rel)
    assert np.mean(losses) > 0.01
    assert report.figures['f32_56_lost'] == pytest.approx(np.mean(losses), rel=1e-3)
    assert report.figures['f32_112_lost'] == 0.0


def test_what_differs_in_scale_only_loses_nothing(
        pictures: Path, tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    report = measure(tiny_ir, make_ir(gain=3.0), images=pictures, input_sizes=(112,))
    assert report.figures['tiny_f32_112_lost'] < 1e-5


def test_a_rung_that_is_slower_and_no_better_is_not_marked(
        pictures: Path, tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    report = measure(tiny_ir, make_ir(slow_layers=4), images=pictures, input_sizes=(112,))
    assert [(row[0], row[-1]) for row in report.tables[0].rows] == [('tiny_f32', ''), ('f32', '*')]


def test_the_reference_is_f32_at_the_own_size_of_the_first_model_even_if_no_rung_is(
        pictures: Path, tiny_ir: Path) -> None:
    report = measure(tiny_ir, images=pictures, input_sizes=(56,), precisions=('auto',))
    assert report.settings['reference'].startswith('f32 112 of tiny.xml, 2 pictures')
    assert report.figures[f'{native(tiny_ir)}_56_lost'] > 0.01


def test_scores_on_measured_depth_are_those_of_the_evaluation(
        pictures: Path, rgbd: Path, tiny_ir: Path) -> None:
    report = measure(tiny_ir, images=pictures, rgbd=rgbd, input_sizes=(56,))
    config = RgbdConfig('rgb_*.png', 'depth_*.png', 1000.0, DepthRange(0.1, 10.0))
    expected = evaluate_rgbd(tiny_ir, open_folder(rgbd, config), ModelOptions(56, precision='f32'))
    assert report.figures['f32_56_absrel'] == pytest.approx(expected.mean.abs_rel, rel=1e-6)
    assert report.figures['f32_56_delta1'] == pytest.approx(expected.mean.delta1, rel=1e-6)
    assert report.tables[0].columns[-3:] == ('AbsRel', 'δ1', 'Pareto')
    assert report.settings['measured depth'] == '2 images, 0.1 to 10 m'


def test_a_description_in_the_folder_says_what_its_depth_means(
        pictures: Path, rgbd: Path, tiny_ir: Path) -> None:
    pytest.importorskip('yaml')
    (rgbd / 'dataset.yaml').write_text(
        'color: rgb_*.png\ndepth: depth_*.png\ndepth_scale: 500\nmin_depth: 4\nmax_depth: 15\n')
    report = measure(tiny_ir, images=pictures, rgbd=rgbd, input_sizes=(56,))
    assert report.settings['measured depth'] == '2 images, 4 to 15 m'


def test_depth_maps_beside_the_pictures_are_no_pictures(rgbd: Path, tiny_ir: Path) -> None:
    report = measure(tiny_ir, images=rgbd, input_sizes=(56,))
    assert ', 2 pictures' in report.settings['reference']


def test_without_a_folder_it_takes_the_photographs_of_the_package(tiny_ir: Path) -> None:
    report = measure(tiny_ir, input_sizes=(56,))
    assert f'{len(list(photographs().glob("*.jpg")))} pictures' in report.settings['reference']


def test_missing_pictures_are_refused(tmp_path: Path, tiny_ir: Path) -> None:
    with pytest.raises(ImageError, match='not a folder with images'):
        measure(tiny_ir, images=tmp_path)


def test_a_damaged_image_is_named_because_all_need_the_same_images(
        pictures: Path, rgbd: Path, tiny_ir: Path) -> None:
    (rgbd / 'depth_3.png').write_bytes(b'damaged')
    with pytest.raises(ImageError, match=r'rgb_3\.png: .*depth_3.*; remove it'):
        measure(tiny_ir, images=pictures, rgbd=rgbd)
    (pictures / '1.png').write_bytes(b'damaged')
    with pytest.raises(ImageError, match=r'1\.png: .*cannot decode'):
        measure(tiny_ir, images=pictures)


def test_a_folder_without_measured_depth_is_refused(
        pictures: Path, tiny_ir: Path) -> None:
    with pytest.raises(DatasetError, match='0 files match'):
        measure(tiny_ir, images=pictures, rgbd=pictures)


def test_models_that_cannot_be_compared_are_refused(
        tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match='INT8, which has no f32 depth'):
        plan_configs((make_ir(precision='int8'), tiny_ir), ('auto',), (56,))
    with pytest.raises(ModelError, match='it is metric, but'):
        plan_configs((tiny_ir, make_ir(kind='metric', max_depth_m=20.0)), ('auto',), (56,))


@pytest.mark.parametrize('changes', [
    {'models': ()}, {'input_sizes': ()}, {'input_sizes': (56, 0)}, {'precisions': ()},
    {'rounds': 0}])
def test_options_that_measure_nothing_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=next(iter(changes))):
        replace(LadderOptions((Path('model.xml'),)), **changes)


@pytest.mark.parametrize(('points', 'expected'), [
    ([(1.0, 0.1)], [True]),
    ([(1.0, 0.1), (2.0, 0.2), (1.5, 0.3)], [True, True, False]),
    ([(1.0, 0.1), (2.0, 0.1)], [False, True]),
    ([(2.0, 0.1), (2.0, 0.2)], [True, False]),
    ([(1.0, 0.1), (1.0, 0.1), (0.5, 0.1)], [True, True, False]),
    ([(1.0, 0.1), (9.0, float('inf')), (float('nan'), 0.0)], [True, False, False])])
def test_a_point_is_on_the_front_unless_another_is_as_good_and_better_in_one(
        points: list[tuple[float, float]], expected: list[bool]) -> None:
    assert pareto(points) == expected


def test_the_table_goes_from_slow_to_fast_and_marks_the_front(tiny_ir: Path) -> None:
    plan = plan_configs((tiny_ir,), ('f32',), (56, 84, 112))
    points = [(3.0, 0.2), (0.9, 0.3), (1.0, 0.0)]
    steps = [Step(config, Speed(Spread.of([speed]), Spread.of([7.0]), (1, 1)), lost, None, best)
             for config, (speed, lost), best in zip(plan.configs, points, pareto(points))]
    table = table_of(steps, plan)
    assert [(row[1], row[-1]) for row in table.rows] == [('84', ''), ('112', '*'), ('56', '*')]
    assert 'relative to auto 112, 7 images/s' in table.note


def test_the_picture_is_a_png_with_a_second_panel_for_measured_depth(
        tmp_path: Path, pictures: Path, rgbd: Path, tiny_ir: Path) -> None:
    pytest.importorskip('matplotlib')
    heights = []
    for folder in (None, rgbd):
        report = measure(tiny_ir, images=pictures, rgbd=folder)
        assert report.draw is not None
        report.draw(tmp_path / 'ladder')
        content = (tmp_path / 'ladder').read_bytes()
        assert content.startswith(b'\x89PNG\r\n')
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert picture.std() > 10
        heights.append(picture.shape[:2])
    assert heights == [(600, 960), (960, 960)]


def test_without_matplotlib_the_picture_says_what_to_install(
        tmp_path: Path, tiny_ir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('matplotlib', 'matplotlib.figure', 'matplotlib.backends.backend_agg'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match='the picture needs matplotlib'):
        draw_ladder((), plan_configs((tiny_ir,), ('f32',), (56,)), tmp_path / 'ladder.png')
