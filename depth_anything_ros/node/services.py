"""The services of the node: ``~/freeze_alignment`` and ``~/save_snapshot``."""

from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from pathlib import Path
import time
from typing import Any

from depth_anything_ros.errors import AlignmentError, SnapshotError
from depth_anything_ros.node.camera_stream import CameraStream
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

_SNAPSHOT_S = 10.0
_TURN_S = 0.005
Streams = Mapping[str, CameraStream]


def offer_services(node: Node, streams: Callable[[], Streams]) -> None:
    """Answer for all cameras of a node; ``streams`` returns those that are configured."""
    answers = _Answers(streams)
    node.create_service(SetBool, '~/freeze_alignment', answers.freeze)
    # In a group of its own: images must be taken while the answer waits for one.
    node.create_service(Trigger, '~/save_snapshot', answers.save,
                        callback_group=MutuallyExclusiveCallbackGroup())


class _Answers:

    def __init__(self, streams: Callable[[], Streams]) -> None:
        self._streams = streams

    def freeze(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Hold the alignment of every camera, or let it go."""
        streams, said = self._streams(), []
        response.success = bool(streams)
        for name, stream in streams.items():
            try:
                now = stream.aligner.freeze(request.data)
            except AlignmentError as error:
                response.success = False
                said.append(_of(name, str(error)))
            else:
                said.append(_of(name, f'{now.state}, {stream.aligner.as_parameters(now)}'))
        response.message = '; '.join(said) or 'the node is not configured'
        return response

    async def save(self, request: Trigger.Request,
                   response: Trigger.Response) -> Trigger.Response:
        """Write the next frame of every camera into a new folder."""
        streams = self._streams()
        try:
            if not streams:
                raise SnapshotError('the node is not configured; bring it to active')
            folder = _folder(next(iter(streams.values())))
            files = {name: stream.snapshots.request(folder / name)
                     for name, stream in streams.items()}
            deadline = time.monotonic() + _SNAPSHOT_S
            while time.monotonic() < deadline and not all(map(Future.done, files.values())):
                await _Turn()
            for name, future in files.items():
                _check(streams[name], future)
            response.success, response.message = True, str(folder)
        except (SnapshotError, OSError) as error:
            response.success, response.message = False, str(error)
        return response


class _Turn:
    """Give the executor a turn, not more often than every 5 ms."""

    def __await__(self) -> Generator[None, None, None]:
        time.sleep(_TURN_S)
        yield


def _folder(stream: CameraStream) -> Path:
    # Simulated time stands still or starts over, and would name a folder twice.
    now_s, ms = divmod(time.time_ns() // 1_000_000, 1000)
    stamp = time.strftime('%Y%m%d_%H%M%S', time.localtime(now_s))
    return Path(stream.settings.snapshot_dir).expanduser() / f'{stamp}_{ms:03d}'


def _check(stream: CameraStream, files: 'Future[Any]') -> None:
    """Raise what went wrong; a request that nothing answered is withdrawn."""
    if not files.done():
        stream.snapshots.withdraw(files)
        raise SnapshotError(_of(stream.name, f'no image on {stream.image_topic} within '
                                f'{_SNAPSHOT_S:g} s; is the node active and the camera on?'))
    files.result()


def _of(name: str, sentence: str) -> str:
    return f'{name}: {sentence}' if name else sentence
