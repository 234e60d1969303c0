"""Ctrl-C and SIGTERM: images in flight are finished, and every file is complete."""

from collections.abc import Callable
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from bags import camera_info, INFO, RAW, raw_image, read_bag, write_bag
import cv2
from depth_anything_ros.media.video import VideoFile
import numpy as np
import pytest

pytest.importorskip('typer')
pytest.importorskip('rich')

REPOSITORY = Path(__file__).resolve().parents[2]
NOISE = np.random.default_rng(0).integers(0, 256, (112, 140, 3), np.uint8)


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let relative paths lead into the test's folder."""
    monkeypatch.chdir(tmp_path)


def write_video(path: Path, count: int) -> Path:
    video = VideoFile(path, 20)
    for number in range(count):
        video.write(np.roll(NOISE, number))
    video.close()
    return path


def write_drive(folder: Path, count: int) -> Path:
    entries = [('/camera/camera_info', INFO, 1, camera_info(0))]
    image = raw_image(0, NOISE)
    return write_bag(folder, entries + [
        ('/camera/image_raw', RAW, 100 * number, image) for number in range(1, count + 1)])


def start(arguments: list[str]) -> 'subprocess.Popen[str]':
    """Start the program in the current folder."""
    return subprocess.Popen(
        [sys.executable, '-m', 'depth_anything_ros.run.main', *arguments],
        env={**os.environ, 'PYTHONPATH': str(REPOSITORY)}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)


def wait_for(happened: Callable[[], bool]) -> None:
    """Return when ``happened`` is true."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_finishes_the_images_in_flight(
        tmp_path: Path, make_ir: Callable[..., Path], number: int, status: int) -> None:
    photos = tmp_path / 'photos'
    photos.mkdir()
    cv2.imwrite('noise.png', NOISE)
    for index in range(3000):
        (photos / f'{index:04}.png').symlink_to(tmp_path / 'noise.png')
    run = start([str(make_ir(slow_layers=10)), '--input', 'photos'])
    wait_for(lambda: len(list(tmp_path.glob('vis_depth/*.png'))) > 3)
    run.send_signal(number)
    out, err = run.communicate(timeout=60)
    assert run.returncode == status, err
    done = os.listdir('vis_depth')
    assert 3 < len(done) < 3000 and not any(name.startswith('.') for name in done)
    assert out.startswith(f'interrupted: {len(done)} images in')
    assert all(cv2.imread(f'vis_depth/{name}') is not None for name in done)


def test_an_interrupt_while_the_model_loads_ends_without_a_traceback(
        tmp_path: Path, make_ir: Callable[..., Path]) -> None:
    cv2.imwrite('noise.png', NOISE)
    # A busy machine may load the model before the signal is sent: there are images left then.
    (tmp_path / 'photos').mkdir()
    for index in range(5000):
        (tmp_path / 'photos' / f'{index:04}.png').symlink_to(tmp_path / 'noise.png')
    run = start([str(make_ir(slow_layers=30)), '--input', 'photos'])
    wait_for(lambda: (tmp_path / 'vis_depth').is_dir())
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert 'Traceback' not in err
    assert run.returncode == 130


@pytest.mark.parametrize('kind', ['video', 'bag'])
def test_an_interrupted_video_or_bag_is_complete_up_to_the_last_image(
        tmp_path: Path, make_ir: Callable[..., Path], kind: str) -> None:
    if kind == 'bag':
        pytest.importorskip('rosbags.rosbag2')
        name = str(write_drive(tmp_path / 'drive', 1500))
    else:
        name = str(write_video(tmp_path / 'clip.mp4', 3000))
    run = start([str(make_ir(slow_layers=10)), '--input', name])
    wait_for(lambda: any(path.is_file() and path.stat().st_size > 30_000
                         for path in tmp_path.glob('vis_depth/**/*')))
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    done = int(out.removeprefix('interrupted: ').split()[0])
    assert 0 < done < 1500
    if kind == 'video':
        assert os.listdir('vis_depth') == ['clip.mp4']
        assert cv2.VideoCapture('vis_depth/clip.mp4').get(cv2.CAP_PROP_FRAME_COUNT) == done
    else:
        assert os.listdir('vis_depth') == ['drive_depth']
        assert len(read_bag(tmp_path / 'vis_depth' / 'drive_depth')) == 2 * (1 + done)
