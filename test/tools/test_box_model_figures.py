"""The figures of the model in the box: how they are measured, kept and held to their targets."""

from collections.abc import Callable
import json
from pathlib import Path
import shutil
import subprocess

import cv2
from depth_anything_ros.benchmark.ladder_steps import Config
from depth_anything_ros.errors import DepthAnythingError, ImageError, ModelError
import numpy as np
import pytest
from tiny import weighted_sum
from tools.measure import box_model
from tools.measure.box_model import COMMAND, judge, main, TARGETS
from tools.measure.box_model_figures import (
    clone_conditions, clone_to_pictures_s, depth_figures, int8_figures, open_frames,
    speed_figures, teacher_figures)
from tools.measure.box_model_front import as_rows, draw_front, measure_front
from tools.measure.figures import FOLDER, requote_pages
from tools.shared_data import CORPUS, training_photographs, validation_photographs

pytest.importorskip('openvino')

MEASURED = FOLDER / 'box_model.json'
DEPTH = {f'{name}_{what}{end}' for name in ('rgbd', 'flight', 'sequence')
         for what in ('absrel', 'delta1') for end in ('', '_teacher')} | {
             'moving_absrel', 'delta1_share'}
RANKS = {f'rank_corr_{name}' for name in (
    'teacher', 'teacher_p10', 'images', 'all', 'all_p10', 'all_images')}
INT8 = {'int8_absrel_mean', 'int8_absrel_max', 'int8_pearson_min'}

needs_figures = pytest.mark.skipif(not MEASURED.is_file(), reason='nothing was measured yet')
needs_make = pytest.mark.skipif(not (shutil.which('git') and shutil.which('make')),
                                reason='git or make is not installed')


def picture(seed: int) -> np.ndarray:
    """Return a smooth coloured image, BGR [64, 96, 3]."""
    coarse = np.random.default_rng(seed).integers(40, 250, (4, 5, 3), np.uint8)
    return cv2.resize(coarse, (96, 64), interpolation=cv2.INTER_LINEAR)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Return a corpus of 40 numbers, of which photographs of six are there; 20 is flat."""
    (tmp_path / 'corpus' / 'images').mkdir(parents=True)
    for number in (0, 9, 10, 20, 30, 31):
        image = np.full((64, 96, 3), 90, np.uint8) if number == 20 else picture(number)
        cv2.imwrite(str(tmp_path / 'corpus' / 'images' / f'{number:05}.jpg'), image)
    return tmp_path / 'corpus'


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder of frames whose depth is what the tiny model says, and photographs."""
    for name, suffix, scale, count in (
            ('rgbd', 'png', 1000, 2), ('moving', 'jpg', 500, 12), ('sequence', 'jpg', 1000, 11)):
        folder = tmp_path / 'images' / name
        folder.mkdir(parents=True)
        for number in range(count):
            image = picture(number)
            depth = np.round(scale / (0.1 * weighted_sum(image) + 0.05)).astype(np.uint16)
            cv2.imwrite(str(folder / f'rgb_{number:05}.{suffix}'), image,
                        [cv2.IMWRITE_JPEG_QUALITY, 100])
            cv2.imwrite(str(folder / f'depth_{number:05}.png'), depth)
    return tmp_path / 'images'


@pytest.fixture
def small(make_ir: Callable[..., Path]) -> Path:
    """Return a model whose sides are multiples of 32."""
    return make_ir(patch_multiple=32, input_size=64)


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of box_model.json in a folder that stands for docs/figures."""
    monkeypatch.setattr('tools.measure.figures.FOLDER', tmp_path / 'figures')
    monkeypatch.setattr(box_model, 'requote_pages', lambda: None)
    return tmp_path / 'figures' / 'box_model.json'


@needs_figures
def test_every_figure_was_measured_and_its_verdict_on_the_targets_is_true() -> None:
    content = json.loads(MEASURED.read_text(encoding='utf-8'))
    figures, reports = content['figures'], content['reports']
    assert content['command'] == COMMAND
    times = {name for name in figures if name.startswith('time_vs_')}
    assert set(figures) - times == {*RANKS, *DEPTH, *INT8, 'size_mib', 'clone_to_pictures_s'}
    assert {'time_vs_nano_f32', 'time_vs_vits_f32'} <= times
    assert reports['targets'] == judge(figures)
    assert set(reports['targets']) == {one.figure for one in TARGETS}
    assert set(reports['clone']) == {'python', 'cores', 'pip', 'clone'}
    assert (figures['rank_corr_images'], figures['rank_corr_all_images']) == (287, 932)
    assert figures['rank_corr_teacher_p10'] < figures['rank_corr_teacher'] < 1


def test_a_target_is_met_at_its_limit_or_missed() -> None:
    judged = judge({'rgbd_absrel': 0.12, 'rank_corr_teacher': 0.9199, 'size_mib': 26.1,
                    'clone_to_pictures_s': 180.0, 'rank_corr_images': 3.0})
    assert {name: one['met'] for name, one in judged.items()} == {
        'rgbd_absrel': True, 'rank_corr_teacher': False, 'size_mib': False,
        'clone_to_pictures_s': False}
    assert judged['rank_corr_teacher']['target'] == '≥ 0.92'


def test_numbers_that_are_divisible_by_ten_are_held_out(corpus: Path) -> None:
    assert [file.stem for file in validation_photographs(corpus)] == [
        '00000', '00010', '00020', '00030']
    assert [file.stem for file in training_photographs(corpus)] == ['00009', '00031']


@pytest.mark.skipif(not CORPUS.is_dir(), reason='../shared/corpus is not there')
@needs_figures
def test_the_held_out_photographs_are_those_of_the_figures() -> None:
    held_out = validation_photographs(CORPUS)
    figures = json.loads(MEASURED.read_text())['figures']
    assert len(held_out) == figures['rank_corr_all_images']
    assert sum(file.suffix == '.jpg' for file in held_out) == figures['rank_corr_images']
    assert len(training_photographs(CORPUS)) > 8000


def test_the_rank_correlation_is_that_of_all_held_out_photographs(
        corpus: Path, small: Path, tiny_ir: Path) -> None:
    cv2.imwrite(str(corpus / 'images' / '00040.webp'), picture(40))
    logged: list[str] = []
    figures = teacher_figures(small, tiny_ir, validation_photographs(corpus), logged.append)
    assert set(figures) == RANKS
    assert (figures['rank_corr_images'], figures['rank_corr_all_images']) == (4, 5)
    # All others agree; the flat one has no order at all.
    assert 0.7 < figures['rank_corr_teacher'] < 0.75 < figures['rank_corr_all'] < 0.8
    assert figures['rank_corr_teacher_p10'] == pytest.approx(0.3, abs=0.02)
    assert logged == ['compared 5 of 5 photographs']


def test_a_photograph_that_cannot_be_read_is_named(
        corpus: Path, small: Path, tiny_ir: Path) -> None:
    (corpus / 'images' / '00030.jpg').write_bytes(b'damaged')
    with pytest.raises(ImageError, match='00030.jpg: OpenCV cannot decode'):
        teacher_figures(small, tiny_ir, validation_photographs(corpus), print)
    with pytest.raises(ImageError, match='--corpus'):
        teacher_figures(small, tiny_ir, [], print)


def test_measured_depth_is_compared_with_that_of_the_teacher(
        images: Path, small: Path, make_ir: Callable[..., Path]) -> None:
    frames = open_frames(images)
    assert {name: len(dataset.pairs) for name, dataset in frames.items()} == {
        'rgbd': 2, 'moving': 2, 'sequence': 2}
    logged: list[str] = []
    figures = depth_figures(small, make_ir(input_size=70), frames, logged.append)
    assert set(figures) == DEPTH and len(logged) == 6
    assert figures['rgbd_absrel'] < 0.02 and figures['rgbd_delta1'] == 1.0
    assert figures['moving_absrel'] == pytest.approx(np.mean([
        figures[f'{name}_absrel'] / figures[f'{name}_absrel_teacher']
        for name in ('flight', 'sequence')]))
    assert figures['delta1_share'] == 1.0


def test_the_time_is_relative_to_each_of_the_others(
        small: Path, make_ir: Callable[..., Path]) -> None:
    slow = make_ir(slow_layers=1, input_size=224)
    figures = speed_figures(small, {'slow': (slow, 'f32'), 'same': (small, 'auto')}, print, 3,
                            0.02)
    assert set(figures) == {f'time_vs_{name}{end}' for name in ('slow', 'same')
                            for end in ('', '_low', '_high')}
    assert figures['time_vs_slow'] < 1
    assert figures['time_vs_same_low'] <= figures['time_vs_same'] <= figures['time_vs_same_high']


def test_the_front_has_time_rank_and_depth_of_each_configuration(
        small: Path, make_ir: Callable[..., Path], images: Path, tmp_path: Path) -> None:
    slow = make_ir(slow_layers=1, input_size=224)
    configs = [Config('small f32', 64, small, 'f32'), Config('small f32', 96, small, 'f32'),
               Config('slow f32', 224, slow, 'f32')]
    photographs = sorted((images / 'moving').glob('rgb_*.jpg'))[:3]
    points = measure_front(configs, configs[0], Config('teacher', 140, slow, 'f32'), photographs,
                           open_frames(images)['rgbd'], print)
    assert [(point.line, point.size) for point in points] == [
        ('small f32', 64), ('small f32', 96), ('slow f32', 224)]
    assert points[0].time == 1.0 < points[2].time
    assert all(point.rank > 0.9 and point.absrel < 0.02 for point in points)
    draw_front(points, 'small f32', tmp_path / 'made' / 'front.png')
    chart = cv2.imread(str(tmp_path / 'made' / 'front.png'))
    assert chart.std() > 5
    assert [set(row) for row in as_rows(points)] == [
        {'line', 'size', 'time', 'rank', 'absrel'}] * 3


def test_int8_needs_a_model_in_int8_and_one_in_floating_point(
        small: Path, make_ir: Callable[..., Path], tmp_path: Path, images: Path) -> None:
    pictures = tmp_path / 'list.txt'
    pictures.write_text('\n'.join(map(str, sorted((images / 'moving').glob('*.jpg')))))
    with pytest.raises(ModelError, match='it is not INT8; name the IR in fp16'):
        int8_figures(small, small, pictures, print)
    quantized = make_ir(precision='int8')
    with pytest.raises(ModelError, match='it is INT8; name the IR in fp16'):
        int8_figures(quantized, quantized, pictures, print)
    figures = int8_figures(quantized, small, pictures, print)
    assert set(figures) == INT8 and figures['int8_absrel_mean'] < 0.01


def repository(folder: Path, recipe: str) -> Path:
    """Return a git repository whose target demo runs ``recipe``."""
    folder.mkdir()
    (folder / 'Makefile').write_text(f'demo:\n\t{recipe}\n')
    for command in (['init', '--quiet'], ['add', 'Makefile'], [
            '-c', 'user.name=x', '-c', 'user.email=x', 'commit', '--quiet', '-m', 'x']):
        subprocess.run(['git', *command], cwd=folder, check=True)
    (folder / 'uncommitted').touch()
    (folder.parent / 'shared').mkdir(exist_ok=True)
    return folder


@needs_make
def test_a_fresh_clone_holds_what_is_committed_and_nothing_beside_it(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('VIRTUAL_ENV', '/somewhere')
    recipe = ('test -z "$$VIRTUAL_ENV$$PYTHONPATH" -a ! -e ../shared -a ! -e uncommitted '
              '-a ! -e "$$PIP_CACHE_DIR" && mkdir demo_output && touch demo_output/depth_1.png')
    logged: list[str] = []
    assert 0 < clone_to_pictures_s(repository(tmp_path / 'made', recipe), logged.append) < 30
    assert logged[0].startswith('git clone') and logged[1] == 'make demo'
    assert clone_conditions()['python'].startswith('Python 3.')


@needs_make
@pytest.mark.parametrize(('recipe', 'sentence'), [
    ('false', 'make demo failed with status 2'), ('true', 'wrote no picture')])
def test_a_demo_without_pictures_has_no_time(
        tmp_path: Path, recipe: str, sentence: str) -> None:
    with pytest.raises(DepthAnythingError, match=sentence):
        clone_to_pictures_s(repository(tmp_path / 'made', recipe), print)


def test_one_part_is_measured_again_and_the_others_stay(
        documents: Path, corpus: Path, images: Path, small: Path, tiny_ir: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    inputs = ['--model', str(small), '--teacher', str(tiny_ir), '--corpus', str(corpus),
              '--images', str(images)]
    assert main([*inputs, '--only', 'teacher', '--only', 'depth']) == 0
    content = json.loads(documents.read_text())
    assert set(content['figures']) == {*RANKS, *DEPTH, 'size_mib'}
    assert content['figures']['size_mib'] == pytest.approx(sum(
        file.stat().st_size for file in small.parent.iterdir()) / 2**20, rel=1e-3)
    out = capsys.readouterr().out
    assert 'rank_corr_teacher ≥ 0.92: missed' in out and 'rgbd_absrel ≤ 0.12: met' in out
    content['figures']['time_vs_vits_f32'] = 20.0
    documents.write_text(json.dumps(content))
    assert main([*inputs, '--only', 'depth']) == 0
    assert json.loads(documents.read_text()) == content


def test_a_page_that_quotes_what_was_not_measured_yet_stays_as_it_is(
        documents: Path, tmp_path: Path, small: Path, tiny_ir: Path,
        images: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    texts = {'a.md': '[9](docs/figures/box_model.json "rgbd_absrel")',
             'b.md': '[9](docs/figures/box_model.json "time_vs_nano_f32")'}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr('tools.measure.figures.pages',
                        lambda: [tmp_path / name for name in texts])
    monkeypatch.setattr(box_model, 'requote_pages', requote_pages)
    assert main(['--model', str(small), '--only', 'depth', '--images', str(images),
                 '--teacher', str(tiny_ir)]) == 1
    assert "quotes 'time_vs_nano_f32', which was not measured yet" in capsys.readouterr().err
    assert {name: (tmp_path / name).read_text() for name in texts} == texts
    assert documents.is_file()


def test_a_whole_run_keeps_the_time_of_the_clone_alone(
        documents: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter(range(1, 9))
    monkeypatch.setattr(box_model, '_measure', lambda part, *rest: {
        'clone_to_pictures_s' if part == 'clone' else f'of_{part}': float(next(values))})
    assert main(['--model', str(small), '--clone']) == 0
    content = json.loads(documents.read_text())
    assert content['figures']['clone_to_pictures_s'] == 4
    content['figures']['of_yesterday'] = 1.0
    documents.write_text(json.dumps(content))
    assert main(['--model', str(small)]) == 0
    found = json.loads(documents.read_text())
    assert found['figures'] == {'clone_to_pictures_s': 4, 'of_teacher': 5, 'of_depth': 6,
                                'of_speed': 7, 'size_mib': content['figures']['size_mib']}
    assert found['reports']['clone'] == content['reports']['clone'] != {}


def test_what_is_missing_is_named_in_one_line(
        documents: Path, tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr('tools.shared_data.SHARED', tmp_path)
    monkeypatch.setattr(box_model, 'SHARED', tmp_path)
    for arguments, sentence in [
            (['--model', 'none.xml'], 'none.xml: there is no such file'),
            (['--model', str(small)], f'{tmp_path} lacks weights/*.pth'),
            (['--model', str(small), '--only', 'depth', '--images', 'none',
              '--teacher', str(small)],
             'no such folder')]:
        assert main(arguments) == 1
        out, err = capsys.readouterr()
        assert err.startswith('error: ') and err.count('\n') == 1 and sentence in err
    assert not documents.exists()
