"""Names of any bytes and any length."""

import os
from pathlib import Path

from depth_anything_ros.files import atomic_path
from depth_anything_ros.foreign_files import (
    foreign_file, is_utf8, parse_yaml, printable, shortened)
import pytest


def test_a_name_that_is_not_utf8_can_be_printed() -> None:
    name = os.fsdecode(b'caf\xe9 \xc3\xa9')
    assert printable(name) == 'caf\\udce9 é'
    assert not is_utf8(Path(name)) and is_utf8(Path('é'))


@pytest.mark.parametrize('character', ['a', 'é', '深', os.fsdecode(b'\xe9')])
def test_a_long_name_is_cut_to_what_a_file_system_stores(character: str) -> None:
    size = len(os.fsencode(character))
    fits = character * (251 // size)
    assert shortened(fits, '.png') == fits
    names = [shortened(character * (251 // size) + end, '.png') for end in ('12345', '12346')]
    assert names[0] != names[1]
    assert all(245 < len(os.fsencode(f'{name}.png')) <= 255 for name in names)


@pytest.mark.parametrize('name', ['x' * 251 + '.png', 'é' * 125 + '.png', '深' * 83 + '.png'])
def test_the_longest_name_can_be_written(tmp_path: Path, name: str) -> None:
    with atomic_path(tmp_path / name) as staged:
        staged.write_bytes(b'content')
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(('content', 'fact', 'fix'), [
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:1\n', 'Git LFS', 'git lfs pull'),
    (b'<!DOCTYPE html>\n<html>', 'web page', '/resolve/'),
    (b'\xef\xbb\xbf \n<HTML lang="en">', 'web page', '/resolve/'),
    (b'ftrt\0\0\0\0', 'TensorRT', 'ONNX file')])
def test_a_file_that_stands_in_for_another_is_named(
        tmp_path: Path, content: bytes, fact: str, fix: str) -> None:
    (tmp_path / 'model.pth').write_bytes(content)
    found = foreign_file(tmp_path / 'model.pth')
    assert found is not None and fact in found[0] and fix in found[1]
    (tmp_path / 'model.pth').write_bytes(b'PK\3\4')
    assert foreign_file(tmp_path / 'model.pth') is None
    assert foreign_file(tmp_path) is None and foreign_file(tmp_path / 'none') is None


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'model.xml')
    assert foreign_file(tmp_path / 'model.xml') is None


def test_yaml_keeps_merged_keys() -> None:
    pytest.importorskip('yaml')
    assert parse_yaml('a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}')['b'] == {'x': 3, 'y': 2}


@pytest.mark.parametrize(('text', 'reason'), [
    ('a: 1\nb: 2\na: 1', 'the key a is there 2 times'), ('b: {c: 1, c: 2}', 'the key c'),
    ('[{c: 1, c: 2}]', 'the key c'), ('a: [', 'expected the node'), ('[' * 5000, 'recursion'),
    ('a: 2024-13-45', 'month must be'), ('!!timestamp x', 'NoneType'), ('!!bool x', 'x'),
    ('? [a]\n: 1', 'unhashable'), ('!!map x', 'unpack')])
def test_what_is_no_yaml_or_has_a_key_twice_is_a_value_error(text: str, reason: str) -> None:
    pytest.importorskip('yaml')
    with pytest.raises(ValueError, match=rf'it is not YAML \(.*{reason}'):
        parse_yaml(text)
