"""A headless Chromium for the tests of web pages."""

from collections.abc import Iterator
from typing import Any

import pytest
from tools.web.browser import chromium

# Only the end of a hang: on a busy machine a browser without a GPU needs a minute for a page.
TIMEOUT_MS = 300_000


@pytest.fixture(scope='module')
def browser() -> Iterator[Any]:
    """Return a browser; skip the test where there is none."""
    pytest.importorskip('playwright.sync_api')
    try:
        with chromium() as found:
            yield found
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Return a function that opens an address for a new visitor; it may load from nowhere else."""
    contexts, asked = [], []

    def open_page(url: str) -> Any:
        contexts.append(browser.new_context(viewport={'width': 1280, 'height': 1000}))
        page = contexts[-1].new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.on('request', lambda request: asked.append((url, request.url)))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [address for url, address in asked if not address.startswith(
        (url, url.replace('http', 'ws', 1), 'data:', 'blob:'))] == []
