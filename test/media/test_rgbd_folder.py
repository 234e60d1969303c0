"""Folders with measured depth: their description and their files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import sys

import cv2
from depth_anything_ros.errors import DatasetError, ImageError, MissingDependencyError
from depth_anything_ros.media.rgbd_folder import (
    open_folder, read_config, read_depth, read_truth, RgbdConfig, RgbdPair)
from depth_anything_ros.vision.depth import DepthRange
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest
from yaml_aliases import NESTED

GOOD = {'color': 'rgb_*.png', 'depth': 'depth_*.png', 'depth_scale': '1000', 'max_depth': '10'}
CONFIG = RgbdConfig('rgb_*.png', 'depth_*.png', 1000.0, DepthRange(0.001, 10.0))


HUGE = "{'descr': '<f4', 'fortran_order': False, 'shape': (10000000, 10000000), }"


def npy(header: str) -> bytes:
    """Return a .npy file with this header and hardly any values."""
    return b'\x93NUMPY\1\0' + (len(header) + 1).to_bytes(2, 'little') + f'{header}\n'.encode()


def write_config(folder: Path, **changes: str | None) -> Path:
    """Write the good description with ``changes``, None leaves a key out."""
    pytest.importorskip('yaml')
    lines = [f'{key}: {value}' for key, value in {**GOOD, **changes}.items() if value is not None]
    path = folder / 'dataset.yaml'
    path.write_text('\n'.join(lines))
    return path


def save(path: Path, values: np.ndarray) -> Path:
    """Write ``values`` as a picture or as .npy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == '.npy':
        np.save(path, values)
    else:
        path.write_bytes(cv2.imencode(path.suffix, values)[1].tobytes())
    return path


def test_a_description_has_patterns_units_range_and_crop(tmp_path: Path) -> None:
    assert read_config(write_config(tmp_path)) == CONFIG
    full = write_config(tmp_path, min_depth='0.1', crop='[45, 471, 41, 601]',
                        depth_scale='256.0', max_depth='80')
    assert read_config(full) == RgbdConfig(
        'rgb_*.png', 'depth_*.png', 256.0, DepthRange(0.1, 80.0), (45, 471, 41, 601))


def test_the_description_in_the_documentation_can_be_read(tmp_path: Path) -> None:
    pytest.importorskip('yaml')
    page = (Path(__file__).parents[2] / 'docs' / 'evaluating.md').read_text()
    (tmp_path / 'dataset.yaml').write_text(page.partition('```yaml')[2].partition('```')[0])
    assert read_config(tmp_path / 'dataset.yaml') == RgbdConfig(
        'rgb_*.png', 'depth_*.png', 1000.0, DepthRange(0.1, 10.0), (45, 471, 41, 601),
        (518.0, 519.0))


@pytest.mark.parametrize(('changes', 'sentence'), [
    ({'color': None, 'max_depth': None}, 'these keys are missing: color, max_depth'),
    ({'scale': '1'},
     'scale is not one of the keys color, depth, depth_scale, max_depth, min_depth'),
    ({'camera': '518'}, 'camera is 518; it must be [fx, fy, cx, cy] in pixels'),
    ({'camera': '[518, 518]'}, 'it must be [fx, fy, cx, cy]'),
    ({'camera': '[518, -1, 320, 240]'}, 'camera is [518, -1, 320, 240]; '),
    ({'camera': f'[1{"0" * 400}, 1, 1, 1]'}, 'it must be [fx, fy, cx, cy]'),
    ({'color': '[rgb_*.png]'}, "color is ['rgb_*.png']; it must hold exactly one *"),
    ({'color': '{a: [b]}'}, 'color is nested; it must hold exactly one *'),
    ({'depth_scale': f'1{"0" * 400}'}, 'it must be a number'),
    ({'color': '[' * 3000}, 'not YAML'),
    ({'color': 'rgb.png'}, "color is 'rgb.png'; it must hold exactly one *"),
    ({'depth': '"*/depth_*.png"'}, 'exactly one'),
    ({'depth': '/data/*.png'}, 'below the folder'),
    ({'depth': '../*.png'}, 'below the folder'),
    ({'depth_scale': '0'}, 'depth_scale is 0; it must be above 0'),
    ({'depth_scale': 'mm'}, "depth_scale is 'mm'; it must be a number"),
    ({'max_depth': '.inf'}, 'max_depth is inf; it must be a number'),
    ({'min_depth': '11'}, 'holds no depth'),
    ({'min_depth': '0'}, 'holds no depth'),
    ({'crop': '[0, 10, 5]'}, 'crop is'),
    ({'crop': '[10, 0, 0, 5]'}, 'crop is'), ({'crop': '[0, 10, 5, 5]'}, 'crop is'),
    ({'color': '[a'}, 'not YAML'),
    ({'color': '[' * 5000}, 'not YAML'),
    ({'camera': '[0.9, 1.2, 0.5, 0.5]'}, 'shares of the image; it must be in pixels'),
    ({'color': '!!python/object/apply:os.getpid []'}, 'not YAML')])
def test_a_wrong_description_names_the_key(
        tmp_path: Path, changes: dict[str, str | None], sentence: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read_config(write_config(tmp_path, **changes))
    assert sentence in str(caught.value) and 'dataset.yaml' in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_description_that_is_missing_or_empty_is_refused(tmp_path: Path) -> None:
    pytest.importorskip('yaml')
    with pytest.raises(DatasetError, match='cannot be read'):
        read_config(tmp_path / 'none.yaml')
    (tmp_path / 'empty.yaml').write_text('')
    with pytest.raises(DatasetError, match='holds no keys'):
        read_config(tmp_path / 'empty.yaml')


def test_a_key_that_is_there_twice_is_named(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    path.write_text(f'{path.read_text()}\ndepth_scale: 5000\n')
    with pytest.raises(DatasetError, match='the key depth_scale is there 2 times'):
        read_config(path)


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_a_description_may_have_the_encodings_of_windows(tmp_path: Path, encoding: str) -> None:
    path = write_config(tmp_path)
    path.write_bytes(path.read_text().encode(encoding))
    assert read_config(path) == CONFIG


def test_without_yaml_the_line_that_installs_it_is_named(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_config(tmp_path)
    monkeypatch.setitem(sys.modules, 'yaml', None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'depth_anything_ros\[tools\]'"):
        read_config(path)


def test_files_are_paired_by_the_text_of_the_star(tmp_path: Path) -> None:
    for name in ('rgb_2.png', 'rgb_10.png', 'rgb_3.png', 'depth_10.png', 'depth_2.png',
                 'depth_7.png', 'other.txt'):
        (tmp_path / name).touch()
    dataset = open_folder(tmp_path, CONFIG)
    assert [(pair.name, pair.depth.name) for pair in dataset.pairs] == [
        ('rgb_10.png', 'depth_10.png'), ('rgb_2.png', 'depth_2.png')]
    assert dataset.unmatched == ('rgb_3.png', 'depth_7.png')


def test_the_star_may_be_a_folder_and_brackets_are_only_brackets(tmp_path: Path) -> None:
    for scene in ('a[1]', 'b'):
        save(tmp_path / 'set[x]' / scene / 'rgb.png', np.zeros((2, 2, 3), np.uint8))
        save(tmp_path / 'set[x]' / scene / 'depth.npy', np.zeros((2, 2)))
    dataset = open_folder(tmp_path, RgbdConfig('set[x]/*/rgb.png', 'set[x]/*/depth.npy', 1.0,
                                               DepthRange(0.1, 10.0)))
    assert [pair.name for pair in dataset.pairs] == ['set[x]/a[1]/rgb.png', 'set[x]/b/rgb.png']
    assert dataset.unmatched == ()


@pytest.mark.parametrize('start', ['./', 'a//', './/a/./'])
def test_other_spellings_of_a_path_leave_no_file_out(tmp_path: Path, start: str) -> None:
    """The names of the files have neither ./ nor //, and the text for the * is cut out of them."""
    for name in ('rgb_0001.png', 'rgb_0101.png', 'depth_0001.png', 'depth_0101.png'):
        for folder in (tmp_path, tmp_path / 'a'):
            folder.mkdir(exist_ok=True)
            (folder / name).touch()
    config = read_config(write_config(tmp_path, color=f'{start}rgb_*.png',
                                      depth=f'{start}depth_*.png'))
    assert [pair.key for pair in open_folder(tmp_path, config).pairs] == ['0001', '0101']


@pytest.mark.parametrize('pattern', ['rgb/*.png', '*/rgb.png'])
def test_hidden_files_are_no_images(tmp_path: Path, pattern: str) -> None:
    for key in ('a', '._a', '.cache'):
        for kind in ('rgb', 'depth'):
            save(tmp_path / pattern.replace('rgb', kind).replace('*', key),
                 np.zeros((4, 6), np.uint16))
    config = replace(CONFIG, color=pattern, depth=pattern.replace('rgb', 'depth'))
    dataset = open_folder(tmp_path, config)
    assert [pair.key for pair in dataset.pairs] == ['a'] and dataset.unmatched == ()


@pytest.mark.parametrize('pattern', ['*.png', '*_depth.png'])
def test_a_star_without_quotes_is_answered_with_the_quoted_line(
        tmp_path: Path, pattern: str) -> None:
    with pytest.raises(DatasetError, match='alias; quote it: depth: ') as caught:
        read_config(write_config(tmp_path, depth=pattern))
    assert str(caught.value).endswith(f"depth: '{pattern}'")


def test_time_stamps_that_differ_are_answered_with_the_way_to_pair_them(tmp_path: Path) -> None:
    for name in ('rgb/1305031102.175304.png', 'depth/1305031102.160407.png'):
        save(tmp_path / name, np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(DatasetError, match='they are time stamps, which differ; .*associate.py'):
        open_folder(tmp_path, RgbdConfig('rgb/*.png', 'depth/*.png', 5000.0,
                                         DepthRange(0.1, 10.0)))


def test_a_last_axis_of_one_is_no_axis(tmp_path: Path) -> None:
    path = save(tmp_path / 'depth.npy', np.full((3, 4, 1), 2.5, np.float32))
    assert_array_equal(read_depth(path, 1.0), np.full((3, 4), 2.5))
    with pytest.raises(ImageError, match=r'shape \(3, 4, 2\), .*; save it as \[H, W\]'):
        read_depth(save(path, np.zeros((3, 4, 2))), 1.0)


def test_a_folder_without_pairs_reports_the_matches_of_each_pattern(tmp_path: Path) -> None:
    (tmp_path / 'rgb_1.png').touch()
    with pytest.raises(DatasetError, match=r'1 files match rgb_\*.png, 0 match depth_\*.png'):
        open_folder(tmp_path, CONFIG)
    with pytest.raises(DatasetError, match='no such folder'):
        open_folder(tmp_path / 'none', CONFIG)


@pytest.mark.parametrize('suffix', ['.png', '.npy', '.pfm'])
def test_depth_files_of_every_kind_become_metres(tmp_path: Path, suffix: str) -> None:
    stored = np.array([[0, 1500], [65535, 3]])
    file_type = np.uint16 if suffix == '.png' else np.float32
    path = save(tmp_path / f'tiefe-ü{suffix}', stored.astype(file_type))
    depth_m = read_depth(path, 1000.0)
    assert depth_m.dtype == np.float32
    assert_allclose(depth_m, [[0, 1.5], [65.535, 0.003]], rtol=1e-6)


def test_a_pfm_is_read_from_the_bottom_up_in_either_byte_order(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3) + 1
    for scale, byte_order in (('-1.0', '<f4'), ('1.0', '>f4')):
        path = tmp_path / 'depth.pfm'
        rows = values[::-1].astype(byte_order).tobytes()
        path.write_bytes(f'Pf\n3 2\n{scale}\n'.encode() + rows)
        assert_array_equal(read_depth(path, 1.0), values)


@pytest.mark.parametrize('scale', ['-0.003922', '-2', '+255.0', '1e-3'])
def test_the_scale_of_a_pfm_leaves_its_values_as_they_are(tmp_path: Path, scale: str) -> None:
    values = np.array([[1.5, 2.5, 3.5], [4.5, np.inf, 0.0]], np.float32)
    order = '<f4' if scale.startswith('-') else '>f4'
    path = tmp_path / 'depth.pfm'
    path.write_bytes(f'Pf\n3 2\n{scale}\n'.encode() + values[::-1].astype(order).tobytes())
    assert_array_equal(read_depth(path, 1.0), values)


@pytest.mark.parametrize(('name', 'values', 'sentence'), [
    ('a.png', np.zeros((4, 4), np.uint8), 'holds uint8 values'),
    ('a.png', np.zeros((4, 4, 3), np.uint16), 'not one depth per pixel'),
    ('a.npy', np.zeros((4, 4), bool), 'holds bool values'),
    ('a.npy', np.zeros((1, 4, 4), np.float32), 'not one depth per pixel'),
    ('a.npy', np.array([{}]), 'not a readable .npy file')], ids=str)
def test_files_that_cannot_be_depth_are_refused(
        tmp_path: Path, name: str, values: np.ndarray, sentence: str) -> None:
    with pytest.raises(ImageError, match=sentence):
        read_depth(save(tmp_path / name, values), 1000.0)


@pytest.mark.parametrize('name', ['a.png', 'a.npy', 'a.pfm'])
def test_damaged_and_missing_depth_files_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match=name):
        read_depth(tmp_path / name, 1.0)
    for content in (b'', b'damaged', b'version https://git-lfs.github.com/spec/v1\n',
                    b'PK\3\4 no archive', npy('(' * 99), npy(HUGE)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=name):
            read_depth(tmp_path / name, 1.0)


@pytest.fixture
def measured(tmp_path: Path) -> Callable[[np.ndarray], RgbdPair]:
    """Return a function that stores a map in millimetres and returns its pair."""
    def store(values: np.ndarray) -> RgbdPair:
        return RgbdPair('rgb_1.png', tmp_path / 'rgb_1.png',
                        save(tmp_path / 'depth_1.png', values.astype(np.uint16)))
    return store


def test_depth_outside_of_the_range_is_not_scored(
        measured: Callable[[np.ndarray], RgbdPair]) -> None:
    pair = measured(np.array([[0, 50, 2000, 12000]]))
    config = RgbdConfig('*', '*', 1000.0, DepthRange(0.1, 10.0))
    assert_array_equal(read_truth(pair, config, (1, 4)), np.float32([[np.nan] * 2 + [2, np.nan]]))


def test_pixels_outside_of_the_crop_are_not_scored(
        measured: Callable[[np.ndarray], RgbdPair]) -> None:
    pair = measured(np.full((4, 6), 1000))
    config = RgbdConfig('*', '*', 1000.0, DepthRange(0.1, 10.0), (1, 3, 2, 6))
    assert_array_equal(np.argwhere(np.isfinite(read_truth(pair, config, (4, 6)))),
                       [[row, column] for row in (1, 2) for column in (2, 3, 4, 5)])
    too_large = RgbdConfig('*', '*', 1000.0, DepthRange(0.1, 10.0), (0, 5, 0, 6))
    with pytest.raises(ImageError, match='6x4, smaller than the crop'):
        read_truth(pair, too_large, (4, 6))


def test_two_sizes_are_refused_with_both(measured: Callable[[np.ndarray], RgbdPair]) -> None:
    with pytest.raises(ImageError, match='depth_1.png is 6x4, but rgb_1.png is 12x8'):
        read_truth(measured(np.ones((4, 6))), CONFIG, (8, 12))


@pytest.mark.parametrize('content', [
    b'PK\3\4 no archive', b'\x93NUMPY\1\0\x10\0{{{{{{{{{{{{{{{\n'], ids=['archive', 'header'])
def test_whatever_numpy_raises_for_a_damaged_array_is_one_sentence(
        tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'a.npy').write_bytes(content)
    with pytest.raises(ImageError, match='a.npy is missing or not a readable .npy file'):
        read_depth(tmp_path / 'a.npy', 1.0)


def test_a_picture_of_depth_that_breaks_off_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / 'a.png', np.ones((40, 40), np.uint16))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ImageError, match='a.png: the PNG is incomplete'):
        read_depth(path, 1000.0)


def test_aliases_that_would_become_gigabytes_of_text_are_not_printed(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match='crop is nested; it must be'):
        read_config(write_config(tmp_path, crop=NESTED))
