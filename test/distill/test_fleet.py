"""Frames and labels by two workers are those of the plain command."""

from pathlib import Path
from typing import Any

from bags import RAW, raw_image, write_bag
import cv2
from depth_anything_ros.media.video import VideoFile
import numpy as np
import pytest

for package in ('torch', 'onnx', 'typer', 'rich', 'rosbags.rosbag2'):
    pytest.importorskip(package)

from depth_anything_ros.distill.main import main  # noqa: E402, I100

NOISE = np.random.default_rng(0).integers(0, 256, (112, 140, 3), np.uint8)


def write_data(folder: Path) -> list[str]:
    """Write a folder with a video and a bag and one with photographs; return both."""
    drives, photos = folder / 'drives', folder / 'photos'
    drives.mkdir()
    photos.mkdir()
    video = VideoFile(drives / 'clip.mp4', 20)
    for number in range(12):
        video.write(np.roll(NOISE, number))
    video.close()
    write_bag(drives / 'drive', [
        ('/camera/image_raw', RAW, 100 * number, raw_image(number, NOISE))
        for number in range(1, 9)])
    for number in range(6):
        cv2.imwrite(str(photos / f'{number}.png'), np.roll(NOISE, number, axis=1))
    (photos / 'broken.png').write_bytes(b'no picture')
    return [str(drives), str(photos)]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob('*')) if path.is_file()}


def test_a_fleet_labels_what_one_machine_labels(
        ray_cluster: Any, tmp_path: Path, tiny_ir: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(tiny_ir), *write_data(tmp_path), '--labels-only', '--every', '2',
               '--label-size', '100', '--device', 'cpu']
    assert main([*command, '-o', str(tmp_path / 'plain.xml')]) == 0
    fleet = [*command, '-o', str(tmp_path / 'fleet.xml'), '--ray', ray_cluster.address]
    assert main(fleet) == 0
    plain, labelled = files(tmp_path / 'plain.distill'), files(tmp_path / 'fleet.distill')
    assert len([name for name in labelled if name.endswith('.npy')]) == 6 + 4 + 6
    assert list(labelled) == list(plain)
    assert labelled == plain
    out, err = capsys.readouterr()
    assert err == '' and out.count('broken.png is left out: ') == 2


def test_what_a_fleet_cannot_do_is_named(tmp_path: Path, tiny_ir: Path,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('ray', reason='Ray is not installed: pip install ray')
    output = ['-o', str(tmp_path / 'mine.xml'), '--labels-only']
    assert main([str(tiny_ir), 's3://bucket/drives', *output, '--ray', 'auto']) == 1
    assert capsys.readouterr().err.startswith(
        'error: s3://bucket/drives is a URL, and a training needs files: mount it on all machines')
    assert main([str(tiny_ir), *write_data(tmp_path), *output, '--ray', '127.0.0.1:9']) == 1
    assert 'error: no Ray cluster answers at 127.0.0.1:9' in capsys.readouterr().err
