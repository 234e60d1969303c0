"""A network that is not Depth Anything, from its ONNX file to the topics of the node."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.testing import assert_allclose
import pytest
from robot import camera_info, Robot
from sensor_msgs.msg import Image

for package in ('torch', 'onnx', 'onnxruntime', 'yaml'):
    pytest.importorskip(package)

from depth_anything_ros.convert.conversion import convert, Job  # noqa: E402, I100
from foreign import sum_of, write_facts, write_network  # noqa: E402

HW = (48, 80)


def test_depth_up_to_scale_in_a_letterbox_becomes_inverse_depth_and_no_metres(
        tmp_path: Path, make_robot: Callable[..., Robot]) -> None:
    source = write_network(tmp_path / 'a.onnx', {'y': 'linear'}, shape=(1, 3, 64, 64))
    facts = write_facts(tmp_path / 'a.yaml', output='depth', resize='letterbox')
    done = convert(Job(source, tmp_path / 'a.xml', 'fp32', describe=facts),
                   report=lambda line: None)
    robot = make_robot(model=str(done.path), output_size='native', expected_width=HW[1],
                       expected_height=HW[0])
    robot.bring_up()
    maps = robot.listen(Image, '/depth_anything/inverse_depth/image')
    metres = robot.listen(Image, '/depth_anything/depth/image')
    coarse = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    image = cv2.resize(coarse, HW[::-1], interpolation=cv2.INTER_CUBIC)
    robot.show_camera(camera_info(HW[1], HW[0]))
    robot.show(image)
    assert robot.until(lambda: maps)
    found = np.frombuffer(maps[0].data, np.float32).reshape(maps[0].height, maps[0].width)
    inner = cv2.resize(image, (64, 38), interpolation=cv2.INTER_LINEAR)
    assert_allclose(found, 1 / (sum_of(inner) + 1), rtol=1e-4)
    assert not robot.until(lambda: metres, 0.3)
