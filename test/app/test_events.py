"""Events of visitors that overlap: newer colours, a stopped video, the end of the program."""

from collections.abc import Callable, Iterator
from pathlib import Path
import threading
from types import SimpleNamespace
from typing import Any, NoReturn

from app_pages import save_picture, write_video
from depth_anything_ros.app.models import ModelChoice, ModelSlot
from depth_anything_ros.app.pictures import compute_picture
from depth_anything_ros.app.visitor_files import VisitorFiles
from depth_anything_ros.app.visits import Visit
from depth_anything_ros.errors import ImageError
import pytest

gradio = pytest.importorskip('gradio')
page_module = pytest.importorskip('depth_anything_ros.app.page')

LOOK, CAMERA = ('gray', 0, 100), (60, 0, 0, 0, 0)
SKIPPED = {'__type__': 'update'}
VISITOR: Any = SimpleNamespace(session_hash='a')


@pytest.fixture
def page(tiny_ir: Path, tmp_path: Path) -> Iterator[Any]:
    """Yield a page without a server."""
    slot = ModelSlot()
    yield page_module.Page(slot, ModelChoice(tiny_ir, precision='f32'), {}, [],
                           VisitorFiles(tmp_path), True)
    slot.close()


@pytest.fixture
def visit(page: Any, tmp_path: Path) -> Visit:
    """Return the visit of a person who sees the depth of a picture."""
    return Visit(compute_picture(page.slot, page.choice, save_picture(tmp_path / 'a.png', 1)))


def enabled(files: Any) -> list[bool]:
    """Return which of the five downloads can be clicked."""
    return [file['interactive'] for file in files[:5]]


@pytest.mark.parametrize('change', [
    lambda page, visit: page.on_look(visit, 'tiny', 'viridis', 0, 100),
    lambda page, visit: page.on_picture(None, 'm', 0, 'CPU', *LOOK, visit),
    lambda page, visit: page.on_files(visit, 'viridis', 0, 100, *CAMERA)])
def test_files_that_are_ready_after_a_newer_event_are_not_shown(
        page: Any, visit: Visit, monkeypatch: pytest.MonkeyPatch,
        change: Callable[[Any, Visit], object]) -> None:
    write = page_module.write_cloud

    def meanwhile(*args: Any) -> Any:
        monkeypatch.setattr(page_module, 'write_cloud', write)
        change(page, visit)
        return write(*args)

    monkeypatch.setattr(page_module, 'write_cloud', meanwhile)
    assert all(value == SKIPPED for value in page.on_files(visit, *LOOK, *CAMERA))
    assert enabled(page.on_files(visit, *LOOK, *CAMERA)) == [True] * 5


def test_colours_of_a_picture_that_is_no_longer_shown_are_not_drawn(
        page: Any, visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = page_module.draw

    def meanwhile(*args: Any) -> Any:
        page.on_picture(None, 'm', 0, 'CPU', *LOOK, visit)
        return draw(*args)

    monkeypatch.setattr(page_module, 'draw', meanwhile)
    assert all(value == SKIPPED for value in page.on_look(visit, 'tiny', *LOOK))


def test_a_new_picture_and_new_colours_take_back_the_files(page: Any, visit: Visit) -> None:
    assert enabled(page.on_picture(None, 'm', 0, 'CPU', *LOOK, visit)[3:]) == [False] * 5
    assert [file['interactive'] for file in page.on_look(visit, 'tiny', *LOOK)[1:]] == [False] * 2


def test_a_camera_that_cannot_be_leaves_the_files_without_it(page: Any, visit: Visit) -> None:
    with pytest.warns(UserWarning, match='not calibrated'):
        *files, cloud = page.on_files(visit, *LOOK, 60, 500, 0, 0, 0)
    assert (enabled(files), cloud) == ([True] * 4 + [False], None)


def test_depth_that_is_no_longer_kept_is_said(page: Any) -> None:
    """It gives way to that of other visitors; the browser still shows picture and sentence."""
    for event in (lambda: page.on_look(None, 'tiny on CPU', *LOOK),
                  lambda: page.on_camera(None, 'tiny on CPU', *LOOK, *CAMERA)):
        with pytest.raises(ImageError, match='no longer kept; press Compute depth'):
            event()
    assert page.on_look(None, '', *LOOK)[0] is None


def test_a_video_that_is_stopped_while_it_waits_is_not_computed(
        page: Any, tmp_path: Path) -> None:
    video = write_video(tmp_path / 'drive.mp4', 3)

    def compute() -> Any:
        return page.on_video(str(video), str(page.choice.path), 0, 'CPU', 'gray', True, VISITOR,
                             progress=lambda *args, **options: None)[2]

    page.on_video_asked(VISITOR)
    assert page.on_stop(VISITOR) == 'Stopping: what is done is kept'
    assert compute().startswith('the video was stopped before its first frame; press Compute')
    assert compute().startswith('3 frames in'), 'it can be computed again'
    assert page.on_stop(VISITOR) == SKIPPED
    page.on_video_asked(VISITOR)
    page.on_leave(VISITOR)
    assert not page.stops


def test_the_video_that_is_being_written_stays_however_long_it_takes(
        page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from depth_anything_ros.app import visitor_files
    monkeypatch.setattr(visitor_files, '_age_s', lambda path, now: 1e6)
    folders: list[Path] = []

    def compute(slot: object, choice: object, video: Path, target: Path,
                *rest: object) -> NoReturn:
        folders.append(target.parent)
        target.touch()
        page.files._remove_old(set())
        assert target.is_file()
        raise ImageError('the end')

    monkeypatch.setattr(page_module, 'compute_video', compute)
    with pytest.raises(ImageError, match='the end'):
        page.on_video(str(write_video(tmp_path / 'drive.mp4', 1)), 'm', None, 'CPU', 'inferno',
                      False, VISITOR)
    page.files._remove_old(set())
    assert not folders[0].exists()


def test_the_end_waits_for_running_events_and_refuses_others(page: Any) -> None:
    """Python would end their threads within OpenCV, and their folder would go away."""
    entered, go_on = threading.Event(), threading.Event()

    def handler(file: str) -> str:
        entered.set()
        go_on.wait(20)
        return file

    answers: list[str] = []
    event = page.event(handler)
    running = threading.Thread(target=lambda: answers.append(event('picture.png')))
    ending = threading.Thread(target=page.end)
    running.start()
    assert entered.wait(20)
    ending.start()
    ending.join(0.1)
    assert ending.is_alive()
    with pytest.raises(gradio.Error, match='the program is ending; start it again'):
        event('another.png')
    go_on.set()
    ending.join(20)
    running.join(20)
    assert not ending.is_alive() and answers == ['picture.png']
