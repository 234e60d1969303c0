"""Folders and lists as people have them: other formats, other systems, long names."""

import os
from pathlib import Path

import cv2
from depth_anything_ros.errors import ImageError
from depth_anything_ros.media.folders import (
    color_pictures_below, foreign_suffixes, left_out_text, picture_suffixes, read_list,
    required_color_pictures)
from depth_anything_ros.media.open_images import left_out, open_images
import numpy as np
import pytest

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def save(path: Path) -> Path:
    """Write a picture in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = '.jpg' if path.suffix == '.jfif' else path.suffix
    path.write_bytes(cv2.imencode(suffix, NOISE)[1].tobytes())
    return path


@pytest.mark.parametrize('suffix', [one for one in picture_suffixes() if one != '.pgm'])
def test_every_format_that_opencv_reads_is_read_from_a_folder(
        tmp_path: Path, suffix: str) -> None:
    save(tmp_path / f'photo{suffix}')
    (item,) = open_images(str(tmp_path))
    assert item.read().size_hw == (40, 60)


def test_formats_that_this_opencv_lacks_are_counted(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, 'haveImageWriter', lambda name: not name.endswith(('.gif', '.jp2')))
    assert '.gif' in foreign_suffixes() and '.gif' not in picture_suffixes()
    save(tmp_path / 'a.png')
    save(tmp_path / 'e.ppm')
    for name in ('b.HEIC', 'deep/c.heic', 'd.gif', 'clip.mp4', '.e.heic', 'notes.md'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'')
    assert [item.name for item in open_images(str(tmp_path))] == ['a.png', 'e.ppm']
    names = [file.name for file in left_out(str(tmp_path))]
    assert names == ['b.HEIC', 'd.gif', 'c.heic', 'clip.mp4']
    assert left_out_text(left_out(str(tmp_path))).startswith(
        'left out: 2 .heic, 1 .gif, 1 .mp4; convert pictures to JPEG or PNG')


def test_a_folder_of_nothing_else_names_the_formats(tmp_path: Path) -> None:
    (tmp_path / 'a.heic').write_bytes(b'')
    with pytest.raises(ImageError, match='holds no image; supported are .*; left out: 1 .heic;'):
        open_images(str(tmp_path))


def test_depth_maps_are_no_pictures_wherever_an_rgbd_folder_keeps_them(tmp_path: Path) -> None:
    """The folder itself may be called depth."""
    folder = tmp_path / 'depth_scenes'
    kept = [save(folder / name) for name in ('a/rgb/1.png', 'b/rgb_1.png')]
    for name in ('a/depth/1.png', 'b/depth_1.png'):
        save(folder / name)
    assert color_pictures_below(folder) == kept


def test_a_folder_without_pictures_says_why_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match='there is no folder .*/none; name one with pictures'):
        required_color_pictures(tmp_path / 'none')
    with pytest.raises(ImageError, match='holds no image; supported are .jpg'):
        required_color_pictures(tmp_path)
    for name in ('depth_1.png', 'depth/2.png'):
        save(tmp_path / name)
    with pytest.raises(ImageError, match='holds 2 pictures, all left out .*; rename them'):
        required_color_pictures(tmp_path)
    kept = save(tmp_path / '1.png')
    assert required_color_pictures(tmp_path) == [kept]


def test_videos_without_pictures_are_not_left_out(tmp_path: Path) -> None:
    for name in ('a.mp4', 'b.heic'):
        (tmp_path / name).write_bytes(b'')
    assert [file.name for file in left_out(str(tmp_path))] == ['b.heic']
    assert left_out(str(tmp_path / 'a.mp4')) == []


def test_bags_beside_pictures_are_left_out_with_a_sentence(tmp_path: Path) -> None:
    save(tmp_path / 'thumb.png')
    for name in ('a/drive_1/metadata.yaml', 'a/drive_1/0.db3', 'a/drive_1/1.db3', 'b.mcap',
                 'clip.mp4', 'scene/metadata.yaml', 'scene/out/old.mcap'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b'')
    found = left_out(str(tmp_path), lambda file: 'out' in file.parts)
    assert [file.relative_to(tmp_path).as_posix() for file in found] == [
        'a/drive_1', 'b.mcap', 'clip.mp4']
    assert left_out_text(found) == (
        'left out: 1 .mp4, 2 bags; convert pictures to JPEG or PNG, and keep videos and bags in a '
        'folder of their own')
    (tmp_path / 'thumb.png').unlink()
    assert left_out(str(tmp_path)) == []


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be',
                                      'utf-32'])
@pytest.mark.parametrize('end', ['\n', '\r\n'])
def test_a_list_may_have_any_unicode_encoding(tmp_path: Path, encoding: str, end: str) -> None:
    photos = [save(tmp_path / name) for name in ('a.png', 'Größe.png', 'deep/b.png')]
    text = end.join(['a.png', 'Größe.png', 'deep\\b.png', ''])
    (tmp_path / 'list.txt').write_bytes(text.encode(encoding))
    assert read_list(tmp_path / 'list.txt') == photos


def test_a_list_in_bytes_that_are_not_utf8_keeps_them(tmp_path: Path) -> None:
    photo = tmp_path / os.fsdecode(b'caf\xe9.png')
    save(tmp_path / 'a.png').rename(photo)
    (tmp_path / 'list.txt').write_bytes(b'caf\xe9.png\n')
    assert read_list(tmp_path / 'list.txt') == [photo]


def test_the_list_of_a_tum_sequence_is_a_list(tmp_path: Path) -> None:
    photo = save(tmp_path / 'rgb' / '1305031102.175304.png')
    (tmp_path / 'rgb.txt').write_text(
        '# color images\n# timestamp filename\n'
        '1305031102.175304 rgb/1305031102.175304.png\n1305031102.211214 rgb/missing.png\n')
    assert read_list(tmp_path / 'rgb.txt') == [photo, Path('rgb/missing.png')]


@pytest.mark.parametrize('content', [b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\0', b'a\0\0\0b'])
def test_a_file_that_is_no_text_is_no_list(tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'list.txt').write_bytes(content)
    with pytest.raises(ImageError, match='list.txt is not a text file; write one path a line'):
        open_images(str(tmp_path / 'list.txt'))


def test_lines_that_cannot_be_paths_fail_alone(tmp_path: Path) -> None:
    photo = save(tmp_path / 'a.png')
    (tmp_path / 'list.txt').write_text(f'{"x" * 5000}\na.png\n')
    first, second = open_images(str(tmp_path / 'list.txt'))
    assert second.path == photo
    with pytest.raises(ImageError, match='File name too long'):
        first.read()
