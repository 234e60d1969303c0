"""Files in an order in which each size of the network input is compiled once."""

from dataclasses import replace
from pathlib import Path
import struct

import cv2
from depth_anything_ros.media.size_order import network_size_of, order_by_size
import numpy as np
from tiny import TINY_INFO


def write(folder: Path, sizes_hw: list[tuple[int, int]]) -> list[Path | None]:
    """Write an image of each size and return the paths."""
    files: list[Path | None] = []
    for number, size_hw in enumerate(sizes_hw):
        file = folder / f'{number}.png'
        assert cv2.imwrite(str(file), np.zeros((*size_hw, 3), np.uint8))
        files.append(file)
    return files


def own_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the size unchanged."""
    return size_hw


def test_equal_sizes_stand_side_by_side_in_the_order_of_their_first_file(tmp_path: Path) -> None:
    files = write(tmp_path, [(40, 30), (30, 40), (40, 30), (30, 40), (20, 20)])
    assert order_by_size(files, own_size) == [0, 2, 1, 3, 4]
    assert order_by_size(files) == [0, 1, 2, 3, 4]


def test_files_of_unknown_size_are_a_group(tmp_path: Path) -> None:
    files = write(tmp_path, [(40, 30), (30, 40), (40, 30)])
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'damaged')
    flat = tmp_path / 'flat.png'
    flat.write_bytes(b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR' + struct.pack('>II', 40, 0))
    for unknown in (broken, flat):
        assert order_by_size([None, files[0], unknown, *files[1:]],
                             network_size_of(TINY_INFO)) == [0, 2, 1, 4, 3]


def test_a_second_model_orders_within_the_groups_of_the_first(tmp_path: Path) -> None:
    files = write(tmp_path, [(20, 10), (20, 11), (20, 10), (20, 11), (10, 10)])

    def height(size_hw: tuple[int, int]) -> tuple[int, int]:
        return size_hw[0], size_hw[0]

    assert order_by_size(files, height, own_size) == [0, 2, 1, 3, 4]
    assert order_by_size(files, own_size, height) == [0, 2, 1, 3, 4]


def test_the_sizes_of_a_model_follow_its_metadata() -> None:
    image_hw = (480, 640)
    assert network_size_of(replace(TINY_INFO, input_size=140))(image_hw) == (140, 182)
    assert network_size_of(TINY_INFO, 70)(image_hw) == (70, 98)
    assert network_size_of(replace(TINY_INFO, patch_multiple=32), 64)(image_hw) == (64, 96)
    fixed = replace(TINY_INFO, fixed_size_hw=(56, 84))
    assert network_size_of(fixed, 70)(image_hw) == (56, 84)
