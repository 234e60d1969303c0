"""All images are computed, in order with one writer, in bounded memory."""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
import threading
import time

from depth_anything_ros.errors import ImageError
from depth_anything_ros.inference.engine import Engine, EngineOptions
from depth_anything_ros.media.source import ImageItem
from depth_anything_ros.run.pipeline import Failure, run_images
from depth_anything_ros.vision.color_image import ColorImage
import numpy as np
import pytest
from waiting import within


@pytest.fixture(scope='module')
def engine(tiny_ir: Path) -> Iterator[Engine]:
    """Return an engine with two requests and a network of the images' own size."""
    with closing(Engine(tiny_ir, EngineOptions(requests=2, image_hw=(112, 112)))) as started:
        yield started


def level(index: int) -> ColorImage:
    """Return a gray image whose depth is 7 times its level in 0..1."""
    return ColorImage(np.full((112, 112, 3), index % 256, np.uint8), 'bgr')


def items(count: int, read: Callable[[int], ColorImage] = level) -> list[ImageItem]:
    return [ImageItem(f'image {index}', index, partial(read, index)) for index in range(count)]


class Collected:
    """Keep the mean depth under the index of its image, in the order of arrival."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.depths: list[tuple[int, float]] = []
        self._seconds = seconds

    def write(self, item: ImageItem, image: ColorImage, depth: np.ndarray) -> None:
        assert depth.shape == image.size_hw
        time.sleep(self._seconds)
        self.depths.append((item.index, float(depth.mean())))


def test_one_writer_gets_every_result_in_order_with_its_own_image(engine: Engine) -> None:
    collected = Collected()
    summary = run_images(engine, items(60), collected.write)
    assert (summary.done, summary.failed) == (60, ())
    assert summary.rate == pytest.approx(60 / summary.seconds)
    assert [index for index, _ in collected.depths] == list(range(60))
    expected = 7 * np.arange(60) / 255
    assert [depth for _, depth in collected.depths] == pytest.approx(expected, abs=0.05)


def test_several_writers_write_every_image(engine: Engine) -> None:
    collected = Collected()
    run_images(engine, items(60), collected.write, writers=3)
    assert sorted(index for index, _ in collected.depths) == list(range(60))


def test_writers_work_at_the_same_time(engine: Engine) -> None:
    meeting = threading.Barrier(3, timeout=10)
    run_images(engine, items(3), lambda item, image, depth: meeting.wait() and None, writers=3)
    assert not meeting.broken


def test_depth_has_the_size_of_each_image(engine: Engine) -> None:
    sizes = [(60, 90), (60, 90), (112, 130), (60, 90)]

    def read(index: int) -> ColorImage:
        return ColorImage(np.zeros((*sizes[index], 3), np.uint8), 'bgr')

    assert run_images(engine, items(4, read), Collected().write).done == 4


def test_a_slow_writer_holds_the_reader_back(engine: Engine) -> None:
    read: list[int] = []
    most_ahead = 0

    def note(index: int) -> ColorImage:
        read.append(index)
        return level(index)

    written = 0

    def write(item: ImageItem, image: ColorImage, depth: np.ndarray) -> None:
        nonlocal written, most_ahead
        time.sleep(0.005)
        most_ahead = max(most_ahead, len(read) - written)
        written += 1

    run_images(engine, items(100, note), write)
    assert written == 100
    assert most_ahead <= 14


def test_images_that_fail_are_listed_in_order_and_all_others_are_written(engine: Engine) -> None:
    def read(index: int) -> ColorImage:
        if index in (7, 2):
            raise ImageError(f'broken {index}')
        if index == 5:
            return ColorImage(np.zeros((1, 4000, 3), np.uint8), 'bgr')
        return level(index)

    def write(item: ImageItem, image: ColorImage, depth: np.ndarray) -> None:
        if item.index == 9:
            raise ImageError('cannot be drawn')

    seen = []
    summary = run_images(engine, items(12, read), write, on_progress=lambda: seen.append(1))
    assert summary.done == 8 and len(seen) == 12
    assert [failure.name for failure in summary.failed] == [
        'image 2', 'image 5', 'image 7', 'image 9']
    assert summary.failed[0] == Failure('image 2', 'broken 2')
    assert 'too large' in summary.failed[1].reason


def test_a_source_that_fails_midway_is_listed_without_an_image_name(engine: Engine) -> None:
    def breaking() -> Iterator[ImageItem]:
        yield from items(3)
        raise ImageError('the bag is damaged')

    summary = run_images(engine, breaking(), Collected().write)
    assert (summary.done, summary.failed) == (3, (Failure('', 'the bag is damaged'),))


@pytest.mark.parametrize('writers', [1, 3])
def test_a_full_disk_ends_the_run(engine: Engine, writers: int) -> None:
    def write(item: ImageItem, image: ColorImage, depth: np.ndarray) -> None:
        raise OSError('no space left')

    read: list[int] = []

    def note(index: int) -> ColorImage:
        read.append(index)
        return level(index)

    before = threading.active_count()
    with pytest.raises(OSError, match='no space left'):
        run_images(engine, items(1000, note), write, writers=writers)
    assert len(read) < 50
    assert threading.active_count() == before


@pytest.mark.parametrize('read', [level, None])
@pytest.mark.parametrize('error', [BrokenPipeError('closed'), SystemExit(1)])
def test_a_display_that_cannot_be_written_ends_the_run(
        engine: Engine, error: BaseException, read: Callable[[int], ColorImage] | None) -> None:
    """Rich raises SystemExit where the reader of a pipe, such as head, has ended."""
    def missing(index: int) -> ColorImage:
        raise ImageError('it is not there')

    def show() -> None:
        raise error

    with pytest.raises(type(error)):
        within(20, partial(run_images, engine, items(100, read or missing), Collected().write,
                           on_progress=show))


def test_a_fault_of_the_reader_is_raised(engine: Engine) -> None:
    def read(index: int) -> ColorImage:
        raise KeyError('a mistake')

    with pytest.raises(KeyError):
        run_images(engine, items(3, read), Collected().write)


def test_stop_ends_an_endless_source_and_closes_it(engine: Engine) -> None:
    stop, closed = threading.Event(), threading.Event()

    def endless() -> Iterator[ImageItem]:
        try:
            index = 0
            while True:
                yield ImageItem('frame', index, partial(level, index))
                index += 1
        finally:
            closed.set()

    collected = Collected()

    def write(item: ImageItem, image: ColorImage, depth: np.ndarray) -> None:
        collected.write(item, image, depth)
        if len(collected.depths) == 10:
            stop.set()

    summary = run_images(engine, endless(), write, stop=stop)
    assert closed.wait(5)
    assert 10 <= summary.done <= 30 and not summary.failed
    assert [index for index, _ in collected.depths] == list(range(summary.done))


def test_an_empty_source_gives_an_empty_summary(engine: Engine) -> None:
    summary = run_images(engine, [], Collected().write)
    assert (summary.done, summary.failed) == (0, ())
