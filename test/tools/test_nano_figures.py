"""The figures of the small model: how they are measured, kept and held to their targets."""

from collections.abc import Callable
import json
from pathlib import Path
import shutil
import subprocess

import cv2
from depth_anything_ros.errors import DepthAnythingError, ImageError, ModelError
import numpy as np
import pytest
from tiny import weighted_sum
from tools.measure import nano
from tools.measure.figures import FOLDER, requote_pages
from tools.measure.nano import COMMAND, judge, main, TARGETS
from tools.measure.nano_figures import (
    clone_conditions, clone_to_pictures_s, rgbd_figures, speed_figures, teacher_figures)
from tools.shared_data import (
    CORPUS, first_corpus, training_photographs, validation_photographs)

pytest.importorskip('openvino')

MEASURED = FOLDER / 'nano.json'
SPEEDS = {f'{name}{end}' for name in (
    'speed_vs_vits_bf16', 'speed_vs_vits_bf16_224', 'speed_own_size')
    for end in ('', '_low', '_high')}
RGBD = {f'rgbd_{name}{size}' for name in ('absrel', 'delta1')
        for size in ('', '_224', '_384', '_480')}
RANKS = {'rank_corr_teacher', 'rank_corr_teacher_p10', 'rank_corr_images', 'rank_corr_learned',
         'rank_corr_learned_images'}

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
def rgbd(tmp_path: Path) -> Path:
    """Return a folder with two pairs whose depth is what the tiny model says."""
    (tmp_path / 'rgbd').mkdir()
    for number in range(2):
        image = picture(number)
        depth_mm = np.round(1000 / (0.1 * weighted_sum(image) + 0.05)).astype(np.uint16)
        cv2.imwrite(str(tmp_path / 'rgbd' / f'rgb_{number}.png'), image)
        cv2.imwrite(str(tmp_path / 'rgbd' / f'depth_{number}.png'), depth_mm)
    return tmp_path / 'rgbd'


@pytest.fixture
def small(make_ir: Callable[..., Path]) -> Path:
    """Return a model whose sides are multiples of 32."""
    return make_ir(patch_multiple=32, input_size=64)


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of nano.json in a folder that stands for docs/figures."""
    monkeypatch.setattr('tools.measure.figures.FOLDER', tmp_path / 'figures')
    monkeypatch.setattr(nano, 'requote_pages', lambda: None)
    return tmp_path / 'figures' / 'nano.json'


@needs_figures
def test_every_figure_was_measured_and_its_verdict_on_the_targets_is_true() -> None:
    content = json.loads(MEASURED.read_text(encoding='utf-8'))
    figures, reports = content['figures'], content['reports']
    assert content['command'] == COMMAND
    assert set(figures) == {*RANKS, *RGBD, *SPEEDS, 'size_mib', 'clone_to_pictures_s'}
    assert reports['targets'] == judge(figures)
    assert set(reports['targets']) == {one.figure for one in TARGETS}
    assert set(reports['clone']) == {'python', 'cores', 'pip', 'clone'}
    assert figures['rank_corr_images'] > 200
    assert figures['rank_corr_teacher_p10'] < figures['rank_corr_teacher'] < 1


def test_a_target_is_met_at_its_limit_or_missed() -> None:
    judged = judge({'rgbd_absrel': 0.15, 'rank_corr_teacher': 0.8799, 'size_mib': 8.1,
                    'clone_to_pictures_s': 180.0, 'rank_corr_images': 3.0})
    assert {name: one['met'] for name, one in judged.items()} == {
        'rgbd_absrel': True, 'rank_corr_teacher': False, 'size_mib': False,
        'clone_to_pictures_s': False}
    assert judged['rank_corr_teacher']['target'] == '≥ 0.88'


def test_numbers_that_are_divisible_by_ten_are_held_out(corpus: Path) -> None:
    assert [file.stem for file in validation_photographs(corpus)] == [
        '00000', '00010', '00020', '00030']
    assert [file.stem for file in training_photographs(corpus)] == ['00009', '00031']


def test_photographs_are_jpeg_and_webp_and_the_first_corpus_is_known(
        tmp_path: Path) -> None:
    (tmp_path / 'images').mkdir()
    for name in ('00010.jpg', '00011.webp', '05039.webp', '05040.webp', '05041.webp', 'a.txt'):
        (tmp_path / 'images' / name).touch()
    training, validation = training_photographs(tmp_path), validation_photographs(tmp_path)
    assert [file.name for file in training] == ['00011.webp', '05039.webp', '05041.webp']
    assert [file.name for file in validation] == ['00010.jpg', '05040.webp']
    assert [file.name for file in first_corpus(training)] == ['00011.webp', '05039.webp']
    assert [file.name for file in first_corpus(validation)] == ['00010.jpg']


@pytest.mark.skipif(not CORPUS.is_dir(), reason='../shared/corpus is not there')
def test_the_held_out_photographs_of_the_first_corpus_are_those_of_the_figures() -> None:
    held_out = first_corpus(validation_photographs(CORPUS))
    assert len(held_out) == json.loads(MEASURED.read_text())['figures']['rank_corr_images']
    assert len(training_photographs(CORPUS)) > 8000


def test_the_rank_correlation_is_that_of_all_held_out_photographs(
        corpus: Path, small: Path, tiny_ir: Path) -> None:
    logged: list[str] = []
    figures = teacher_figures(small, tiny_ir, validation_photographs(corpus),
                              training_photographs(corpus), logged.append)
    assert set(figures) == RANKS and figures['rank_corr_images'] == 4
    # Three agree; the flat one has no order at all.
    assert 0.7 < figures['rank_corr_teacher'] < 0.75
    assert figures['rank_corr_teacher_p10'] == pytest.approx(0.3, abs=0.02)
    assert figures['rank_corr_learned'] > 0.9 and figures['rank_corr_learned_images'] == 2
    assert logged == ['compared 4 of 4 photographs', 'compared 2 of 2 photographs']


def test_a_photograph_that_cannot_be_read_is_named(
        corpus: Path, small: Path, tiny_ir: Path) -> None:
    (corpus / 'images' / '00030.jpg').write_bytes(b'damaged')
    with pytest.raises(ImageError, match='00030.jpg: OpenCV cannot decode'):
        teacher_figures(small, tiny_ir, validation_photographs(corpus),
                        training_photographs(corpus), print)
    with pytest.raises(ImageError, match='--corpus'):
        teacher_figures(small, tiny_ir, [], training_photographs(corpus), print)
    logged: list[str] = []
    with pytest.raises(ImageError, match='--corpus'):
        teacher_figures(small, tiny_ir, training_photographs(corpus), [], logged.append)
    assert not logged, 'known before minutes of comparing'


def test_measured_depth_is_scored_at_several_sizes(rgbd: Path, small: Path) -> None:
    logged: list[str] = []
    figures = rgbd_figures(small, rgbd, logged.append)
    assert set(figures) == RGBD and len(logged) == 4
    assert figures['rgbd_absrel'] < 0.01 and figures['rgbd_delta1'] == 1.0
    assert len({figures[name] for name in RGBD if 'absrel' in name}) == 4


def test_a_model_that_computes_more_is_slower_at_every_size(
        small: Path, make_ir: Callable[..., Path]) -> None:
    figures = speed_figures(small, make_ir(slow_layers=1, input_size=224), print, 3, 0.02)
    assert set(figures) == SPEEDS
    for name in ('speed_vs_vits_bf16', 'speed_vs_vits_bf16_224', 'speed_own_size'):
        assert figures[name] > 1
        assert figures[f'{name}_low'] <= figures[name] <= figures[f'{name}_high']


def test_speed_is_not_compared_at_two_network_sizes(
        tiny_ir: Path, make_ir: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match='does not run at 448x448'):
        speed_figures(make_ir(fixed_size_hw=(64, 64)), tiny_ir, print)


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
        documents: Path, corpus: Path, rgbd: Path, small: Path, tiny_ir: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    inputs = ['--model', str(small), '--teacher', str(tiny_ir), '--corpus', str(corpus),
              '--rgbd', str(rgbd)]
    assert main([*inputs, '--only', 'teacher', '--only', 'rgbd']) == 0
    content = json.loads(documents.read_text())
    assert set(content['figures']) == {*RANKS, *RGBD, 'size_mib'}
    assert content['figures']['size_mib'] == pytest.approx(sum(
        file.stat().st_size for file in small.parent.iterdir()) / 2**20, rel=1e-3)
    out = capsys.readouterr().out
    assert 'rank_corr_teacher ≥ 0.88: missed' in out and 'rgbd_absrel ≤ 0.15: met' in out
    content['figures']['speed_own_size'] = 20.0
    documents.write_text(json.dumps(content))
    assert main([*inputs, '--only', 'rgbd']) == 0
    assert json.loads(documents.read_text()) == content


def test_a_page_that_quotes_what_was_not_measured_yet_stays_as_it_is(
        documents: Path, tmp_path: Path, small: Path, rgbd: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    texts = {'a.md': '[9](docs/figures/nano.json "rgbd_absrel")',
             'b.md': '[9](docs/figures/nano.json "speed_own_size")'}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr('tools.measure.figures.pages',
                        lambda: [tmp_path / name for name in texts])
    monkeypatch.setattr(nano, 'requote_pages', requote_pages)
    assert main(['--model', str(small), '--only', 'rgbd', '--rgbd', str(rgbd)]) == 1
    assert "quotes 'speed_own_size', which was not measured yet" in capsys.readouterr().err
    assert {name: (tmp_path / name).read_text() for name in texts} == texts
    assert documents.is_file()


def test_a_whole_run_keeps_the_time_of_the_clone_alone(
        documents: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter(range(1, 9))
    monkeypatch.setattr(nano, '_measure', lambda part, options, teacher: {
        'clone_to_pictures_s' if part == 'clone' else f'of_{part}': float(next(values))})
    assert main(['--model', str(small), '--clone']) == 0
    content = json.loads(documents.read_text())
    assert content['figures']['clone_to_pictures_s'] == 4
    content['figures']['of_yesterday'] = 1.0
    documents.write_text(json.dumps(content))
    assert main(['--model', str(small)]) == 0
    found = json.loads(documents.read_text())
    assert found['figures'] == {'clone_to_pictures_s': 4, 'of_teacher': 5, 'of_rgbd': 6,
                                'of_speed': 7, 'size_mib': content['figures']['size_mib']}
    assert found['reports']['clone'] == content['reports']['clone'] != {}


def test_what_is_missing_is_named_in_one_line(
        documents: Path, tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr('tools.shared_data.SHARED', tmp_path)
    monkeypatch.setattr(nano, 'SHARED', tmp_path)
    for arguments, sentence in [
            (['--model', 'none.xml'], 'none.xml: there is no such file'),
            (['--model', str(small)], f'{tmp_path} lacks weights/*.pth'),
            (['--model', str(small), '--only', 'rgbd', '--rgbd', 'none'], 'no such folder')]:
        assert main(arguments) == 1
        out, err = capsys.readouterr()
        assert err.startswith('error: ') and err.count('\n') == 1 and sentence in err
    assert not documents.exists()
