"""
Make docs/images/app.jpg and docs/images/view.jpg, pictures of the web pages.

``python -m tools.web.screenshots`` needs the extras ``app``, ``view`` and ``jazzy``, playwright
and Chromium.
"""

from pathlib import Path
import shutil
import sys
import tempfile
from typing import Any

import cv2
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.resources import photographs, ROOT
from tools.web.app import running_app
from tools.web.browser import chromium
from tools.web.view import running_node, running_view

_PHOTOGRAPH = photographs() / 'motorcycle.jpg'
_IMAGES = ROOT / 'docs' / 'images'
_APP_SIZE = {'width': 1240, 'height': 1090}
_VIEW_SIZE = {'width': 1240, 'height': 900}
_TIMEOUT_MS = 60_000
# Drawing a cloud without a GPU takes a while, and no event says when it is done.
_DRAWING_MS = 8_000
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 88]


def main() -> int:
    """Make the pictures; return 0, or 1 with a sentence if that fails."""
    try:
        with tempfile.TemporaryDirectory() as name, chromium() as browser:
            folder = Path(name)
            with running_app(folder) as (url, _):
                _photograph_app(browser.new_page(viewport=_APP_SIZE), url, folder)
            pictures = folder / 'pictures'
            pictures.mkdir()
            shutil.copy(_PHOTOGRAPH, pictures)
            with running_node(folder, '--images', str(pictures)), running_view(folder) as url:
                _photograph_view(browser.new_page(viewport=_VIEW_SIZE), url, folder)
    except (DepthAnythingError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def _photograph_app(page: Any, url: str, folder: Path) -> None:
    from playwright.sync_api import expect
    page.goto(url)
    page.set_input_files('#picture input[type=file]', _PHOTOGRAPH)
    expect(page.locator('#cloud canvas')).to_be_visible(timeout=_TIMEOUT_MS)
    _save(page, folder, 'app.jpg')


def _photograph_view(page: Any, url: str, folder: Path) -> None:
    page.goto(url)
    page.get_by_text('OK: running').wait_for(timeout=_TIMEOUT_MS)
    # The warning that there is no GPU.
    page.locator('.mantine-Notification-closeButton').click()
    _save(page, folder, 'view.jpg')


def _save(page: Any, folder: Path, name: str) -> None:
    page.wait_for_timeout(_DRAWING_MS)
    page.screenshot(path=folder / 'page.png')
    page.close()
    picture = cv2.imread(str(folder / 'page.png'))
    assert picture is not None
    cv2.imwrite(str(_IMAGES / name), picture, _QUALITY)
    print(f'wrote {_IMAGES / name}', flush=True)


if __name__ == '__main__':
    sys.exit(main())
