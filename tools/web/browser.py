"""A headless Chromium, with drawing in 3-D and without a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
import shutil
from typing import Any


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield the browser of playwright; FileNotFoundError where there is no Chromium."""
    from playwright.sync_api import sync_playwright
    path = shutil.which('chromium') or shutil.which('google-chrome')
    if path is None:
        raise FileNotFoundError('there is no Chromium; install it: apt install chromium')
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path, args=['--no-sandbox', '--use-angle=swiftshader',
                                        '--enable-unsafe-swiftshader'])
        try:
            yield browser
        finally:
            browser.close()
