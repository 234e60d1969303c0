"""Labels are made once, replaced only when complete, and reused."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
import io
import json
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
    count_in_lines, count_on_bar, duration_text)
from depth_anything_ros.distill.dataset import (  # noqa: E402
    as_float16, DatasetImage, label_folder, LabelFacts, LabelledImage, make_labels)
from depth_anything_ros.distill.teacher import Teacher  # noqa: E402

FACTS = LabelFacts('0' * 64, Overrides(), (518,), False, 384)


class RedChannel:
    """A network whose depth is the red of the image; ``calls`` counts the images."""

    def __init__(self, interrupt_at: int = 0) -> None:
        self.calls = 0
        self._interrupt_at = interrupt_at

    def __call__(self, image_bgr: np.ndarray, size: int) -> np.ndarray:
        self.calls += 1
        if self.calls == self._interrupt_at:
            raise KeyboardInterrupt
        return image_bgr[..., 2].astype(np.float32) / 64


def teacher(infer: Callable[[np.ndarray, int], np.ndarray]) -> Teacher:
    return Teacher('teacher.pth', '0' * 64, 'Apache-2.0', 'relative', (42,), False, infer)


@pytest.fixture
def images(tmp_path: Path) -> list[DatasetImage]:
    """Return four red images, brighter and brighter."""
    found = []
    for number in range(1, 5):
        path = tmp_path / f'{number}.png'
        cv2.imwrite(str(path), np.full((42, 56, 3), (0, 0, 50 * number), np.uint8))
        found.append(DatasetImage(f'photos/{number}', path, number))
    return found


def label(images: Sequence[DatasetImage], infer: Callable[[np.ndarray, int], np.ndarray],
          folder: Path, lines: list[str] | None = None) -> dict[DatasetImage, LabelledImage]:
    report = [].append if lines is None else lines.append
    return dict(make_labels(images, teacher(infer), folder, report,
                            partial(count_in_lines, report)))


def test_a_label_is_a_file_of_16_bit_floats_with_the_size_of_its_image(
        images: list[DatasetImage], tmp_path: Path) -> None:
    pairs = label(images, RedChannel(), tmp_path / 'labels')
    assert list(pairs) == images
    stored = np.load(tmp_path / 'labels' / 'photos' / '3.npy')
    assert (stored.dtype, stored.shape) == (np.float16, (42, 56))
    image, depth = pairs[images[2]].read()
    assert (image.dtype, depth.dtype) == (np.uint8, np.float32)
    assert_array_equal(image, cv2.imread(str(images[2].path)))
    assert_allclose(depth, 150 / 64, rtol=1e-3)


def test_existing_labels_are_reused(
        images: list[DatasetImage], tmp_path: Path) -> None:
    first = RedChannel()
    pairs = label(images[:2], first, tmp_path / 'labels')
    second = RedChannel()
    assert label(images, second, tmp_path / 'labels').items() >= pairs.items()
    assert (first.calls, second.calls) == (2, 2)


def test_an_interrupt_keeps_all_labels_and_leaves_no_incomplete_file(
        images: list[DatasetImage], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        label(images, RedChannel(interrupt_at=3), tmp_path / 'labels')
    files = [path for path in (tmp_path / 'labels').rglob('*') if path.is_file()]
    assert sorted(path.name for path in files) == ['1.npy', '2.npy']
    rest = RedChannel()
    assert len(label(images, rest, tmp_path / 'labels')) == 4
    assert rest.calls == 2


def test_images_that_cannot_be_read_or_labelled_are_reported_and_left_out(
        images: list[DatasetImage], tmp_path: Path) -> None:
    images[1].path.write_bytes(b'no picture')

    def infer(image_bgr: np.ndarray, size: int) -> np.ndarray:
        depth = image_bgr[..., 2].astype(np.float32)
        return np.where(depth == 200, np.float32(np.nan), depth)

    lines: list[str] = []
    assert list(label(images, infer, tmp_path / 'labels', lines)) == images[:1] + [
        images[2]]
    assert any('2.png is left out: OpenCV cannot decode' in line for line in lines)
    assert any('4.png is left out: the teacher returns' in line for line in lines)


def test_numbers_too_large_for_16_bits_are_scaled_and_keep_their_order() -> None:
    large = np.array([[0.0, 1e4, 3e5, 4e6]], np.float32)
    stored = as_float16(large).astype(np.float32)
    assert np.isfinite(stored).all() and (np.diff(stored[0]) > 0).all()
    assert_allclose(stored / stored.max(), large / large.max(), rtol=1e-2, atol=1e-4)
    usual = np.array([[0.0, 0.5, 60000.0]], np.float32)
    assert_array_equal(as_float16(usual), usual.astype(np.float16))


def test_another_teacher_or_other_options_have_another_folder(tmp_path: Path) -> None:
    others = [FACTS, replace(FACTS, teacher_sha256='1' * 64), replace(FACTS, flip=True),
              replace(FACTS, sizes=(518, 700)), replace(FACTS, short_side=288),
              replace(FACTS, overrides=Overrides('metric'))]
    folders = {label_folder(tmp_path, facts) for facts in others}
    assert len(folders) == len(others)
    folder = label_folder(tmp_path, FACTS)
    assert folder in folders
    assert json.loads((folder / 'labels.json').read_text())['sizes'] == [518]


def test_a_missing_or_wrong_file_is_named(
        images: list[DatasetImage], tmp_path: Path) -> None:
    pairs = label(images, RedChannel(), tmp_path / 'labels')
    first, second, third, fourth = (pairs[image] for image in images)
    first.image.unlink()
    with pytest.raises(ImageError, match=r'1\.png: it cannot be read'):
        first.read()
    second.label.unlink()
    with pytest.raises(CheckpointError, match=r'2\.npy: the label cannot be read .* run the same'):
        second.read()
    whole = third.label.read_bytes()
    for damaged in (whole[:300], b'PK\3\4' + whole[4:], whole[:10] + b'{' * 40 + whole[50:]):
        third.label.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r'3\.npy: the label cannot be read'):
            third.read()
    np.save(third.label, np.full((48, 64), np.nan, np.float16))
    cv2.imwrite(str(fourth.image), np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(CheckpointError, match=r'4\.npy: its size is not that of .*4\.png'):
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
    assert duration_text(seconds) == text
