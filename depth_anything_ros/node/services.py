"""The services of the node: ``~/freeze_alignment`` and ``~/save_snapshot``."""

from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from pathlib import Path
import time
from typing import Any

from depth_anything_ros.errors import AlignmentError, DepthAnythingError, SnapshotError
from depth_anything_ros.files import expand_home
from depth_anything_ros.node.camera_stream import CameraStream
from depth_anything_ros.ros.callbacks import one_line
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

_SNAPSHOT_S = 10.0
_POLL_S = 0.005
Streams = Mapping[str, CameraStream]


def create_services(node: Node, streams: Callable[[], Streams]) -> None:
    """Create the services; ``streams`` returns the cameras of the configured node by name."""
    callbacks = _ServiceCallbacks(streams)
    node.create_service(SetBool, '~/freeze_alignment', callbacks.freeze)
    # In a group of its own: other callbacks must run while this one waits for a frame.
    node.create_service(Trigger, '~/save_snapshot', callbacks.save,
                        callback_group=MutuallyExclusiveCallbackGroup())


class _ServiceCallbacks:

    def __init__(self, streams: Callable[[], Streams]) -> None:
        self._streams = streams

    def freeze(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Freeze the alignment of every camera or release it."""
        streams, sentences = self._streams(), []
        response.success = bool(streams)
        for name, stream in streams.items():
            try:
                alignment = stream.aligner.freeze(request.data)
                found = (alignment.reason if alignment.state == 'waiting' else
                         stream.aligner.as_parameters(alignment))
                sentence = f'{alignment.state}, {found}'
            except AlignmentError as error:
                response.success, sentence = False, str(error)
            except Exception as error:  # noqa: B902 - it would end the process
                response.success, sentence = False, f'please report this: {error!r}'
            sentences.append(_with_name(name, sentence))
        response.message = one_line('; '.join(sentences) or 'the node is not configured')
        return response

    async def save(self, request: Trigger.Request,
                   response: Trigger.Response) -> Trigger.Response:
        """Write the next frame of every camera to a new folder."""
        streams = self._streams()
        try:
            if not streams:
                raise SnapshotError('the node is not configured; bring it to active')
            folder = _folder(next(iter(streams.values())))
            files = {name: stream.snapshots.request(folder / name)
                     for name, stream in streams.items()}
            deadline = time.monotonic() + _SNAPSHOT_S
            while time.monotonic() < deadline and not all(map(Future.done, files.values())):
                await _LetExecutorRun()
            for name, future in files.items():
                streams[name].snapshots.cancel(future)
            for name, future in files.items():
                _check(streams[name], future)
            response.success, message = True, str(folder)
        except (DepthAnythingError, OSError) as error:
            response.success, message = False, str(error)
        except Exception as error:  # noqa: B902 - it would end the process
            response.success, message = False, f'please report this: {error!r}'
        response.message = one_line(message)
        return response


class _LetExecutorRun:
    """Let the executor run other callbacks, then continue after 5 ms at the earliest."""

    def __await__(self) -> Generator[None, None, None]:
        time.sleep(_POLL_S)
        yield


def _folder(stream: CameraStream) -> Path:
    # Wall-clock time: simulated time may stop or restart and give two folders one name.
    now_s, ms = divmod(time.time_ns() // 1_000_000, 1000)
    stamp = time.strftime('%Y%m%d_%H%M%S', time.localtime(now_s))
    return expand_home(stream.settings.snapshot_dir) / f'{stamp}_{ms:03d}'


def _check(stream: CameraStream, files: 'Future[Any]') -> None:
    """Raise the error of a request, or that it has no answer."""
    if not files.done():
        raise SnapshotError(_with_name(
            stream.name, f'no image on {stream.image_topic} within {_SNAPSHOT_S:g} s; '
            'is the node active and the camera on?'))
    files.result()


def _with_name(name: str, sentence: str) -> str:
    return f'{name}: {sentence}' if name else sentence
