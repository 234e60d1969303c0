"""The page in Chromium: a picture goes up, its depth comes back and can be downloaded."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from app_pages import running_page, save_picture, write_video
from browser import TIMEOUT_MS
import cv2
from depth_anything_ros.run.main import main as run_main
import pytest

pytest.importorskip('typer')
pytest.importorskip('gradio')
playwright = pytest.importorskip('playwright.sync_api')


@pytest.fixture(scope='module')
def url(tmp_path_factory: pytest.TempPathFactory, tiny_ir: Path) -> Iterator[str]:
    """Return the address of a page with the tiny model."""
    with running_page(tmp_path_factory.mktemp('app'), tiny_ir) as (address, _):
        yield address


@pytest.fixture
def visit(open_page: Callable[[str], Any], url: str) -> Callable[[], Any]:
    """Return a function that opens the page for a new visitor."""
    return partial(open_page, url)


def upload(page: Any, picture: Path) -> None:
    """Give the page a picture, as the file dialog does."""
    page.set_input_files('#picture input[type=file]', picture)


def download(page: Any, button_id: str, folder: Path) -> Path:
    """Click a button for download when it is ready and return the file."""
    button = page.locator(f'a#{button_id}, #{button_id}')
    playwright.expect(button).to_be_enabled(timeout=TIMEOUT_MS)
    with page.expect_download() as event:
        button.click()
    path = folder / event.value.suggested_filename
    event.value.save_as(path)
    return path


def test_two_visitors_download_the_depth_of_their_own_picture(
        visit: Callable[[], Any], tiny_ir: Path, tmp_path: Path) -> None:
    pages = [visit(), visit()]
    pictures = [save_picture(tmp_path / f'{name}.png', seed)
                for seed, name in enumerate(('left', 'right'))]
    for page, picture in zip(pages, pictures):
        upload(page, picture)
    for page, picture in zip(pages, pictures):
        playwright.expect(page.locator('#sentence')).to_contain_text('ms', timeout=TIMEOUT_MS)
        assert page.locator('#depth img').count() >= 2
        playwright.expect(page.locator('#cloud canvas')).to_be_visible(timeout=TIMEOUT_MS)
        found = download(page, 'file_2', tmp_path)
        assert found.name == f'{picture.stem}_16bit.png'
        assert run_main([str(tiny_ir), '--input', str(picture), '--format', 'png16',
                         '--precision', 'f32', '--outdir', str(tmp_path / 'run')]) == 0
        assert found.read_bytes() == (tmp_path / 'run' / picture.name).read_bytes()


def shown_depth(page: Any) -> str:
    """Return the address of the depth that the page shows."""
    return str(page.locator('#depth img').nth(1).get_attribute('src'))


def choose_colors(page: Any, name: str) -> None:
    """Choose a colour map and wait until the depth is shown with it."""
    before, box = shown_depth(page), page.get_by_label('Colour map').first
    box.fill(name)
    page.get_by_role('option', name=name, exact=True).click()
    playwright.expect(page.locator('#depth img').nth(1)).not_to_have_attribute(
        'src', before, timeout=TIMEOUT_MS)


def test_downloads_belong_to_the_picture_and_the_colours_that_the_page_shows(
        visit: Callable[[], Any], tmp_path: Path) -> None:
    """Each event comes while the files of the former one, a large picture, are prepared."""
    page = visit()
    upload(page, save_picture(tmp_path / 'large.png', 1, (3000, 4000)))
    playwright.expect(page.locator('#depth img[src*="large_1"]')).to_have_count(
        1, timeout=TIMEOUT_MS)
    page.locator('.gallery-item:visible').first.click()
    playwright.expect(page.locator('#depth img[src*="camera_1"]')).to_have_count(
        1, timeout=TIMEOUT_MS)
    assert download(page, 'file_2', tmp_path).name == 'camera_16bit.png'
    choose_colors(page, 'viridis')
    choose_colors(page, 'gray')
    color, gray = (download(page, f'file_{number}', tmp_path) for number in (0, 1))
    assert color.read_bytes() == gray.read_bytes()


def test_a_camera_that_cannot_be_leaves_the_files_without_it(visit: Callable[[], Any],
                                                             tmp_path: Path) -> None:
    page = visit()
    upload(page, save_picture(tmp_path / 'scene.png', 3))
    download(page, 'file_4', tmp_path)
    page.get_by_text('Camera, for the point cloud').click()
    focal = page.get_by_label('fx [px of the picture]').first
    focal.fill('500')
    focal.press('Enter')
    playwright.expect(page.get_by_text('not calibrated')).to_be_visible(timeout=TIMEOUT_MS)
    playwright.expect(page.locator('a#file_4, #file_4')).to_be_disabled(timeout=TIMEOUT_MS)
    assert download(page, 'file_2', tmp_path).name == 'scene_16bit.png'


def test_a_broken_picture_shows_what_is_wrong_with_it(visit: Callable[[], Any],
                                                      tmp_path: Path) -> None:
    picture = save_picture(tmp_path / 'good.png', 1)
    (tmp_path / 'broken.png').write_bytes(picture.read_bytes()[:-200])
    page = visit()
    upload(page, tmp_path / 'broken.png')
    playwright.expect(page.get_by_text('the PNG is incomplete')).to_be_visible(timeout=TIMEOUT_MS)


def test_a_video_comes_back_as_mp4(visit: Callable[[], Any], tmp_path: Path) -> None:
    page = visit()
    page.get_by_role('tab', name='Video').click()
    page.set_input_files('#video input[type=file]', write_video(tmp_path / 'drive.mp4', 7))
    playwright.expect(page.get_by_role('cell', name='drive.mp4')).to_be_visible(timeout=TIMEOUT_MS)
    page.locator('#video_start').click()
    playwright.expect(page.locator('#video_sentence')).to_contain_text('7 frames in',
                                                                       timeout=TIMEOUT_MS)
    found = download(page, 'video_file', tmp_path)
    assert found.name == 'drive_depth.mp4'
    assert cv2.VideoCapture(str(found)).get(cv2.CAP_PROP_FRAME_COUNT) == 7
