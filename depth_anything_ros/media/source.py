"""What every reader of images hands out: a source and its images, read when they are needed."""

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
    One image of a source, number ``index`` from 0.

    ``read`` returns the picture or raises ImageError, whose sentence does not repeat ``name``.
    Files have a ``path``; messages the time at which the bag recorded them and, where they can be
    read, their ``header``.
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
    Images from one place; iterating starts from the first one each time.

    ``count`` is None for a camera and no more than the file's own claim for a video.
    ``size_hw`` is that of the first frame where one size is to be expected, else None. ``topic``
    is that of a bag's images.
    """

    kind: SourceKind
    name: str
    count: int | None
    frames_per_second: float | None
    size_hw: tuple[int, int] | None
    items: Callable[[], Iterator[ImageItem]]
    topic: str | None = None

    def __iter__(self) -> Iterator[ImageItem]:
        """Return a new iterator; ImageError where the source breaks off."""
        return self.items()
