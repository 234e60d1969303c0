"""Pictures of files, folders and lists, and their sizes from the header."""

import os
from pathlib import Path
import zlib

import cv2
from depth_anything_ros.errors import ImageError
from depth_anything_ros.media.open_images import left_out, list_recordings, open_images
from depth_anything_ros.media.pictures import read_size_hw, SUFFIXES
import numpy as np
from numpy.testing import assert_array_equal
from photos import with_orientation
import pytest


def picture(level: int = 0, size_hw: tuple[int, int] = (20, 30)) -> np.ndarray:
    """Return BGR noise, brighter with ``level``."""
    rng = np.random.default_rng(level)
    return rng.integers(level, level + 50, (*size_hw, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix.lower(), pixels)[1].tobytes())
    return path


def test_a_folder_is_read_deep_and_sorted_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    for name in ('b.PNG', 'a/z.jpg', 'a/c.Bmp', '.hidden.png', '.git/x.png'):
        save(tmp_path / name, picture())
    (tmp_path / 'notes.md').write_text('no picture')
    (tmp_path / 'folder.png').mkdir()
    source = open_images(str(tmp_path))
    assert [item.name for item in source] == ['a/c.Bmp', 'a/z.jpg', 'b.PNG']
    assert [item.index for item in source] == [0, 1, 2]
    assert (source.kind, source.count, source.frames_per_second) == ('images', 3, None)


@pytest.mark.parametrize('suffix', SUFFIXES)
def test_every_suffix_that_is_listed_can_be_read(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / f'picture{suffix}', picture(100))
    (item,) = open_images(str(tmp_path))
    assert item.read().size_hw == (20, 30)
    assert abs(float(item.read().pixels.mean()) - float(picture(100).mean())) < 3


@pytest.mark.parametrize('pixels', [
    picture()[..., 0], np.dstack([picture(), picture()[..., :1]]),
    (picture().astype(np.uint16) << 8) + 3], ids=['gray', 'alpha', '16 bit'])
def test_any_png_is_read_as_the_reference_reads_it(tmp_path: Path, pixels: np.ndarray) -> None:
    path = save(tmp_path / 'picture.png', pixels)
    (item,) = open_images(str(path))
    assert item.read().order == 'bgr'
    assert_array_equal(item.read().pixels, cv2.imread(str(path)))


def test_names_need_not_be_ascii(tmp_path: Path) -> None:
    save(tmp_path / 'Größe 深度' / 'Übung.png', picture(3))
    (item,) = open_images(str(tmp_path))
    assert item.name == 'Größe 深度/Übung.png'
    assert_array_equal(item.read().pixels, picture(3))


def test_a_list_is_relative_to_here_or_to_itself(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, lists = tmp_path / 'here', tmp_path / 'lists'
    save(here / 'one.png', picture(1))
    save(lists / 'one.png', picture(2))
    save(lists / 'two.png', picture(3))
    absolute = save(tmp_path / 'three.png', picture(4))
    monkeypatch.chdir(here)
    (lists / 'all.txt').write_text(f'one.png\n\n two.png \r\n{absolute}\none.png\nmissing.png\n')
    source = open_images(str(lists / 'all.txt'))
    *readable, missing = source
    assert source.count == 4
    assert [int(item.read().pixels.min()) for item in readable] == [1, 3, 4]
    with pytest.raises(ImageError, match='No such file'):
        missing.read()


def test_an_image_that_cannot_be_read_says_why_and_leaves_the_others(tmp_path: Path) -> None:
    save(tmp_path / 'b.png', picture())
    (tmp_path / 'a.jpg').write_bytes(b'not a jpeg')
    (tmp_path / 'c.png').write_bytes(b'')
    broken, good, empty = open_images(str(tmp_path))
    assert good.read().size_hw == (20, 30)
    with pytest.raises(ImageError, match='cannot decode these 10 bytes'):
        broken.read()
    with pytest.raises(ImageError, match='cannot decode these 0 bytes'):
        empty.read()


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read anything')
def test_a_file_without_permission_is_an_image_error(tmp_path: Path) -> None:
    save(tmp_path / 'secret.png', picture()).chmod(0)
    (item,) = open_images(str(tmp_path))
    with pytest.raises(ImageError, match='Permission denied'):
        item.read()


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    for method in (left_out, list_recordings):
        assert method('') == []
    with pytest.raises(ImageError, match='the name of the images is empty'):
        open_images('')
    with pytest.raises(ImageError, match='there is no file or folder .*missing.png'):
        open_images(str(tmp_path / 'missing.png'))
    with pytest.raises(ImageError, match='holds no image; supported are .jpg'):
        open_images(str(tmp_path))
    (tmp_path / 'list.txt').write_text('\n\n')
    with pytest.raises(ImageError, match='list.txt is empty'):
        open_images(str(tmp_path / 'list.txt'))
    with pytest.raises(ImageError, match='is no bag, so it has no topic /image'):
        open_images(str(tmp_path), topic='/image')


def test_a_folder_or_list_of_videos_stands_for_the_videos(tmp_path: Path) -> None:
    (tmp_path / 'b').mkdir()
    for name in ('b/one.mp4', 'a.AVI', 'c.mcap', 'notes.yaml'):
        (tmp_path / name).write_bytes(b'')
    videos = [str(tmp_path / name) for name in ('a.AVI', 'b/one.mp4', 'c.mcap')]
    assert list_recordings(str(tmp_path)) == videos
    (tmp_path / 'list.txt').write_text('a.AVI\nb/one.mp4\nc.mcap\n')
    assert list_recordings(str(tmp_path / 'list.txt')) == videos
    for other in ('a.AVI', 'missing.txt'):
        assert list_recordings(str(tmp_path / other)) == []
    save(tmp_path / 'picture.png', picture())
    (tmp_path / 'list.txt').write_text('a.AVI\npicture.png\n')
    for mixed in (tmp_path, tmp_path / 'list.txt'):
        assert list_recordings(str(mixed)) == []


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.bmp', '.webp'])
def test_the_size_is_read_from_the_header(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f'picture{suffix}', picture(0, (21, 34)))
    whole = path.read_bytes()
    path.write_bytes(whole[:700])
    assert read_size_hw(path) == (21, 34)


@pytest.mark.parametrize('order', ['big', 'little'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_the_size_of_a_photo_is_that_of_the_picture_turned_upright(
        tmp_path: Path, orientation: int, order: str) -> None:
    path = tmp_path / 'photo.jpg'
    jpeg = cv2.imencode('.jpg', picture(0, (16, 48)))[1].tobytes()
    path.write_bytes(with_orientation(jpeg, orientation, order))
    (item,) = open_images(str(path))
    assert read_size_hw(path) == item.read().size_hw == (
        (16, 48) if orientation < 5 else (48, 16))


@pytest.mark.parametrize('quality', [80, 101], ids=['lossy', 'lossless'])
@pytest.mark.parametrize('size_hw', [(1, 1), (21, 34), (300, 616)])
def test_the_size_of_every_kind_of_webp_is_known(
        tmp_path: Path, size_hw: tuple[int, int], quality: int) -> None:
    path = tmp_path / 'photo.webp'
    cv2.imwrite(str(path), picture(0, size_hw), [cv2.IMWRITE_WEBP_QUALITY, quality])
    (item,) = open_images(str(tmp_path))
    assert read_size_hw(path) == item.read().size_hw == size_hw


def test_the_size_of_a_webp_with_alpha_is_that_of_its_canvas(tmp_path: Path) -> None:
    path = tmp_path / 'photo.webp'
    pixels = np.dstack([picture(0, (21, 34)), np.full((21, 34), 90, np.uint8)])
    cv2.imwrite(str(path), pixels, [cv2.IMWRITE_WEBP_QUALITY, 80])
    assert path.read_bytes()[12:16] == b'VP8X'
    assert read_size_hw(path) == next(iter(open_images(str(path)))).read().size_hw


def test_exif_data_of_png_and_webp_leave_the_size_to_the_decoder(tmp_path: Path) -> None:
    """Since OpenCV 5 they are turned upright; older versions do not turn them."""
    png = save(tmp_path / 'photo.png', picture(0, (16, 48)))
    data = png.read_bytes()
    chunk = b'eXIf' + b'II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0'
    png.write_bytes(data[:33] + (len(chunk) - 4).to_bytes(4, 'big') + chunk
                    + zlib.crc32(chunk).to_bytes(4, 'big') + data[33:])
    assert read_size_hw(png) is None
    (item,) = open_images(str(png))
    assert sorted(item.read().size_hw) == [16, 48]
    webp = tmp_path / 'photo.webp'
    webp.write_bytes(b'RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x08\0\0\0\x1d\0\0\x13\0\0')
    assert read_size_hw(webp) is None


@pytest.mark.parametrize('content', [
    b'RIFF\0\0\0\0WEBP', b'RIFF\0\0\0\0WEBPVP8 \0\0\0\0123', b'RIFF\0\0\0\0WEBPVP8L',
    b'RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0', b'RIFF\0\0\0\0WAVEfmt ',
    b'', b'\xff\xd8', b'\x89PNG\r\n\x1a\n', b'BM', b'II*\0',
    b'II*\0\x08\0\0\0\x01\0\0\x01\x05\0\x01\0\0\0\x08\0\0\0',
    b'II*\0\x08\0\0\0\x01\0\0\x01\x04\0\xff\xff\xff\xff\x08\0\0\0',
    b'\xff\xd8\xff\xe1\0\x10Exif\0\0MM\0*', b'\xff\xd8\xff\xe1\0\x02\xff\xe1\0\0',
    b'\xff\xd8\xff\xe1\0\0', b'\xff\xd8\xff\xda\0\x02data'])
def test_a_header_that_says_no_size_is_no_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / 'picture').write_bytes(content)
    assert read_size_hw(tmp_path / 'picture') is None
    assert read_size_hw(tmp_path / 'missing') is None
