"""
Measure the web pages; write docs/figures/app.json.

``python -m tools.measure.app`` installs the package in a new environment, with the packages that
pip has in its caches, and takes some minutes. ``--only PART`` measures one part and keeps the
figures of the others.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import os
from pathlib import Path
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import cv2
from depth_anything_ros import load_model
from depth_anything_ros.errors import DepthAnythingError
from depth_anything_ros.media.depth_files import encode_png
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.resources import photographs, ROOT
from depth_anything_ros.vision.color_image import to_bgr
import numpy as np
from tools.measure.figures import read_figures, requote_pages, rounded, write_figures
from tools.shared_data import CHECKPOINT_OVERRIDES, local_checkpoint
from tools.web.app import running_app, Visitor
from tools.web.browser import chromium
from tools.web.view import running_node, running_view

COMMAND = 'python -m tools.measure.app'
_ROUNDS, _WARM_UP = 30, 3
_VIEW_ROUNDS, _PHASE_S, _SETTLING_S = 5, 6.0, 3.0
_MOVING_PICTURES = 60
# The most that the page shows per second by default.
_PAGE_HZ = 10.0
_VIEW_SIZE = {'width': 1280, 'height': 800}
# Counts the pictures with a new cloud: those that are drawn after the graphics got one.
_LARGE_BYTES = 100_000
_COUNT_CLOUDS = f"""
window.drawnClouds = 0;
let fresh = false;
for (const name of ['bufferData', 'bufferSubData']) {{
  const original = WebGL2RenderingContext.prototype[name];
  WebGL2RenderingContext.prototype[name] = function (...values) {{
    fresh ||= values.some((value) => value && value.byteLength > {_LARGE_BYTES});
    return original.apply(this, values);
  }};
}}
const draw = WebGL2RenderingContext.prototype.drawArrays;
WebGL2RenderingContext.prototype.drawArrays = function (...values) {{
  window.drawnClouds += fresh;
  fresh = false;
  return draw.apply(this, values);
}};
"""
# Variables that would change a fresh environment.
_UNSET = ('PYTHONPATH', 'VIRTUAL_ENV')

Figures = dict[str, float]
# Measures one part in a temporary folder.
Part = Callable[[Path], Figures]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return 0, or 1 with a sentence if that fails."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', choices=PARTS, action='append', metavar='PART',
                        help=f'one of {", ".join(PARTS)}; may be repeated')
    options = parser.parse_args(arguments)
    figures: Figures = {}
    try:
        for name in options.only or PARTS:
            with tempfile.TemporaryDirectory() as folder:
                figures |= rounded(PARTS[name](Path(folder)))
    except (DepthAnythingError, OSError, subprocess.SubprocessError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    for figure, value in figures.items():
        print(f'{figure:28} {value:g}')
    path = write_figures('app', COMMAND, figures, kept=read_figures('app'))
    print(f'wrote {path} and the pages that quote it')
    requote_pages()
    return 0


def first_depth_figures(folder: Path) -> Figures:
    """
    Return ``app_seconds_to_first_depth``: from a clone to the depth of a picture on the page.

    It contains a new environment, the installation of the package with its extra, and the start of
    the program. ``app_seconds_to_start`` is the start of the installed program alone.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _UNSET}
    start = time.monotonic()
    for command in (['git', 'clone', '--quiet', ROOT.as_uri(), 'clone'],
                    [sys.executable, '-m', 'venv', 'venv'],
                    ['venv/bin/python', '-m', 'pip', 'install', '--quiet', './clone[app]']):
        print(' '.join(command), flush=True)
        subprocess.run(command, cwd=folder, env=environment, check=True)
    installed = time.monotonic()
    model = folder.resolve() / 'clone' / 'models' / 'depth_anything_tiny.xml'
    with running_app(folder, str(model),
                     program=[str(folder / 'venv' / 'bin' / 'depth_anything_app')]) as (url, _):
        Visitor(url, model).depth(_picture(folder))
        end = time.monotonic()
    return {'app_seconds_to_first_depth': end - start, 'app_seconds_to_start': end - installed}


def overhead_figures(folder: Path) -> Figures:
    """
    Return the time of a 640x480 picture on the page ÷ that of the engine alone.

    ``app_overhead`` is that of ViT-S from the checkpoint beside the repository,
    ``app_overhead_box`` that of the model of the package, whose inference is much shorter. The
    time on the page is that of a client over HTTP: upload, queue, decoding, depth, colours,
    answer. Medians; ``app_added_ms`` is the difference for the model of the package.
    """
    checkpoint = local_checkpoint()
    if checkpoint is None:
        raise DepthAnythingError('../shared/weights has no checkpoint; measure --only first_depth')
    from depth_anything_ros.convert.conversion import convert, Job
    vits = convert(Job(checkpoint, folder / 'vits.xml', 'fp16', CHECKPOINT_OVERRIDES)).path
    alone_s, page_s = _times(folder, vits)
    box_alone_s, box_page_s = _times(folder, None)
    return {'app_overhead': page_s / alone_s, 'app_overhead_box': box_page_s / box_alone_s,
            'app_added_ms': 1000 * (box_page_s - box_alone_s)}


def view_figures(folder: Path) -> Figures:
    """
    Return what the live page costs the node, at 640x480 and points at stride 2.

    ``view_node_cost`` is the node's rate at 30 Hz with the page open in a browser elsewhere ÷ the
    rate without, ``view_node_cost_drawn`` the same with Chromium on the cores of the node, drawing
    without a GPU. ``view_fps`` counts the pictures with a new cloud that this Chromium draws per
    second with a camera of 10 Hz, ``view_fps_30_hz`` with one of 30 Hz. With
    ``view_node_cost_limited`` the node makes no more clouds and colours than the page shows.
    Medians of rounds.
    """
    figures, drawn = {}, []
    moving = ('--images', str(_moving_pictures(folder / 'moving')))
    with running_node(folder, *moving) as observer, running_view(folder) as url, \
            chromium() as browser:
        rate_hz = _Rate(observer)

        def drawing_ratio() -> float:
            closed = rate_hz()
            with _drawing(browser, url) as page:
                ratio = rate_hz() / closed
                drawn.append(_drawn_hz(page, observer))
            return ratio

        figures['view_node_cost'] = _median('view_node_cost', lambda: _read_ratio(rate_hz, url))
        figures['view_node_cost_drawn'] = _median('view_node_cost_drawn', drawing_ratio)
        figures['view_fps_30_hz'] = statistics.median(drawn)
    with running_node(folder, *moving, points_rate=_PAGE_HZ, color_rate=_PAGE_HZ) as observer, \
            running_view(folder) as url:
        rate_hz = _Rate(observer)
        figures['view_node_cost_limited'] = _median('view_node_cost_limited',
                                                    lambda: _read_ratio(rate_hz, url))
    with running_node(folder, *moving, '--rate', '10') as observer, running_view(folder) as url, \
            chromium() as browser, _drawing(browser, url) as page:
        observer.spin_until(lambda: False, _SETTLING_S)
        figures['view_fps'] = statistics.median(
            _drawn_hz(page, observer) for _ in range(_VIEW_ROUNDS))
    return figures


def _median(name: str, ratio: Callable[[], float]) -> float:
    """Return the median of the rounds, which are printed."""
    ratios = [ratio() for _ in range(_VIEW_ROUNDS)]
    print(f'{name}: {", ".join(f"{one:.3f}" for one in ratios)}', flush=True)
    return statistics.median(ratios)


def _read_ratio(rate_hz: Callable[[], float], url: str) -> float:
    """Return the node's rate with a page that somebody reads ÷ its rate without."""
    closed = rate_hz()
    with _reader(url):
        return rate_hz() / closed


class _Rate:
    """Measures the rate of the depth [Hz] when it is called."""

    def __init__(self, observer: Any) -> None:
        from sensor_msgs.msg import Image
        self._observer, self._arrived = observer, 0
        observer.listen(Image, '/depth_anything/inverse_depth/image', self._count, raw=True)

    def __call__(self) -> float:
        self._observer.spin_until(lambda: False, _SETTLING_S)
        self._arrived, start = 0, time.monotonic()
        self._observer.spin_until(lambda: False, _PHASE_S)
        return self._arrived / (time.monotonic() - start)

    def _count(self, message: bytes) -> None:
        self._arrived += 1


@contextmanager
def _reader(url: str) -> Iterator[None]:
    """Open the page in a browser elsewhere, whose CPU is not that of the node."""
    port = url.rpartition(':')[2]
    with subprocess.Popen(['nice', '-n', '19', sys.executable, '-m', 'tools.web.reader',
                           port]) as process:
        try:
            yield
            if process.poll() is not None:
                raise DepthAnythingError('the page closed the connection')
        finally:
            process.kill()


@contextmanager
def _drawing(browser: Any, url: str) -> Iterator[Any]:
    """Open the page in Chromium."""
    page = browser.new_page(viewport=_VIEW_SIZE)
    page.add_init_script(_COUNT_CLOUDS)
    page.goto(url)
    page.get_by_text('OK: running').wait_for()
    yield page
    page.close()


def _drawn_hz(page: Any, observer: Any) -> float:
    before, start = page.evaluate('window.drawnClouds'), time.monotonic()
    observer.spin_until(lambda: False, _PHASE_S)
    drawn = page.evaluate('window.drawnClouds') - before
    return float(drawn / (time.monotonic() - start))


def _times(folder: Path, model: Path | None) -> tuple[float, float]:
    """Return the median seconds of ``infer``, and those of a picture on the page."""
    picture = _picture(folder)
    image_bgr = to_bgr(read_picture(picture))
    with load_model(model) as loaded:
        alone_s = _median_s(lambda: loaded.infer(image_bgr))
    with running_app(folder, *([str(model)] if model else [])) as (url, _):
        visitor = Visitor(url, model)
        page_s = _median_s(lambda: visitor.depth(picture))
    print(f'alone {1000 * alone_s:.1f} ms, on the page {1000 * page_s:.1f} ms', flush=True)
    return alone_s, page_s


def _median_s(call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_WARM_UP + _ROUNDS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[_WARM_UP:])


def _picture(folder: Path) -> Path:
    """Return a 640x480 picture, written into ``folder``."""
    image = to_bgr(read_picture(photographs() / 'motorcycle.jpg'))
    path = folder / 'picture.png'
    path.write_bytes(encode_png(
        cv2.resize(image, (640, 480), interpolation=cv2.INTER_AREA)))  # type: ignore[arg-type]
    return path


def _moving_pictures(folder: Path) -> Path:
    """Write crops that move over a photograph; pictures that stay are not sent to browsers."""
    folder.mkdir()
    image = to_bgr(read_picture(photographs() / 'motorcycle.jpg'))
    height, width = image.shape[:2]
    side = height * 3 // 4
    for number in range(_MOVING_PICTURES):
        left = (width - side * 4 // 3) * number // _MOVING_PICTURES
        crop = image[height - side:, left:left + side * 4 // 3]
        (folder / f'{number:03}.png').write_bytes(encode_png(np.ascontiguousarray(crop)))
    return folder


PARTS: dict[str, Part] = {'first_depth': first_depth_figures, 'overhead': overhead_figures,
                          'view': view_figures}

if __name__ == '__main__':
    sys.exit(main())
