"""Labels: made once, whole or not at all, found again."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
import io
import json
import os
from pathlib import Path

import cv2
from depth_anything_ros.convert.sources.identity import Overrides
from depth_anything_ros.errors import CheckpointError, ImageError
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
import pytest

for package in ('torch', 'rich'):
    pytest.importorskip(package)

from depth_anything_ros.cli.progress import (  # noqa: E402, I100
    count_in_lines, count_on_bar, in_words)
from depth_anything_ros.distill.dataset import Picture  # noqa: E402
from depth_anything_ros.distill.labels import (  # noqa: E402
    as_float16, label_folder, LabelFacts, Labelled, make_labels)
from depth_anything_ros.distill.teacher import Teacher  # noqa: E402

FACTS = LabelFacts('0' * 64, Overrides(), (518,), False, 384)


class Redness:
    """A network whose depth is the red of the picture; it counts what it was asked."""

    def __init__(self, breaks_at: int = 0) -> None:
        self.overrides = 0
        self._breaks_at = breaks_at

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        self.overrides += 1
        if self.overrides == self._breaks_at:
            raise KeyboardInterrupt
        return picture[..., 2].astype(np.float32) / 64


def teacher(compute: Callable[[np.ndarray], np.ndarray]) -> Teacher:
    return Teacher('teacher.pth', '0' * 64, 'Apache-2.0', 'relative', 14, None, (42,), False,
                   compute)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Picture]:
    """Return four pictures of flat red."""
    found = []
    for number in range(1, 5):
        path = tmp_path / f'{number}.png'
        cv2.imwrite(str(path), np.full((42, 56, 3), (0, 0, 50 * number), np.uint8))
        found.append(Picture(f'photos/{number}', path, number))
    return found


def label(pictures: Sequence[Picture], compute: Callable[[np.ndarray], np.ndarray], folder: Path,
          lines: list[str] | None = None) -> dict[Picture, Labelled]:
    report = [].append if lines is None else lines.append
    return dict(make_labels(pictures, teacher(compute), folder, report,
                            partial(count_in_lines, report)))


def test_a_label_is_a_file_of_16_bit_floats_of_the_size_of_its_picture(
        pictures: list[Picture], tmp_path: Path) -> None:
    pairs = label(pictures, Redness(), tmp_path / 'labels')
    assert list(pairs) == pictures
    stored = np.load(tmp_path / 'labels' / 'photos' / '3.npy')
    assert (stored.dtype, stored.shape) == (np.float16, (42, 56))
    image, depth = pairs[pictures[2]].read()
    assert (image.dtype, depth.dtype) == (np.uint8, np.float32)
    assert_array_equal(image, cv2.imread(str(pictures[2].path)))
    assert_allclose(depth, 150 / 64, rtol=1e-3)


def test_labels_that_are_there_are_not_made_again(
        pictures: list[Picture], tmp_path: Path) -> None:
    first = Redness()
    pairs = label(pictures[:2], first, tmp_path / 'labels')
    second = Redness()
    assert label(pictures, second, tmp_path / 'labels').items() >= pairs.items()
    assert (first.overrides, second.overrides) == (2, 2)


def test_a_label_older_than_its_picture_is_made_again(
        pictures: list[Picture], tmp_path: Path) -> None:
    pairs = label(pictures, Redness(), tmp_path / 'labels')
    os.utime(pairs[pictures[1]].label, ns=(1, 1))
    again = Redness()
    label(pictures, again, tmp_path / 'labels')
    assert again.overrides == 1


def test_an_interrupt_loses_no_label_and_leaves_nothing_half_written(
        pictures: list[Picture], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        label(pictures, Redness(breaks_at=3), tmp_path / 'labels')
    files = [path for path in (tmp_path / 'labels').rglob('*') if path.is_file()]
    assert sorted(path.name for path in files) == ['1.npy', '2.npy']
    rest = Redness()
    assert len(label(pictures, rest, tmp_path / 'labels')) == 4
    assert rest.overrides == 2


def test_pictures_that_cannot_be_read_or_labelled_are_reported_and_left_out(
        pictures: list[Picture], tmp_path: Path) -> None:
    pictures[1].path.write_bytes(b'no picture')

    def compute(picture: np.ndarray) -> np.ndarray:
        depth = picture[..., 2].astype(np.float32)
        return np.where(depth == 200, np.float32(np.nan), depth)

    lines: list[str] = []
    assert list(label(pictures, compute, tmp_path / 'labels', lines)) == pictures[:1] + [
        pictures[2]]
    assert any('2.png is left out: OpenCV cannot decode' in line for line in lines)
    assert any('4.png is left out: the teacher answers' in line for line in lines)


def test_numbers_too_large_for_16_bits_are_scaled_and_keep_their_order() -> None:
    large = np.array([[0.0, 1e4, 3e5, 4e6]], np.float32)
    stored = as_float16(large).astype(np.float32)
    assert np.isfinite(stored).all() and (np.diff(stored[0]) > 0).all()
    assert_allclose(stored / stored.max(), large / large.max(), rtol=1e-2, atol=1e-4)
    usual = np.array([[0.0, 0.5, 60000.0]], np.float32)
    assert_array_equal(as_float16(usual), usual.astype(np.float16))


def test_another_teacher_or_another_way_has_another_folder(tmp_path: Path) -> None:
    others = [FACTS, replace(FACTS, teacher_sha256='1' * 64), replace(FACTS, flip=True),
              replace(FACTS, sizes=(518, 700)), replace(FACTS, short_side=288),
              replace(FACTS, overrides=Overrides('metric'))]
    folders = {label_folder(tmp_path, facts) for facts in others}
    assert len(folders) == len(others)
    folder = label_folder(tmp_path, FACTS)
    assert folder in folders
    assert json.loads((folder / 'labels.json').read_text())['sizes'] == [518]


def test_a_file_that_vanished_or_does_not_belong_is_named(
        pictures: list[Picture], tmp_path: Path) -> None:
    pairs = label(pictures, Redness(), tmp_path / 'labels')
    first, second, third, fourth = (pairs[picture] for picture in pictures)
    first.image.unlink()
    with pytest.raises(ImageError, match=r'1\.png: it cannot be read'):
        first.read()
    second.label.unlink()
    with pytest.raises(CheckpointError, match=r'2\.npy: the label cannot be read .* run the same'):
        second.read()
    third.label.write_bytes(third.label.read_bytes()[:300])
    with pytest.raises(CheckpointError, match=r'3\.npy: the label cannot be read'):
        third.read()
    cv2.imwrite(str(fourth.image), np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(CheckpointError, match=r'4\.npy: it is no label of .*4\.png'):
        fourth.read()


def test_lines_tell_number_rate_and_the_time_that_is_left() -> None:
    lines: list[str] = []
    with count_in_lines(lines.append, 'labels', 12, 10, period_s=0) as advance:
        advance('')
        advance('loss 0.5')
    assert lines[0].startswith('      11 of 12 labels, ') and lines[0].endswith(' 0 s left')
    assert lines[1].startswith('      12 of 12 labels, ') and lines[1].endswith('left, loss 0.5')
    with count_in_lines(lines.append, 'labels', 12) as advance:
        advance('')
    assert len(lines) == 2


def test_on_a_terminal_there_is_a_bar() -> None:
    from rich.console import Console
    screen = io.StringIO()
    with count_on_bar(Console(file=screen, force_terminal=True, width=120), 'labels', 3, 1
                      ) as advance:
        advance('')
        advance('loss 0.5')
    assert '3/3' in screen.getvalue() and 'loss 0.5' in screen.getvalue()


@pytest.mark.parametrize(('seconds', 'text'), [
    (5.4, '5 s'), (89, '89 s'), (91, '2 min'), (3599, '1 h 00 min'), (11100, '3 h 05 min')])
def test_durations_are_in_the_units_that_matter(seconds: float, text: str) -> None:
    assert in_words(seconds) == text
