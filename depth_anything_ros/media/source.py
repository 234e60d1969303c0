"""The result of every image reader: a source, and its images that are decoded on demand."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from depth_anything_ros.vision.color_image import ColorImage

SourceKind = Literal['images', 'video', 'camera', 'bag']


@dataclass(frozen=True)
class Header:
    """The header of an image message."""

    stamp_sec: int
    stamp_nanosec: int
    frame_id: str


@dataclass(frozen=True)
class ImageItem:
    """
    One image of a source; ``index`` counts from 0.

    ``read`` decodes the image or raises ImageError, whose text does not repeat ``name``. ``path``
    is set for files. ``timestamp_ns`` is the time of recording of a message, the time of a frame
    in its video, or a monotonic time for a camera; None for files. Messages of a bag have a
    ``header`` unless they are damaged.
    """

    name: str
    index: int
    read: Callable[[], ColorImage]
    path: Path | None = None
    timestamp_ns: int | None = None
    header: Header | None = None


@dataclass(frozen=True)
class ImageSource:
    """
    Images of a file, folder, list, video, camera or bag; each iteration starts at the first one.

    ``count`` is None for a camera, and for a video it is what its header says. ``size_hw`` is the
    size of the first frame of a video, camera or bag, None for files. ``topic`` is set for a bag.
    """

    kind: SourceKind
    name: str
    count: int | None
    frames_per_second: float | None
    size_hw: tuple[int, int] | None
    items: Callable[[], Iterator[ImageItem]]
    topic: str | None = None

    def __iter__(self) -> Iterator[ImageItem]:
        """Return a new iterator; it raises ImageError if the source cannot be read further."""
        return self.items()
