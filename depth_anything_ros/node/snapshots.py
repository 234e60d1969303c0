"""Requests for snapshots of the next frame, and the files that answer them."""

from concurrent.futures import Future
from pathlib import Path
import threading
from typing import Any

from depth_anything_ros.alignment.tracker import Alignment
from depth_anything_ros.files import make_folder
from depth_anything_ros.node.aligner import alignment_values
from depth_anything_ros.node.camera_info import CameraView
from depth_anything_ros.node.frame_outputs import FrameOutputs
from depth_anything_ros.vision.geometry import Intrinsics
from std_msgs.msg import Header


class SnapshotRequests:
    """Snapshot requests for one camera; every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[tuple[Path, Future[list[str]]]] = []

    @property
    def has_requests(self) -> bool:
        """Return whether a request waits for a frame."""
        return bool(self._requests)

    def request(self, folder: Path) -> 'Future[list[str]]':
        """Request a snapshot of the next frame; the future gets the names of the files written."""
        files: Future[list[str]] = Future()
        with self._lock:
            self._requests.append((folder, files))
        return files

    def cancel(self, files: 'Future[list[str]]') -> None:
        """Cancel the request that returned ``files``."""
        with self._lock:
            self._requests = [request for request in self._requests if request[1] is not files]

    def write(self, header: Header, outputs: FrameOutputs, view: CameraView,
              alignment: Alignment | None) -> None:
        """Write the frame for every request; an error, such as a full disk, goes to its future."""
        with self._lock:
            requests, self._requests = self._requests, []
        for folder, files in requests:
            try:
                files.set_result(_write(folder, header, outputs, view.camera, alignment))
            except Exception as error:  # noqa: B902 - the caller of the service gets it
                files.set_exception(error)


def _write(folder: Path, header: Header, outputs: FrameOutputs, camera: Intrinsics | None,
           alignment: Alignment | None) -> list[str]:
    from depth_anything_ros.media.depth_files import Snapshot, write_snapshot
    make_folder(folder.parent)
    return write_snapshot(folder, Snapshot(
        outputs.image_bgr, outputs.color, outputs.model_depth, outputs.depth_m,
        None if camera is None else outputs.cloud(camera),
        _facts(header, outputs, camera, alignment)))


def _facts(header: Header, outputs: FrameOutputs, camera: Intrinsics | None,
           alignment: Alignment | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        'stamp': f'{header.stamp.sec}.{header.stamp.nanosec:09d}', 'frame_id': header.frame_id,
        'model_depth.pfm': outputs.unit}
    if camera is not None:
        camera = camera.on_grid(outputs.grid)
        facts['camera'] = {'fx': camera.fx, 'fy': camera.fy, 'cx': camera.cx, 'cy': camera.cy,
                           'height': camera.size_hw[0], 'width': camera.size_hw[1]}
    if alignment is not None:
        facts['alignment'] = alignment_values(alignment)
    return facts
