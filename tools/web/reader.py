"""
A browser on another machine: reads what the live page sends, and draws nothing.

``python -m tools.web.reader PORT`` does so until it is killed.
"""

import sys
from typing import Any

_CAMERA = {
    'type': 'ViewerCameraMessage', 'wxyz': [1.0, 0.0, 0.0, 0.0], 'position': [0.0, 0.0, 0.0],
    'fov': 1.0, 'near': 0.1, 'far': 100.0, 'image_height': 600, 'image_width': 800,
    'look_at': [0.0, 0.0, 1.0], 'up_direction': [0.0, -1.0, 0.0]}


def connect_to_page(port: int) -> Any:
    """Return the WebSocket of a new visitor of a page of this machine; OSError without one."""
    import msgspec
    import viser
    from websockets.sync.client import connect
    # A small queue: what is not read stays in the socket, and then at the server.
    socket = connect(f'ws://127.0.0.1:{port}', subprotocols=[f'viser-v{viser.__version__}'],
                     max_size=None, max_queue=1, proxy=None)
    # The server counts a visitor from this message on.
    socket.send(msgspec.msgpack.encode(_CAMERA))
    return socket


if __name__ == '__main__':
    for _ in connect_to_page(int(sys.argv[1])):
        pass
