"""Snapshots of the next frame, for the service ``~/save_snapshot``."""

from concurrent.futures import Future
from pathlib import Path
import threading
from typing import Any

from depth_anything_ros.alignment.tracker import Alignment
from depth_anything_ros.node.aligner import alignment_values
from depth_anything_ros.node.camera_info import CameraView
from depth_anything_ros.node.frame_products import FrameOutputs
from depth_anything_ros.vision.geometry import Intrinsics
from std_msgs.msg import Header


class SnapshotRequests:
    """Requests for the next frame of one camera; every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[tuple[Path, Future[list[str]]]] = []

    @property
    def is_wanted(self) -> bool:
        """Return whether a request waits for a frame."""
        return bool(self._requests)

    def request(self, folder: Path) -> 'Future[list[str]]':
        """Return what will hold the names of the files that the next frame leaves in folder."""
        files: Future[list[str]] = Future()
        with self._lock:
            self._requests.append((folder, files))
        return files

    def withdraw(self, files: 'Future[list[str]]') -> None:
        """Want that frame no longer."""
        with self._lock:
            self._requests = [wanted for wanted in self._requests if wanted[1] is not files]

    def offer(self, header: Header, products: FrameOutputs, view: CameraView,
              alignment: Alignment | None) -> None:
        """Write the frame for everybody who waits; a full disk is told to them alone."""
        with self._lock:
            requests, self._requests = self._requests, []
        for folder, files in requests:
            try:
                files.set_result(_write(folder, header, products, view.camera, alignment))
            except Exception as error:  # noqa: B902 - whatever it is, the caller must hear of it
                files.set_exception(error)


def _write(folder: Path, header: Header, products: FrameOutputs, camera: Intrinsics | None,
           alignment: Alignment | None) -> list[str]:
    from depth_anything_ros.media.depth_files import Snapshot, write_snapshot
    folder.parent.mkdir(parents=True, exist_ok=True)
    return write_snapshot(folder, Snapshot(
        products.image_bgr, products.color, products.model_depth, products.depth_m,
        None if camera is None else products.cloud(camera),
        _facts(header, products, camera, alignment)))


def _facts(header: Header, products: FrameOutputs, camera: Intrinsics | None,
           alignment: Alignment | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        'stamp': f'{header.stamp.sec}.{header.stamp.nanosec:09d}', 'frame_id': header.frame_id,
        'model_depth.pfm': products.unit}
    if camera is not None:
        camera = products.camera_on_grid(camera)
        facts['camera'] = {'fx': camera.fx, 'fy': camera.fy, 'cx': camera.cx, 'cy': camera.cy,
                           'height': camera.size_hw[0], 'width': camera.size_hw[1]}
    if alignment is not None:
        facts['alignment'] = alignment_values(alignment)
    return facts
