"""The ladder of the benchmark on models whose depth can be computed by hand."""

from collections.abc import Callable
from dataclasses import replace
import os
from pathlib import Path
import sys

import cv2
from depth_anything_ros.benchmark.ladder import LadderOptions, measure_ladder
from depth_anything_ros.benchmark.ladder_accuracy import Accuracy
from depth_anything_ros.benchmark.ladder_report import (
    draw_ladder, figures_of, pareto, Step, tables_of)
from depth_anything_ros.benchmark.ladder_steps import (
    Config, Line, measure_speeds, plan_configs, Speed)
from depth_anything_ros.benchmark.report import Report, Spread
from depth_anything_ros.errors import (
    DatasetError, DepthAnythingError, ImageError, MissingDependencyError, ModelError,
    SettingsError)
from depth_anything_ros.evaluate.predictions import ModelOptions, open_model
from depth_anything_ros.evaluate.rgbd import evaluate_rgbd
from depth_anything_ros.evaluate.sequence import evaluate_sequence, MEASURED
from depth_anything_ros.evaluate.sequence_folder import open_sequence, read_sequence_config
from depth_anything_ros.media.rgbd_folder import open_folder, RgbdConfig
from depth_anything_ros.model_info import SECTION
from depth_anything_ros.resources import photographs
from depth_anything_ros.vision.accuracy import DepthScores
from depth_anything_ros.vision.agreement import rank_correlation
from depth_anything_ros.vision.depth import DepthRange
from depth_anything_ros.vision.transforms import resize_depth, resize_for_network
import numpy as np
import pytest
from tiny import TINY_INFO, weighted_sum

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


@pytest.fixture
def moving(tmp_path: Path) -> Path:
    """Return a folder of three frames of a camera that moves towards a wall with a picture."""
    pytest.importorskip('yaml')
    folder = tmp_path / 'moving'
    for number, depth_m in enumerate((2.0, 1.9, 1.8)):
        write_picture(folder / f'rgb_{number}.png', 5)
        cv2.imwrite(str(folder / f'depth_{number}.png'),
                    np.full(SIZE_HW, round(1000 * depth_m), np.uint16))
    (folder / 'poses.txt').write_text(''.join(f'{number} 0 0 {0.1 * number} 0 0 0 1\n'
                                              for number in range(3)))
    (folder / 'dataset.yaml').write_text(
        'color: rgb_*.png\ndepth: depth_*.png\ndepth_scale: 1000\nmax_depth: 10\n'
        'camera: [150.0, 150.0, 100.0, 75.0]\n')
    return folder


@pytest.fixture
def named(tmp_path: Path, make_ir: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that writes a model of a name."""
    def make(name: str, **options: object) -> Path:
        made = make_ir(**options)
        for suffix in ('.xml', '.bin'):
            os.symlink(made.with_suffix(suffix), tmp_path / f'{name}{suffix}')
        return tmp_path / f'{name}.xml'

    return make


def measure(*models: Path, **options: object) -> Report:
    """Measure in one round, by default in f32 at two sizes."""
    wanted = {'rounds': 1, 'input_sizes': (112, 56), 'precisions': ('f32',)} | options
    return measure_ladder(LadderOptions(models, **wanted), lambda line: None)


def names(report: Report) -> list[str]:
    """Return the configurations that have figures."""
    return [name.removesuffix('_ms') for name in report.figures if name.endswith('_ms')]


def column(report: Report, title: str) -> list[str]:
    """Return the cells below a title, from the fastest configuration to the slowest."""
    table = report.tables[0]
    return [row[table.columns.index(title)] for row in table.rows]


def native(model: Path) -> str:
    """Return what auto executes on this machine."""
    with open_model(model, ModelOptions()) as depth_model:
        return depth_model.state.execution_precision


def test_every_precision_at_every_size_is_a_row_named_by_what_is_executed(
        pictures: Path, tiny_ir: Path) -> None:
    report = measure(tiny_ir, images=pictures, precisions=('f32', 'auto'))
    expected = {f'tiny_{line}_{size}' for line in ('f32', native(tiny_ir)) for size in (112, 56)}
    assert set(names(report)) == expected
    assert set(report.figures) == {f'{name}_{figure}' for name in expected
                                   for figure in ('ms', 'rank')}
    table, = report.tables
    assert sorted((*row[:5],) for row in table.rows) == sorted(
        ('tiny', 'Apache-2.0', *name.split('_')[1:],
         {'112': '154x112', '56': '70x56'}[name.split('_')[2]]) for name in expected)
    assert report.failed == ()


def test_what_is_executed_alike_is_one_row(tiny_ir: Path) -> None:
    precision = native(tiny_ir)
    plan = plan_configs((tiny_ir, tiny_ir), (precision, 'auto', precision), (56, 56))
    assert [str(config) for config in plan.configs] == [f'tiny {precision} 56']


def test_a_size_of_zero_is_that_of_each_model(
        tiny_ir: Path, named: Callable[..., Path]) -> None:
    plan = plan_configs((tiny_ir, named('small', input_size=70)), ('f32',), (0, 56))
    assert [str(config) for config in plan.configs] == [
        'tiny f32 112', 'tiny f32 56', 'small f32 70', 'small f32 56']


def test_models_of_any_kind_and_precision_are_rows_of_one_table(
        pictures: Path, rgbd: Path, tiny_ir: Path, named: Callable[..., Path]) -> None:
    """The metric one gives as metres what the relative one gives as inverse depth."""
    metric = named('metric', kind='metric', max_depth_m=20.0, licence='unknown',
                   model_version='other')
    quantized = named('quantized', precision='int8', licence='AGPL-3.0')
    report = measure(quantized, metric, images=pictures, rgbd=rgbd, teacher=tiny_ir)
    assert set(names(report)) == {f'{name}_{size}' for size in (112, 56)
                                  for name in ('quantized_int8', 'metric_f32')}
    assert report.figures['quantized_int8_112_rank'] > 0.99
    assert report.figures['metric_f32_112_rank'] == pytest.approx(-1, abs=0.01)
    assert {row[:3] for row in report.tables[0].rows} == {
        ('quantized', 'AGPL-3.0', 'int8'), ('metric', 'unknown', 'f32')}
    assert report.settings['rank'] == '2 pictures, compared with tiny f32 112 at their size'


def test_an_int8_model_is_one_line_whatever_is_asked_for(
        tiny_ir: Path, named: Callable[..., Path]) -> None:
    quantized = named('quantized', precision='int8')
    plan = plan_configs((quantized, tiny_ir), ('f32',), (56,))
    assert [str(config) for config in plan.configs] == ['quantized int8 56', 'tiny f32 56']
    assert [config.precision for config in plan.configs] == ['auto', 'f32']
    assert str(plan.reference) == 'quantized int8 112'


def test_a_model_of_a_fixed_size_is_one_row(
        pictures: Path, tiny_ir: Path, named: Callable[..., Path]) -> None:
    fixed = named('fixed', fixed_size_hw=(56, 84), input_size=56)
    report = measure(tiny_ir, fixed, images=pictures)
    assert names(report) == ['tiny_f32_112', 'tiny_f32_56', 'fixed_f32_56']
    assert ('fixed', '56', '84x56') in [(row[0], *row[3:5]) for row in report.tables[0].rows]


def test_a_model_that_cannot_run_is_named_and_the_others_have_their_rows(
        pictures: Path, tiny_ir: Path, named: Callable[..., Path], tmp_path: Path) -> None:
    damaged, twin = named('damaged'), tmp_path / 'twin' / 'tiny.xml'
    damaged.with_suffix('.bin').unlink()
    damaged.with_suffix('.bin').write_bytes(b'')
    twin.parent.mkdir()
    for suffix in ('.xml', '.bin'):
        os.symlink(tiny_ir.with_suffix(suffix), twin.with_suffix(suffix))
    missing = tmp_path / 'missing.xml'
    report = measure(missing, damaged, tiny_ir, twin, images=pictures, input_sizes=(56,))
    assert names(report) == ['tiny_f32_56']
    assert [sentence.partition(':')[0] for sentence in report.failed] == [
        'missing.xml', 'damaged.xml', 'tiny.xml']
    assert report.failed[0].startswith('missing.xml: there is no such file')
    assert report.failed[2] == 'tiny.xml: another model has the same name; rename one of the two'
    assert [row[0] for row in report.tables[1].rows] == ['missing.xml', 'damaged.xml', 'tiny.xml']
    with pytest.raises(DepthAnythingError, match=r'none of 2 models can run: missing\.xml: .*; '
                       r'damaged\.xml: '):
        measure(missing, damaged, images=pictures)
    with pytest.raises(ModelError, match='missing.xml: there is no such file'):
        measure(missing, images=pictures)
    with pytest.raises(ModelError, match='missing.xml: there is no such file'):
        measure(tiny_ir, images=pictures, teacher=missing)


def test_a_configuration_that_fails_has_an_error_and_the_others_have_their_speed(
        tiny_ir: Path, named: Callable[..., Path]) -> None:
    openvino = pytest.importorskip('openvino')
    from openvino import opset13
    broken = named('broken')
    image = opset13.parameter([-1, 3, -1, -1], np.float32, name='image')
    depth = opset13.add(opset13.reduce_mean(image, np.int64([1])),
                        np.zeros((1, 112, 154), np.float32))
    only_one_size = openvino.Model([opset13.result(depth, name='depth')], [image], 'broken')
    for name, value in TINY_INFO.to_strings().items():
        only_one_size.set_rt_info(value, [SECTION, name])
    for suffix in ('.xml', '.bin'):
        broken.with_suffix(suffix).unlink()
    openvino.save_model(only_one_size, str(broken), compress_to_fp16=False)
    configs = [Config(f'{model.stem} f32', size, model, 'f32')
               for model in (tiny_ir, broken) for size in (112, 56)]
    speeds = list(measure_speeds(configs, 1, lambda line: None).values())
    assert [isinstance(speed, Speed) for speed in speeds] == [True, True, True, False]
    assert isinstance(speeds[3], DepthAnythingError)


def test_speeds_are_those_beside_the_first_configuration(
        tiny_ir: Path, named: Callable[..., Path]) -> None:
    slow = named('slow', slow_layers=4)
    plan = plan_configs((tiny_ir, slow), ('f32',), (112,))
    quick, other = measure_speeds(plan.configs, 2, lambda line: None).values()
    assert isinstance(quick, Speed) and isinstance(other, Speed)
    assert quick.network_hw == (112, 154) and other.ms.median > 2 * quick.ms.median


def test_each_of_several_groups_is_measured_beside_the_first_configuration(
        tiny_ir: Path) -> None:
    plan = plan_configs((tiny_ir,), ('auto',), (112, *range(14, 154, 14)))
    logged: list[str] = []
    speeds = measure_speeds(plan.configs, 2, logged.append)
    assert len(plan.configs) == 10 and list(speeds) == list(plan.configs)
    rounds = [line for line in logged if line.startswith('round')]
    assert [line.partition(':')[0] for line in rounds] == ['round 1 of 2', 'round 2 of 2'] * 2
    assert all(f'{plan.configs[0]} ' in line for line in rounds)
    assert [line for line in logged if line.startswith('speed')] == [
        f'speed: {count} configurations beside {plan.configs[0]}' for count in (8, 1)]


def test_the_rank_is_that_of_the_depth_at_the_size_of_the_picture(
        pictures: Path, tiny_ir: Path) -> None:
    report = measure(tiny_ir, images=pictures)
    ranks = []
    for file in sorted(pictures.iterdir()):
        image = cv2.imread(str(file))
        large, small = (resize_depth(weighted_sum(resize_for_network(image, size_hw)), SIZE_HW)
                        for size_hw in ((112, 154), (56, 70)))
        ranks.append(rank_correlation(small[::2, ::2], large[::2, ::2]))
    assert np.mean(ranks) < 0.999
    assert report.figures['tiny_f32_56_rank'] == pytest.approx(np.mean(ranks), abs=1e-4)
    assert report.figures['tiny_f32_112_rank'] == pytest.approx(1.0, abs=1e-6)


def test_a_rung_that_is_slower_and_no_better_is_not_marked(
        pictures: Path, tiny_ir: Path, named: Callable[..., Path]) -> None:
    report = measure(tiny_ir, named('slow', slow_layers=4), images=pictures, input_sizes=(112,))
    assert (column(report, 'model'), column(report, 'Pareto front')) == (
        ['tiny', 'slow'], ['rank', ''])


def test_the_reference_is_f32_at_the_own_size_of_the_first_model_even_if_no_rung_is(
        pictures: Path, tiny_ir: Path) -> None:
    report = measure(tiny_ir, images=pictures, input_sizes=(56,), precisions=('auto',))
    assert 'with tiny f32 112 at' in report.settings['rank']
    assert report.figures[f'tiny_{native(tiny_ir)}_56_rank'] < 0.999


def test_scores_on_measured_depth_are_those_of_the_evaluation(
        pictures: Path, rgbd: Path, tiny_ir: Path) -> None:
    report = measure(tiny_ir, images=pictures, rgbd=rgbd, input_sizes=(56,))
    config = RgbdConfig('rgb_*.png', 'depth_*.png', 1000.0, DepthRange(0.1, 10.0))
    expected = evaluate_rgbd(tiny_ir, open_folder(rgbd, config), ModelOptions(56, precision='f32'))
    assert report.figures['tiny_f32_56_absrel'] == pytest.approx(expected.mean.abs_rel, rel=1e-6)
    assert report.figures['tiny_f32_56_delta1'] == pytest.approx(expected.mean.delta1, rel=1e-6)
    assert report.tables[0].columns[-4:] == ('rank', 'AbsRel', 'δ1', 'Pareto front')
    assert column(report, 'Pareto front') == ['rank, AbsRel']
    assert report.settings['measured depth'] == '2 images, 0.1 to 10 m'


def test_the_flicker_is_the_temporal_error_of_the_evaluation(
        pictures: Path, moving: Path, tiny_ir: Path) -> None:
    report = measure(tiny_ir, images=pictures, sequence=moving, input_sizes=(56,))
    clip = open_sequence(moving, read_sequence_config(moving / 'dataset.yaml'))
    expected = evaluate_sequence(tiny_ir, clip, ModelOptions(56, precision='f32'))
    assert report.figures['tiny_f32_56_flicker'] == pytest.approx(expected.mean.tae, rel=1e-6)
    assert report.settings['flicker'] == (
        '3 frames; that of their measured depth itself is '
        f'{expected.groups[MEASURED].tae:.4f}')
    assert column(report, 'flicker') == [f'{expected.mean.tae:.4f}']


def test_a_description_in_the_folder_says_what_its_depth_means(
        pictures: Path, rgbd: Path, tiny_ir: Path) -> None:
    pytest.importorskip('yaml')
    (rgbd / 'dataset.yaml').write_text(
        'color: rgb_*.png\ndepth: depth_*.png\ndepth_scale: 500\nmin_depth: 4\nmax_depth: 15\n')
    report = measure(tiny_ir, images=pictures, rgbd=rgbd, input_sizes=(56,))
    assert report.settings['measured depth'] == '2 images, 4 to 15 m'


def test_depth_maps_beside_the_pictures_are_no_pictures(rgbd: Path, tiny_ir: Path) -> None:
    report = measure(tiny_ir, images=rgbd, input_sizes=(56,))
    assert report.settings['rank'].startswith('2 pictures')


def test_without_a_folder_it_takes_the_photographs_of_the_package(tiny_ir: Path) -> None:
    report = measure(tiny_ir, input_sizes=(56,))
    count = len(list(photographs().glob('*.jpg')))
    assert report.settings['rank'].startswith(f'{count} pictures')


def test_a_folder_that_cannot_be_used_is_refused_before_a_model_is_loaded(
        tmp_path: Path, pictures: Path, moving: Path) -> None:
    nothing = Path('missing.xml')
    with pytest.raises(ImageError, match='there is no folder .*/empty; name one'):
        measure(nothing, images=tmp_path / 'empty')
    with pytest.raises(DatasetError, match='0 files match'):
        measure(nothing, images=pictures, rgbd=pictures)
    with pytest.raises(DatasetError, match='it has no dataset.yaml, which names the files'):
        measure(nothing, images=pictures, sequence=pictures)
    with pytest.raises(DatasetError, match='there is no such folder'):
        measure(nothing, images=pictures, sequence=tmp_path / 'none')
    (moving / 'depth_1.png').write_bytes(b'damaged')
    with pytest.raises(ImageError, match=r'rgb_1\.png: .*depth_1.*; remove it from the folder'):
        measure(nothing, images=pictures, sequence=moving)


def test_a_damaged_image_is_named_because_all_need_the_same_images(
        pictures: Path, rgbd: Path, tiny_ir: Path) -> None:
    (rgbd / 'depth_3.png').write_bytes(b'damaged')
    with pytest.raises(ImageError, match=r'rgb_3\.png: .*depth_3.*; remove it'):
        measure(tiny_ir, images=pictures, rgbd=rgbd)
    (pictures / '1.png').write_bytes(b'damaged')
    with pytest.raises(ImageError, match=r'1\.png: .*cannot decode'):
        measure(tiny_ir, images=pictures)


@pytest.mark.parametrize('changes', [
    {'models': ()}, {'input_sizes': ()}, {'input_sizes': (56, -1)}, {'precisions': ()},
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


def made_steps(times_and_scores: list[tuple[float, float, float, float]]) -> list[Step]:
    """Return steps with these times, ranks, AbsRel and flickers at the sizes 1, 2, ..."""
    line = Line('mine', 'f32', replace(TINY_INFO, licence='unknown'), 20.4)
    truth = DepthScores(*[0.5] * 9)
    return [Step(Config('mine f32', size, Path('mine.xml'), 'f32'), line,
                 Speed(Spread(ms, ms - 1, ms + 1), (56, 70)),
                 Accuracy(rank, replace(truth, abs_rel=abs_rel), flicker, 0.001))
            for size, (ms, rank, abs_rel, flicker) in enumerate(times_and_scores, start=1)]


REFERENCE = Config('teacher f32', 518, Path('teacher.xml'), 'f32')


def test_the_table_goes_from_fast_to_slow_and_names_the_fronts_of_each_row() -> None:
    steps = made_steps([(30.0, 0.99, 0.2, 0.03), (10.0, 0.9, 0.3, 0.05), (20.0, 0.8, 0.2, 0.04)])
    table, = tables_of(steps, REFERENCE, ())
    assert table.columns == ('model', 'licence', 'runs in', 'input size', 'network', 'MiB', 'ms',
                             'rank', 'AbsRel', 'δ1', 'flicker', 'Pareto front')
    assert table.rows == (
        ('mine', 'unknown', 'f32', '2', '70x56', '20', '10 (9 to 11)', '0.9000', '0.300', '0.500',
         '0.0500', 'rank, AbsRel, flicker'),
        ('mine', 'unknown', 'f32', '3', '70x56', '20', '20 (19 to 21)', '0.8000', '0.200',
         '0.500', '0.0400', 'AbsRel, flicker'),
        ('mine', 'unknown', 'f32', '1', '70x56', '20', '30 (29 to 31)', '0.9900', '0.200',
         '0.500', '0.0300', 'rank, flicker'))
    assert 'with the depth of teacher f32 518' in table.note and 'temporal' in table.note
    assert figures_of(steps)['mine_f32_1_flicker'] == 0.03


def test_the_picture_is_a_png_with_a_panel_for_each_figure_that_was_measured(
        tmp_path: Path) -> None:
    pytest.importorskip('matplotlib')
    steps = made_steps([(30.0, 0.99, 0.2, 0.03), (10.0, 0.9, 0.3, 0.05)])
    bare = [replace(step, accuracy=replace(step.accuracy, truth=None, flicker=None))
            for step in steps]
    heights = []
    for one in (bare, steps):
        draw_ladder(one, REFERENCE, tmp_path / 'ladder')
        content = (tmp_path / 'ladder').read_bytes()
        assert content.startswith(b'\x89PNG\r\n')
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert picture.std() > 10
        heights.append(picture.shape[:2])
    assert heights == [(456, 960), (1224, 960)]


def test_without_matplotlib_the_picture_says_what_to_install(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('matplotlib', 'matplotlib.figure', 'matplotlib.backends.backend_agg'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match='the picture needs matplotlib'):
        draw_ladder((), REFERENCE, tmp_path / 'ladder.png')
