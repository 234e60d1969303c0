"""Fixtures: a viewer of a real depth node, and visitors of its page."""

from collections.abc import Callable, Iterator
import threading
from typing import Any

from nodes import context, make_robot  # noqa: F401
import pytest
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor

pytest.importorskip('viser', reason='viser is not installed')


@pytest.fixture
def make_viewer(context: Context) -> Iterator[Callable[..., Any]]:  # noqa: F811
    """Return a function that makes a spinning viewer of /depth_anything on a free port."""
    from depth_anything_ros.view.viewer import Viewer
    closing = threading.Event()
    made: list[tuple[Any, threading.Thread]] = []

    def make(rate_hz: float = 50.0, most_points: int = 24_000) -> Viewer:
        viewer = Viewer('depth_anything', '127.0.0.1', 0, rate_hz, most_points, context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(viewer)

        def spin() -> None:
            while not closing.is_set():
                executor.spin_once(timeout_sec=0.05)
            executor.shutdown()

        thread = threading.Thread(target=spin, daemon=True)
        thread.start()
        made.append((viewer, thread))
        return viewer

    yield make
    closing.set()
    for viewer, thread in made:
        thread.join(10)
        viewer.destroy_node()
