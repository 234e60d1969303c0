"""The demo as people run it, with a tiny model."""

from array import array
from collections.abc import Callable
import os
from pathlib import Path
import subprocess
import sys

import cv2
import numpy as np
import pytest


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo in ``folder`` and return what it printed."""
    domain = str(64 + (os.getpid() + 9) % 36)
    return subprocess.run(
        [sys.executable, '-m', 'depth_anything_ros.demo.main', *arguments], cwd=folder,
        env={**os.environ, 'ROS_DOMAIN_ID': domain,
             'PYTHONPATH': str(Path(__file__).resolve().parents[2])},
        capture_output=True, text=True, timeout=120, check=False)


def test_the_demo_prints_figures_and_saves_pictures_and_a_cloud(
        tmp_path: Path, make_ir: Callable[..., Path]) -> None:
    """Two processes, DDS, lifecycle services, files."""
    pictures = tmp_path / 'pictures'
    pictures.mkdir()
    y, x = np.mgrid[0:480, 0:640]
    cv2.imwrite(str(pictures / '1.png'),
                np.stack([x // 4, y // 3, 40 + x // 4], axis=-1).astype(np.uint8))
    result = run(tmp_path, '--model', str(make_ir()), '--images', str(pictures),
                 '--seconds', '4')
    assert result.returncode == 0, result.stdout + result.stderr
    printed = dict(line.strip().split('  ', 1) for line in result.stdout.splitlines()
                   if line.startswith('  ') and 'wrote' not in line)
    assert printed['device'].strip() == 'CPU'
    assert printed['network size'].strip() == '154x112'
    assert int(printed['frames delivered']) > 10
    assert float(printed['latency p50 [ms]']) > 0
    output = tmp_path / 'demo_output'
    picture = cv2.imread(str(output / 'depth_1.png'))
    assert picture.shape == (480, 640 + 50 + 640, 3)
    assert len(np.unique(picture[:, 690:].reshape(-1, 3), axis=0)) > 100
    assert cv2.imread(str(output / 'cloud.png')).std() > 10
    header = (output / 'cloud.ply').read_bytes()[:200].decode(errors='replace')
    assert header.startswith('ply\nformat binary_little_endian')
    assert int(header.split('element vertex ')[1].split()[0]) > 100_000


def test_every_photograph_is_kept_once_as_last_seen() -> None:
    """By then the range of the colours has settled on it."""
    pytest.importorskip('rclpy', reason='ROS 2 is not installed')
    from depth_anything_ros.demo.main import Recording
    from sensor_msgs.msg import Image
    recording = Recording(seconds=0.0)
    for number, level in enumerate((10, 10, 20, 20, 10)):
        message = Image(data=array('B', [level] * 12))
        message.header.stamp.nanosec = number
        recording._on_image(message)
        recording._on_color(message)
    assert [color.header.stamp.nanosec for _, color in recording.pairs] == [1, 3]


def test_a_demo_that_cannot_work_ends_with_a_sentence(tmp_path: Path) -> None:
    """Which quotes the node's own last word."""
    result = run(tmp_path, '--model', 'missing.xml', '--images', str(tmp_path), '--seconds', '1')
    assert result.returncode == 1
    assert 'error:' in result.stderr
    assert 'node.log' in result.stderr
    assert 'missing.xml: there is no such file' in result.stderr
    assert 'Traceback' not in result.stderr
