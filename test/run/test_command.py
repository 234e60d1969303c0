"""The program as people and scripts call it, with a tiny model."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
import os
from pathlib import Path
import resource
import shutil
import sqlite3
import subprocess
import sys
from typing import Any

from aligned import resize_aligned
from bags import (
    camera_info, COMPRESSED, compressed_image, INFO, RAW, raw_image, read_bag, store, TEXT, text,
    write_bag)
import cv2
from depth_anything_ros.media.video import VideoFile
from depth_anything_ros.run.main import main
from depth_anything_ros.vision.color_image import ColorImage
from depth_anything_ros.vision.drawing import depth_style, draw_depth
from depth_anything_ros.vision.transforms import network_size
import numpy as np
from numpy.testing import assert_array_equal
import pytest
from tiny import weighted_sum

pytest.importorskip('typer')
pytest.importorskip('rich')

REPOSITORY = Path(__file__).resolve().parents[2]
# The network's own size, so that depth can be computed by hand.
SIZE_HW = (112, 140)


def picture(seed: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """Return a smooth random BGR image."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_CUBIC)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def contents(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*')
                  if path.is_file())


def write_video(path: Path, count: int) -> Path:
    video = VideoFile(path, 20)
    for number in range(count):
        video.write(picture(number % 5))
    video.close()
    return path


def drive(folder: Path, count: int) -> Path:
    entries = [('/camera/camera_info', INFO, 1, camera_info(0))]
    entries += [('/camera/image_raw', RAW, 100 * number, raw_image(number, picture(number % 5)))
                for number in range(1, count + 1)]
    return write_bag(folder, entries)


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let relative paths lead into the test's folder."""
    monkeypatch.chdir(tmp_path)


def test_a_folder_becomes_pictures_as_the_reference_draws_them(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, name in enumerate(('a.png', 'deep/b.PNG', 'deep/er/c.bmp')):
        save(tmp_path / 'photos' / name, picture(seed))
    assert main([str(tiny_ir), '--img-path', 'photos', '--precision', 'f32',
                 '--outdir', 'vis']) == 0
    assert contents(tmp_path / 'vis') == ['a.png', 'b.png', 'c.png']
    found = cv2.imread('vis/b.png')
    depth = weighted_sum(picture(1))
    expected = draw_depth(depth_style('relative', 'spectral_r', False),
                          ColorImage(picture(1), 'bgr'), depth, float(depth.min()),
                          float(depth.max()))
    assert_array_equal(found[:, :190], expected[:, :190])
    assert np.abs(found.astype(int) - expected).mean() < 0.1
    out, err = capsys.readouterr()
    assert out.startswith('3 images in ') and out.endswith('/s), written to vis\n')
    assert err == ''


@pytest.mark.parametrize(('options', 'color_map', 'pred_only'), [
    (['--pred-only'], 'spectral_r', True), (['--pred-only', '--grayscale'], 'gray', True),
    (['--colormap', 'magma'], 'magma', False)])
def test_colours_and_layout_can_be_chosen(tmp_path: Path, tiny_ir: Path, options: list[str],
                                          color_map: str, pred_only: bool) -> None:
    save(tmp_path / 'a.png', picture(0))
    assert main([str(tiny_ir), '--input', 'a.png', '--precision', 'f32', *options]) == 0
    depth = weighted_sum(picture(0))
    expected = draw_depth(depth_style('relative', color_map, pred_only),
                          ColorImage(picture(0), 'bgr'), depth, float(depth.min()),
                          float(depth.max()))
    found = cv2.imread('vis_depth/a.png')
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 0.1


@pytest.mark.parametrize('kind', ['relative', 'metric'])
@pytest.mark.parametrize('name', ['npy', 'png16', 'pfm', 'ply'])
def test_other_formats_hold_the_values(tmp_path: Path, make_ir: Callable[..., Path], name: str,
                                       kind: str) -> None:
    model = make_ir(kind=kind, max_depth_m=20.0 if kind == 'metric' else None)
    save(tmp_path / 'a.png', picture(0))
    assert main([str(model), '--input', 'a.png', '--precision', 'f32', '--format', name]) == 0
    suffix = 'png' if name == 'png16' else name
    assert contents(tmp_path / 'vis_depth') == [f'a.{suffix}']
    depth = weighted_sum(picture(0))
    if name == 'ply':
        assert b'element vertex' in Path('vis_depth/a.ply').read_bytes()[:100]
    elif name == 'npy':
        np.testing.assert_allclose(np.load('vis_depth/a.npy'), depth, atol=1e-4)
    else:
        found = cv2.imread(f'vis_depth/a.{suffix}', cv2.IMREAD_UNCHANGED)
        stretched = (depth - depth.min()) / (depth.max() - depth.min()) * 65535
        expected = {'pfm': depth, 'png16': depth * 1000 if kind == 'metric' else stretched}[name]
        assert np.abs(found - expected).max() < 0.002 * expected.max()


def test_a_model_that_needs_the_focal_length_gives_inverse_depth_and_says_so(
        tmp_path: Path, make_ir: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / 'a.png', picture(0))
    model = make_ir(focal_px=300.0, has_shift=False)
    assert main([str(model), '--input', 'a.png', '--precision', 'f32', '--format', 'npy']) == 0
    np.testing.assert_allclose(np.load('vis_depth/a.npy'), weighted_sum(picture(0)), atol=1e-4)
    error = capsys.readouterr().err
    assert 'tiny.pth has metres only for a known focal length, so inverse depth is' in error
    assert error.count('focal') == 1


@pytest.mark.parametrize('name', ['npy', 'png16', 'ply'])
def test_with_the_field_of_view_such_a_model_gives_metres(
        tmp_path: Path, make_ir: Callable[..., Path], name: str,
        capsys: pytest.CaptureFixture[str]) -> None:
    """Depth is f / focal_px / output, with the focal length f in pixels of the network's image."""
    save(tmp_path / 'a.png', picture(0))
    model = make_ir(focal_px=300.0, has_shift=False)
    assert main([str(model), '--input', 'a.png', '--precision', 'f32', '--format', name,
                 '--input-size', '56', '--fov', '90']) == 0
    height, width = picture(0).shape[:2]
    network_height, network_width = network_size((height, width), 56)
    focal_px = width / 2 * (network_width / width + network_height / height) / 2
    small = cv2.resize(picture(0), (network_width, network_height), interpolation=cv2.INTER_CUBIC)
    expected = focal_px / 300 / resize_aligned(weighted_sum(small), (height, width))
    assert not capsys.readouterr().err
    if name == 'npy':
        np.testing.assert_allclose(np.load('vis_depth/a.npy'), expected, rtol=1e-3)
    elif name == 'png16':
        found = cv2.imread('vis_depth/a.png', cv2.IMREAD_UNCHANGED)
        assert np.abs(found - expected * 1000).max() < 0.002 * found.max() + 1
    else:
        points = np.frombuffer(Path('vis_depth/a.ply').read_bytes().split(b'end_header\n')[1],
                               np.dtype([('xyz', '<f4', 3), ('rgb', 'u1', 3)]))
        np.testing.assert_allclose(np.sort(points['xyz'][:, 2]), np.sort(expected.ravel()),
                                   rtol=1e-3)


def test_the_field_of_view_widens_the_cloud(tmp_path: Path, make_ir: Callable[..., Path]) -> None:
    model = make_ir(kind='metric', max_depth_m=20.0)
    save(tmp_path / 'a.png', picture(0))
    widths = []
    for degrees in ('60', '90'):
        assert main([str(model), '--input', 'a.png', '--format', 'ply', '--fov', degrees]) == 0
        vertices = Path('vis_depth/a.ply').read_bytes().partition(b'end_header\n')[2]
        xyz = np.frombuffer(vertices, [('xyz', '<f4', 3), ('rgb', 'u1', 3)])['xyz']
        widths.append(np.abs(xyz[:, 0] / xyz[:, 2]).max())
    assert widths[1] / widths[0] == pytest.approx(np.sqrt(3), rel=1e-3)


def test_a_larger_input_size_changes_the_result(tmp_path: Path, tiny_ir: Path) -> None:
    save(tmp_path / 'a.png', np.random.default_rng(0).integers(
        0, 256, (112, 140, 3), np.uint8))
    depths = []
    for size in ('0', '112', '56'):
        assert main([str(tiny_ir), '--input', 'a.png', '--format', 'npy', '--precision', 'f32',
                     '--input-size', size]) == 0
        depths.append(np.load('vis_depth/a.npy'))
    assert_array_equal(depths[0], depths[1])
    assert depths[2].std() < 0.9 * depths[0].std()


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return the sizes (height, width) for which an engine compiles, in their order."""
    from depth_anything_ros.inference.engine import Engine
    sizes_hw: list[tuple[int, int]] = []
    compile_pool = Engine._compile_pool

    def record(self: Engine, network_hw: tuple[int, int]) -> Any:
        sizes_hw.append(network_hw)
        return compile_pool(self, network_hw)

    monkeypatch.setattr(Engine, '_compile_pool', record)
    return sizes_hw


def test_images_of_many_sizes_are_all_done_and_each_size_is_compiled_once(
        tmp_path: Path, tiny_ir: Path, compiled: list[tuple[int, int]]) -> None:
    for number in range(9):
        size_hw = (SIZE_HW, (140, 112), (112, 196))[number % 3]
        save(tmp_path / 'photos' / f'{number}.png', picture(number, size_hw))
    assert main([str(tiny_ir), '--input', 'photos', '--pred-only']) == 0
    assert compiled == [(112, 140), (140, 112), (112, 196)]
    for number in range(9):
        size_hw = (SIZE_HW, (140, 112), (112, 196))[number % 3]
        assert cv2.imread(f'vis_depth/{number}.png').shape[:2] == size_hw


def test_the_first_compilation_is_for_the_first_image_at_the_default_size_of_the_model(
        tmp_path: Path, tiny_ir: Path, compiled: list[tuple[int, int]]) -> None:
    """At the 518 pixels of other models this image would be too large."""
    save(tmp_path / 'photos' / '0.png', picture(0, (50, 1150)))
    save(tmp_path / 'photos' / '1.png', picture(1))
    assert main([str(tiny_ir), '--input', 'photos']) == 0
    assert compiled == [(112, 2576), SIZE_HW]


def test_images_that_cannot_be_read_are_named_and_all_others_are_written(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / 'photos' / 'good.png', picture(0))
    (tmp_path / 'photos' / 'bad').mkdir()
    (tmp_path / 'photos' / 'bad' / 'broken.jpg').write_bytes(b'no jpeg')
    assert main([str(tiny_ir), '--input', 'photos']) == 1
    assert contents(tmp_path / 'vis_depth') == ['good.png']
    out, err = capsys.readouterr()
    assert err.startswith('error: bad/broken.jpg: OpenCV cannot decode these 7 bytes')
    assert out.startswith('1 images in') and '1 failed, written to vis_depth' in out


def test_existing_files_are_replaced_but_never_the_input(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / 'a.png', picture(0))
    save(tmp_path / 'vis_depth' / 'a.png', picture(1, (10, 10)))
    assert main([str(tiny_ir), '--input', 'a.png']) == 0
    assert cv2.imread('vis_depth/a.png').shape == (112, 330, 3)
    capsys.readouterr()
    assert main([str(tiny_ir), '--input', 'a.png', '--outdir', '.']) == 1
    assert 'would replace its input' in capsys.readouterr().err
    assert_array_equal(cv2.imread('a.png'), picture(0))


def test_results_of_an_earlier_run_are_not_read_as_input(
        tmp_path: Path, tiny_ir: Path) -> None:
    save(tmp_path / 'a.png', picture(0))
    for _ in range(2):
        assert main([str(tiny_ir), '--input', '.', '--outdir', 'out/vis']) == 0
    assert contents(tmp_path) == ['a.png', 'out/vis/a.png']


@pytest.mark.parametrize('name', ['png8', 'png16'])
def test_videos_of_an_earlier_run_are_not_read_as_input(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Nor do frames of that run make the folder one of pictures."""
    (tmp_path / 'clips').mkdir()
    for stem in 'ab':
        write_video(tmp_path / 'clips' / f'{stem}.mp4', 2)
    found = []
    for _ in range(2):
        assert main([str(tiny_ir), '--input', 'clips', '--outdir', 'clips/depth', '--format',
                     name]) == 0
        found.append(contents(tmp_path))
    assert found[0] == found[1] and len(found[0]) > 2
    assert capsys.readouterr().err == ''


def test_a_list_of_paths_is_an_input(tmp_path: Path, tiny_ir: Path) -> None:
    for name in ('one', 'two', 'three'):
        save(tmp_path / f'{name}.png', picture(0))
    (tmp_path / 'some.txt').write_text('one.png\nthree.png\n')
    assert main([str(tiny_ir), '--img-path', 'some.txt']) == 0
    assert contents(tmp_path / 'vis_depth') == ['one.png', 'three.png']


def test_a_video_becomes_a_video_with_one_stable_range(tmp_path: Path, tiny_ir: Path) -> None:
    video = VideoFile(tmp_path / 'clip.avi', 20)
    for number in range(12):
        frame = picture(0)
        if number % 2:
            frame[:20, :20] = 255 * (number % 4 // 2)
        video.write(frame)
    video.close()
    assert main([str(tiny_ir), '--video-path', 'clip.avi', '--grayscale']) == 0
    assert contents(tmp_path / 'vis_depth') == ['clip.mp4']
    capture = cv2.VideoCapture('vis_depth/clip.mp4')
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(20)
    frames = [capture.read()[1] for _ in range(12)]
    assert not capture.read()[0]
    assert frames[0].shape == (112, 330, 3)
    # What does not move keeps its gray although the extremes of the frame come and go.
    still = np.array([frame[60:, 195:].mean() for frame in frames])
    assert np.ptp(still) < 6


def test_a_folder_of_videos_is_done_one_by_one_and_a_broken_one_is_named(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'clips' / 'b').mkdir(parents=True)
    write_video(tmp_path / 'clips' / 'a.mp4', 3)
    write_video(tmp_path / 'clips' / 'b' / 'a.mp4', 2)
    (tmp_path / 'clips' / 'broken.mp4').write_bytes(b'nothing')
    assert main([str(tiny_ir), '--input', 'clips']) == 1
    assert contents(tmp_path / 'vis_depth') == ['clips_a.mp4', 'clips_b_a.mp4']
    out, err = capsys.readouterr()
    assert err.count('error:') == 1 and 'broken.mp4 is damaged' in err
    assert '0 images' in out and 'nothing written' in out


def test_frames_of_a_video_can_be_files_and_be_limited(tmp_path: Path, tiny_ir: Path) -> None:
    write_video(tmp_path / 'clip {0}.mp4', 6)
    assert main([str(tiny_ir), '--input', 'clip {0}.mp4', '--format', 'npy',
                 '--frames', '2']) == 0
    assert contents(tmp_path / 'vis_depth') == ['clip {0}_000001.npy', 'clip {0}_000002.npy']


def test_a_bag_becomes_a_bag_with_depth(tmp_path: Path, tiny_ir: Path,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('rosbags.rosbag2')
    source = drive(tmp_path / 'drive', 5)
    command = [str(tiny_ir), '--input', 'drive', '--precision', 'f32']
    assert main(command) == 0
    assert '/camera/inverse_depth/image in vis_depth/drive_depth' in capsys.readouterr().out
    assert os.listdir('vis_depth') == ['drive_depth']
    after = read_bag(tmp_path / 'vis_depth' / 'drive_depth')
    assert [entry for entry in after if 'inverse' not in entry[0]] == read_bag(source)
    depths = [store().deserialize_cdr(entry[3], RAW) for entry in after
              if entry[0] == '/camera/inverse_depth/image']
    for number, message in enumerate(depths, start=1):
        found = message.data.view(np.float32).reshape(SIZE_HW)
        np.testing.assert_allclose(found, weighted_sum(picture(number % 5)), atol=1e-4)
    assert main(command) == 1
    assert 'drive_depth exists already; add --force' in capsys.readouterr().err
    assert main([*command, '--force', '--frames', '2']) == 0
    assert len(read_bag(tmp_path / 'vis_depth' / 'drive_depth')) == 2 * (1 + 2)


def test_images_of_a_bag_can_be_files(tmp_path: Path, tiny_ir: Path) -> None:
    pytest.importorskip('rosbags.rosbag2')
    drive(tmp_path / 'drive', 2)
    assert main([str(tiny_ir), '--input', 'drive', '--topic', '/camera/image_raw',
                 '--format', 'pfm']) == 0
    assert contents(tmp_path / 'vis_depth') == ['drive_000001.pfm', 'drive_000002.pfm']


def test_a_script_of_the_reference_finds_the_model_by_its_encoder(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / 'a.png', picture(1))
    Path('models').mkdir()
    for suffix in ('.xml', '.bin'):
        shutil.copy(tiny_ir.with_suffix(suffix), f'models/depth_anything_v2_vits{suffix}')
    assert main(['--encoder', 'vits', '--img-path', 'a.png', '--outdir', 'out']) == 0
    assert main(['--img-path', 'a.png', '--outdir', 'out', '--pred-only']) == 0
    assert contents(tmp_path / 'out') == ['a.png']
    assert main(['--encoder', 'vitb', '--img-path', 'a.png', '--outdir', 'out']) == 1
    assert 'depth_anything_v2_vitb.xml: there is no such file' in capsys.readouterr().err


def test_the_encoder_of_a_script_must_be_that_of_the_model(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / 'a.png', picture(0))
    assert main([str(tiny_ir), '--img-path', 'a.png', '--encoder', 'vits']) == 0
    assert main([str(tiny_ir), '--img-path', 'a.png', '--encoder', 'vitl']) == 1
    assert 'its encoder is vits, not vitl' in capsys.readouterr().err


@pytest.mark.parametrize(('arguments', 'message'), [
    (['missing.xml', '--input', 'a.png'], 'missing.xml: there is no such file'),
    (['MODEL', '--input', 'nothing'], 'there is no file or folder nothing'),
    (['MODEL', '--input', ''], 'the name of the images is empty'),
    (['MODEL', '--input', 'a.png', '--device', 'TPU'], 'no device can run the model'),
    (['MODEL', '--input', 'a.png', '--topic', '/image'], 'is no bag'),
    (['MODEL', '--input', 'same'], 'same.jpg and same.png would both be written as same'),
    (['MODEL', '--input', 'a.png', '--outdir', 'a.png/out'], 'cannot be written')])
def test_an_error_before_the_start_is_one_line_and_status_1(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str],
        message: str) -> None:
    for name in ('a.png', 'same/same.jpg', 'same/same.png'):
        save(tmp_path / name, picture(0))
    assert main([str(tiny_ir) if part == 'MODEL' else part for part in arguments]) == 1
    out, err = capsys.readouterr()
    assert err.startswith('error: ') and message in err and err.count('\n') == 1
    assert out == ''


@pytest.mark.parametrize('kind', ['folder', 'video', 'sqlite', 'mcap'])
def test_a_full_disk_is_one_line_and_leaves_no_incomplete_file(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    noise = [np.random.default_rng(seed).integers(0, 256, (112, 140, 3), np.uint8)
             for seed in range(40)]
    if kind == 'folder':
        for number, pixels in enumerate(noise):
            save(tmp_path / 'input' / f'{number}.png', pixels)
    elif kind == 'video':
        (tmp_path / 'input').mkdir()
        video = VideoFile(tmp_path / 'input' / 'clip.avi', 20)
        for pixels in noise:
            video.write(pixels)
        video.close()
    else:
        pytest.importorskip('rosbags.rosbag2')
        write_bag(tmp_path / 'input', [
            ('/image', RAW, number, raw_image(number, pixels))
            for number, pixels in enumerate(noise)], kind == 'mcap')
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (25_000, hard))
    try:
        status = main([str(tiny_ir), '--input', 'input'])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    err = capsys.readouterr().err
    assert status == 1
    assert err.startswith('error: ') and err.count('\n') == 1
    assert 'free some space or choose another folder' in err
    assert contents(tmp_path / 'vis_depth') == []


def test_a_video_that_breaks_off_or_has_no_frame_is_status_1_and_its_frames_are_written(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = VideoFile(tmp_path / 'clip.avi', 20)
    for seed in range(40):
        video.write(np.random.default_rng(seed).integers(0, 256, (112, 140, 3), np.uint8))
    video.close()
    content = Path('clip.avi').read_bytes()
    Path('clip.avi').write_bytes(content[:len(content) // 2])
    assert main([str(tiny_ir), '--input', 'clip.avi']) == 1
    out, err = capsys.readouterr()
    assert 'clip.avi breaks off after' in err and 'of 40 frames' in err
    done = int(out.split()[0])
    assert 0 < done < 30
    assert cv2.VideoCapture('vis_depth/clip.mp4').get(cv2.CAP_PROP_FRAME_COUNT) == done
    assert main([str(tiny_ir), '--input', 'clip.avi', '--frames', '5']) == 0
    Path('empty.avi').write_bytes(content[:content.index(b'movi') + 4])
    capsys.readouterr()
    assert main([str(tiny_ir), '--input', 'empty.avi']) == 1
    out, err = capsys.readouterr()
    assert '0 of 40 frames can be read' in err and err.count('\n') == 1
    assert 'nothing written' in out


def test_names_that_are_not_utf8_do_not_end_the_run(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'clips').mkdir()
    bad = tmp_path / 'clips' / os.fsdecode(b'caf\xe9.mp4')
    write_video(tmp_path / 'clips' / 'a.mp4', 3).rename(bad)
    write_video(tmp_path / 'clips' / 'b.mp4', 3)
    assert main([str(tiny_ir), '--input', 'clips']) == 1
    out, err = capsys.readouterr()
    assert contents(tmp_path / 'vis_depth') == ['b.mp4']
    assert err.count('error:') == 1 and 'caf\\udce9.mp4: the path is not UTF-8' in err
    photo = tmp_path / os.fsdecode(b'caf\xe9.png')
    save(tmp_path / 'a.png', picture(0)).rename(photo)
    assert main([str(tiny_ir), '--input', str(photo), '--outdir',
                 os.fsdecode(b'na\xefve')]) == 0
    assert os.listdir(os.fsencode(tmp_path / os.fsdecode(b'na\xefve'))) == [b'caf\xe9.png']
    assert 'written to na\\udcefve' in capsys.readouterr().out


@pytest.mark.parametrize('character', ['x', 'é'])
def test_names_may_be_as_long_as_the_file_system_allows(
        tmp_path: Path, tiny_ir: Path, character: str) -> None:
    (tmp_path / 'photos').mkdir()
    stem = character * (251 // len(character.encode()))
    save(tmp_path / 'a.png', picture(0)).rename(tmp_path / 'photos' / f'{stem}.png')
    save(tmp_path / 'b.png', picture(1)).rename(tmp_path / 'photos' / 'b.png')
    assert main([str(tiny_ir), '--input', 'photos']) == 0
    assert contents(tmp_path / 'vis_depth') == sorted([f'{stem}.png', 'b.png'])
    clip = write_video(tmp_path / 'clip.mp4', 2).rename(tmp_path / f'{stem}.mp4')
    assert main([str(tiny_ir), '--input', clip.name, '--outdir', 'clips']) == 0
    assert contents(tmp_path / 'clips') == [clip.name]
    assert main([str(tiny_ir), '--input', clip.name, '--outdir', 'out', '--format', 'npy']) == 0
    first, second = contents(tmp_path / 'out')
    assert first.startswith(stem[:100]) and first.endswith('_000001.npy')
    assert second.endswith('_000002.npy')


def test_a_bag_may_have_a_long_name(tmp_path: Path, tiny_ir: Path) -> None:
    pytest.importorskip('rosbags.rosbag2')
    write_bag(tmp_path / ('x' * 250), [('/image', RAW, 1, raw_image(1, picture(1)))], mcap=True)
    assert main([str(tiny_ir), '--input', 'x' * 250]) == 0
    (folder,) = os.listdir('vis_depth')
    assert folder.startswith('xxx') and folder.endswith('_depth')


def test_files_that_are_left_out_are_counted_at_the_end(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / 'photos' / 'a.png', picture(0))
    for name in ('b.heic', 'c.heic', 'd.mp4', 'vis/old.mp4'):
        (tmp_path / 'photos' / name).parent.mkdir(exist_ok=True)
        (tmp_path / 'photos' / name).write_bytes(b'')
    assert main([str(tiny_ir), '--input', 'photos', '--outdir', 'photos/vis']) == 0
    out, err = capsys.readouterr()
    assert out.startswith('1 images in')
    assert err.startswith('left out: 2 .heic, 1 .mp4; convert') and err.count('\n') == 1


def test_a_camera_is_recorded(tmp_path: Path, tiny_ir: Path,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / 'clip.mp4', 10)
    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, 'VideoCapture',
                        lambda place: real('clip.mp4' if place == 3 else place))
    assert main([str(tiny_ir), '--input', '3', '--frames', '4']) == 0
    assert real('vis_depth/camera_3.mp4').get(cv2.CAP_PROP_FRAME_COUNT) == 4


@pytest.mark.parametrize('arguments', [
    [], ['model.xml'], ['model.xml', '--input', 'a.png', '--format', 'exr'],
    ['model.xml', '--input', 'a.png', '--requests', '9'],
    ['model.xml', '--input', 'a.png', '--wrong']])
def test_wrong_usage_is_status_2(
        arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert 'Usage: depth_anything_run' in capsys.readouterr().err


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['--help']) == 0
    out = capsys.readouterr().out
    for name in ('--input', '--topic', '--outdir', '--pred-only', '--grayscale', '--colormap',
                 '--format', '--input-size', '--device', '--precision', '--requests', '--force'):
        assert name in out


def test_a_missing_package_is_named_with_the_line_that_installs_it(tmp_path: Path) -> None:
    (tmp_path / 'typer.py').write_text('raise ModuleNotFoundError("no", name="typer")')
    run = subprocess.run(
        [sys.executable, '-m', 'depth_anything_ros.run.main', '--help'],
        env={**os.environ, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{REPOSITORY}'},
        capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    assert run.stderr == ('error: depth_anything_run needs typer, which is not installed: '
                          "pip install 'depth_anything_ros[tools]', in a virtual environment\n")


def test_the_manual_names_every_option() -> None:
    from depth_anything_ros.run.command import make_app
    import typer
    manual = (REPOSITORY / 'docs' / 'running.md').read_text()
    options = [name for parameter in typer.main.get_command(make_app()).params
               for name in parameter.opts if name.startswith('--')]
    assert len(options) > 15
    assert [name for name in options if f'`{name}' not in manual] == []


def test_a_bag_without_any_depth_is_not_written_and_an_older_one_stays(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('rosbags.rosbag2')
    assert main([str(tiny_ir), '--input', str(drive(tmp_path / 'drive', 1))]) == 0
    older = read_bag(tmp_path / 'vis_depth' / 'drive_depth')
    shutil.rmtree(tmp_path / 'drive')
    plain = compressed_image(0, picture(0))
    depth = replace(plain, format='16UC1; compressedDepth png',
                    data=np.concatenate([np.zeros(12, np.uint8), plain.data]))
    write_bag(tmp_path / 'drive', [('/camera/compressedDepth', COMPRESSED, 1, depth)])
    assert main([str(tiny_ir), '--input', 'drive', '--force']) == 1
    assert 'nothing written' in capsys.readouterr().out
    assert read_bag(tmp_path / 'vis_depth' / 'drive_depth') == older
    assert os.listdir('vis_depth') == ['drive_depth']


@pytest.mark.parametrize('damaged_ns', [50, 250, 900])
def test_a_bag_whose_other_messages_break_off_has_all_depth_and_status_1(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str],
        damaged_ns: int) -> None:
    pytest.importorskip('rosbags.rosbag2')
    entries = [('/camera/image_raw', RAW, time_ns, raw_image(time_ns, picture(1)))
               for time_ns in (100, 200, 300)]
    write_bag(tmp_path / 'drive', [*entries, *(
        ('/chatter', TEXT, time_ns, text('a')) for time_ns in (10, damaged_ns, 950))])
    with closing(sqlite3.connect('drive/drive.db3')) as database:
        database.execute(f'UPDATE messages SET data = 7 WHERE timestamp = {damaged_ns}')
        database.commit()
    assert main([str(tiny_ir), '--input', 'drive']) == 1
    out, err = capsys.readouterr()
    assert out.startswith('3 images') and 'written to' in out
    assert 'error: only a part of the other messages is copied: drive cannot be read' in err
    assert err.count('\n') == 1
    found = [(topic, time_ns) for topic, _, time_ns, _ in read_bag(
        tmp_path / 'vis_depth' / 'drive_depth')]
    assert [time_ns for topic, time_ns in found if 'inverse' in topic] == [100, 200, 300]
    assert [time_ns for topic, time_ns in found if 'inverse' not in topic] == [
        time_ns for time_ns in (10, 100, 200, 300) if time_ns < damaged_ns]


def test_a_bag_that_already_has_depth_fails_alone(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('rosbags.rosbag2')
    write_bag(tmp_path / 'all' / 'a', [
        ('/camera/inverse_depth/camera_info', INFO, 1, camera_info(1)),
        ('/camera/image_raw', RAW, 2, raw_image(1, picture(1)))])
    drive(tmp_path / 'all' / 'b', 1)
    assert main([str(tiny_ir), '--input', 'all']) == 1
    assert os.listdir('vis_depth') == ['b_depth']
    err = capsys.readouterr().err
    assert 'all/a already has /camera/inverse_depth/camera_info' in err and err.count('\n') == 1


def test_a_bag_is_written_beside_no_other_name(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For SQLite through rosbags the name ends at #."""
    pytest.importorskip('rosbags.rosbag2')
    drive(tmp_path / 'drive', 1)
    assert main([str(tiny_ir), '--input', 'drive', '--outdir', 'out#1']) == 1
    assert 'cannot use a .db3 file with # in its path' in capsys.readouterr().err
    assert sorted(os.listdir()) == ['drive', 'out#1'] and os.listdir('out#1') == []


def test_a_result_never_replaces_another_input_of_the_run(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('rosbags.rosbag2')
    drive(tmp_path / 'all' / 'drive', 1)
    other = read_bag(drive(tmp_path / 'all' / 'drive_depth', 2))
    assert main([str(tiny_ir), '--input', 'all', '--outdir', 'all', '--force']) == 1
    assert 'would replace its input all/drive_depth' in capsys.readouterr().err
    assert read_bag(tmp_path / 'all' / 'drive_depth') == other


def test_a_folder_with_more_than_a_bag_is_never_replaced(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('rosbags.rosbag2')
    command = [str(tiny_ir), '--input', 'drive', '--outdir', '.', '--force']
    drive(tmp_path / 'drive', 1)
    for _ in range(2):
        assert main(command) == 0
    (tmp_path / 'drive_depth' / 'notes.txt').write_text('mine')
    before = contents(tmp_path)
    assert main(command) == 1
    assert 'drive_depth holds notes.txt, so it is not only a bag' in capsys.readouterr().err
    drive(tmp_path / 'drive_depth' / 'inside' / 'drive', 1)
    assert main([str(tiny_ir), '--input', 'drive_depth/inside/drive', '--outdir', '.',
                 '--force']) == 1
    assert 'would replace its input drive_depth/inside/drive' in capsys.readouterr().err
    assert set(before) < set(contents(tmp_path))


def test_a_result_that_cannot_take_its_name_is_refused_before_the_work(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('rosbags.rosbag2')
    drive(tmp_path / 'drive', 1)
    write_video(tmp_path / 'clip.avi', 1)
    (tmp_path / 'vis_depth' / 'clip.mp4').mkdir(parents=True)
    (tmp_path / 'vis_depth' / 'drive_depth').touch()
    for source, kind in (('drive', 'file'), ('clip.avi', 'folder')):
        assert main([str(tiny_ir), '--input', source, '--force']) == 1
        assert f'is a {kind}, which the result cannot replace' in capsys.readouterr().err


def test_a_bag_whose_first_image_is_too_long_gives_the_others(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('rosbags.rosbag2')
    write_bag(tmp_path / 'drive', [
        ('/camera/image_raw', RAW, number, raw_image(number, np.zeros((*size_hw, 3), np.uint8)))
        for number, size_hw in enumerate(((2, 200), SIZE_HW), start=1)])
    assert main([str(tiny_ir), '--input', 'drive', '--format', 'npy']) == 1
    assert '200x2 image needs a network of 11200x112, which is too' in capsys.readouterr().err
    assert contents(tmp_path / 'vis_depth') == ['drive_000002.npy']


def test_folders_and_links_in_a_circle_in_a_list_fail_alone(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / 'good.png', picture(1))
    (tmp_path / 'circle.png').symlink_to('circle.png')
    (tmp_path / 'list.txt').write_text('.\ncircle.png\ngood.png\n')
    assert main([str(tiny_ir), '--input', 'list.txt']) == 1
    assert contents(tmp_path / 'vis_depth') == ['good.png']
    assert 'circle.png: it cannot be read' in capsys.readouterr().err
