"""The page about performance is made of performance.json and of nothing else."""

import json
import math
from pathlib import Path
from typing import Any

import cv2
from depth_anything_ros.benchmark.report import Report, Table
import numpy as np
import pytest
from tools import shared_data
from tools.measure import performance, performance_page
from tools.measure.figures import FOLDER, ROOT
from tools.measure.performance import figure_name, main, shrink_picture, with_report
from tools.measure.performance_page import MODES, PAGE, render, TARGETS

MEASURED = FOLDER / 'performance.json'
SHARED = ROOT.parent / 'shared'
LARGEST_PICTURE = 100_000

needs_figures = pytest.mark.skipif(not MEASURED.is_file(), reason='nothing was measured yet')


def report(mode: str, figures: dict[str, float], draw: Any = None) -> Report:
    """Return what a mode could find."""
    table = Table('Rates', ('peer', 'images/s'), (('ours', '12'),), 'more is better')
    return Report(mode, {'images': f'4, from {SHARED}/images/photos'}, (table,), figures, draw)


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """Return performance.json of two modes, the later one first."""
    found: dict[str, Any] = {'figures': {}, 'reports': {}}
    for one in (report('limit', {'peak_fraction': 0.61}),
                report('node', {'node_ratio_depth': 0.98, 'age_p50_ratio': 1.2,
                                'rss_growth_mib_2000': 2.0})):
        found = with_report(found, one.mode, one, tmp_path)
    return {'command': 'python -m x', 'machine': 'AMD, 2 cores', **found}


def row_of(page: str, figure: str) -> list[str]:
    """Return the cells of the row of a target, without its text."""
    line, = [line for line in page.splitlines() if line.startswith(f'| `{figure}`')]
    return [cell.strip() for cell in line.split('|')[2:-1]]


@needs_figures
def test_the_page_says_what_was_measured() -> None:
    assert PAGE.read_text(encoding='utf-8') == render(json.loads(MEASURED.read_text('utf-8')))


@needs_figures
def test_every_picture_of_the_page_is_there_and_small() -> None:
    reports = json.loads(MEASURED.read_text('utf-8'))['reports']
    sizes = {one['picture']: (ROOT / 'docs' / 'images' / one['picture']).stat().st_size
             for one in reports.values() if 'picture' in one}
    assert max(sizes.values()) < LARGEST_PICTURE


def test_a_target_is_shown_as_met_missed_or_not_measured(content: dict[str, Any]) -> None:
    page = render(content)
    assert row_of(page, 'node_ratio_depth') == ['≥ 0.98', '0.98', 'met']
    assert row_of(page, 'age_p50_ratio') == ['≤ 1.15', '1.2', 'missed']
    assert row_of(page, 'rss_growth_mib_2000') == ['< 2', '2', 'missed']
    assert row_of(page, 'vs_pytorch_int8') == ['≥ 4', 'not measured', '']
    assert row_of(page, 'peak_fraction') == ['', '0.61', '']


def test_the_targets_are_the_figures_that_were_promised() -> None:
    assert [target.figure for target in TARGETS] == [
        'node_ratio_depth', 'node_ratio_all', 'age_p50_ratio', 'age_p95_ratio',
        'host_ms_per_frame', 'box_node_ratio_depth', 'box_node_ratio_all',
        'box_profile_node_ratio_depth', 'box_profile_node_ratio_all', 'box_host_ms_per_frame',
        'box_host_ms_per_frame_all', 'box_floor_ms_per_frame', 'box_floor_ms_per_frame_all',
        'box_age_p50_ratio', 'box_age_p95_ratio', 'box_profile_age_p50_ratio',
        'box_profile_age_p95_ratio', 'jpeg_node_ratio', 'jpeg_rate_ratio', 'demo_hz',
        'demo_bare_ratio', 'vs_pytorch_bf16', 'vs_pytorch_int8', 'vs_pytorch_vnni',
        'vs_onnxruntime_vnni', 'vs_onnxruntime_int8_vnni', 'vs_onnxruntime_bf16',
        'vs_plain_openvino', 'activation_ratio', 'rss_growth_mib_2000', 'peak_fraction']


def test_the_page_names_machine_and_command_and_has_a_section_per_mode(
        content: dict[str, Any]) -> None:
    page = render(content)
    assert 'Written by `python -m x`' in page and 'names its machine' in page
    headings = [line for line in page.splitlines() if line.startswith('## ')]
    assert headings == ['## Method', '## Targets', '## node', '## limit',
                        '## What limits the figures', '## What was tried']
    assert page.count('| ours | 12 |') == 2
    assert '- images: 4, from ../shared/images/photos' in page and '![' not in page
    assert 'depth_anything_benchmark node ' in page and 'models.md#a-row-for' in page
    assert all(f'python -m tools.{mode} ' in page for mode in ('peers', 'limit'))


def test_a_report_replaces_the_one_of_its_mode_and_keeps_the_others(
        content: dict[str, Any], tmp_path: Path) -> None:
    found = with_report(content, 'node', report('node', {
        'node_ratio_depth': 0.991234, 'age_p95_ratio': math.nan, 'drops': 3}), tmp_path)
    assert found['figures'] == content['figures'] | {'node_ratio_depth': 0.9912, 'drops': 3.0}
    assert all(isinstance(value, float) for value in found['figures'].values())
    assert list(found['reports']) == ['node', 'limit']
    assert 'figures' not in found['reports']['node']
    json.dumps(found, allow_nan=False)


def test_a_picture_is_drawn_made_small_and_shown(content: dict[str, Any], tmp_path: Path) -> None:
    def draw(path: Path) -> None:
        assert cv2.imwrite(str(path), np.full((60, 80, 3), 255, np.uint8))

    drawn = report('peers', {'vs_pytorch_bf16': 3.0}, draw)
    found = with_report(content, 'peers', drawn, tmp_path)
    assert found['reports']['peers']['picture'] == 'performance_peers.png'
    assert cv2.imread(str(tmp_path / 'performance_peers.png')).shape == (60, 80, 3)
    assert '(images/performance_peers.png)' in render({**content, **found})


def test_a_picture_that_is_made_small_keeps_white_black_and_nearly_every_shade(
        tmp_path: Path) -> None:
    picture, path = np.zeros((64, 256, 3), np.uint8), tmp_path / 'a.png'
    picture[:] = np.arange(256, dtype=np.uint8)[None, :, None]
    assert cv2.imwrite(str(path), picture, [cv2.IMWRITE_PNG_COMPRESSION, 0])
    before = path.stat().st_size
    shrink_picture(path)
    found = cv2.imread(str(path))
    assert path.stat().st_size < before / 10
    assert np.abs(found.astype(int) - picture).max() <= 8
    assert found[0, 0, 0] == 0 and found[0, 255, 0] == 255


@pytest.mark.parametrize(('mode', 'name', 'expected'), [
    ('peers', 'vs_pytorch_bf16', 'vs_pytorch_bf16'), ('node', 'drops', 'drops'),
    ('box', 'rate', 'box_rate'), ('limit', 'share', 'limit_share'),
    ('limit', 'limit_share', 'limit_share'), ('limit', 'peak_fraction', 'peak_fraction')])
def test_figures_of_box_and_limit_say_so_in_their_names(
        mode: str, name: str, expected: str) -> None:
    assert figure_name(mode, name) == expected


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that stands for docs/; the models are those of nobody."""
    (tmp_path / 'images').mkdir()
    monkeypatch.setattr('tools.measure.figures.FOLDER', tmp_path / 'figures')
    monkeypatch.setattr(performance, 'FOLDER', tmp_path / 'figures')
    monkeypatch.setattr(performance, '_PICTURES', tmp_path / 'images')
    monkeypatch.setattr(performance_page, 'PAGE', tmp_path / 'performance.md')
    monkeypatch.setattr(performance, 'make_inputs', lambda folder: None)
    monkeypatch.setattr(performance, 'requote_pages', lambda: None)
    return tmp_path


def test_all_modes_are_measured_and_one_alone_keeps_the_others(
        documents: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('openvino')
    rounds = iter(range(1, 11))
    monkeypatch.setattr(performance, 'measure', lambda mode, inputs: report(
        mode, {f'of_{mode}': float(next(rounds))}))
    measured = documents / 'figures' / 'performance.json'
    assert main([]) == 0
    assert json.loads(measured.read_text())['figures'] == {
        'of_peers': 1, 'of_node': 2, 'box_of_box': 3, 'box_profile_of_box_profile': 4,
        'box_load_of_box_load': 5, 'jpeg_of_jpeg': 6, 'demo_of_demo': 7, 'limit_of_limit': 8}
    assert main(['--only', 'node']) == 0
    content = json.loads(measured.read_text())
    assert content['figures'] == {
        'of_peers': 1, 'of_node': 9, 'box_of_box': 3, 'box_profile_of_box_profile': 4,
        'box_load_of_box_load': 5, 'jpeg_of_jpeg': 6, 'demo_of_demo': 7, 'limit_of_limit': 8}
    assert (list(content['reports']), set(content)) == (
        list(MODES), {'command', 'machine', 'figures', 'reports'})
    assert (documents / 'performance.md').read_text(encoding='utf-8') == render(content)
    assert capsys.readouterr().out.count('wrote ') == 9


def test_missing_data_is_named_in_one_line(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(shared_data, 'SHARED', tmp_path)
    assert main([]) == 1
    out, err = capsys.readouterr()
    assert out == '' and err == f'error: {tmp_path} lacks weights/*.pth, images or corpus\n'


def test_a_checkpoint_that_cannot_be_converted_is_named_in_one_line(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('torch')
    (tmp_path / 'weights').mkdir()
    (tmp_path / 'weights' / 'depth_anything_v2_vits.pth').write_bytes(b'damaged')
    monkeypatch.setattr(shared_data, 'SHARED', tmp_path)
    monkeypatch.setattr(shared_data, 'CORPUS', tmp_path)
    monkeypatch.setattr(shared_data, 'IMAGES', tmp_path)
    assert main([]) == 1
    err = capsys.readouterr().err
    assert err.startswith('error: ') and err.count('\n') == 1
    assert 'depth_anything_v2_vits.pth' in err


@pytest.mark.skipif(not shared_data.CORPUS.is_dir(), reason='../shared/corpus is not there')
def test_no_image_that_calibrates_is_one_that_judges(tmp_path: Path) -> None:
    calibration, gate = (set(file.read_text(encoding='utf-8').splitlines())
                         for file in shared_data.write_int8_lists(tmp_path))
    assert len(gate) == 15 and len(calibration) > 20 and not calibration & gate
    assert all(Path(name).is_file() for name in calibration | gate)
