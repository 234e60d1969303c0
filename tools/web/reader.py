"""
A browser on another machine: receives what the live page sends, and neither reads nor draws it.

``python -m tools.web.reader PORT`` does so until it is killed, or the page closes the connection.
"""

import socket
import sys
from typing import Any

_CAMERA = {
    'type': 'ViewerCameraMessage', 'wxyz': [1.0, 0.0, 0.0, 0.0], 'position': [0.0, 0.0, 0.0],
    'fov': 1.0, 'near': 0.1, 'far': 100.0, 'image_height': 600, 'image_width': 800,
    'look_at': [0.0, 0.0, 1.0], 'up_direction': [0.0, -1.0, 0.0]}
_BUFFER_BYTES = 1 << 20


def first_message() -> bytes:
    """Return the message from which on the server counts a visitor."""
    import msgspec
    message: bytes = msgspec.msgpack.encode(_CAMERA)
    return message


def page_options() -> dict[str, Any]:
    """Return the options of ``websockets`` for a connection to a page."""
    import viser
    return {'subprotocols': [f'viser-v{viser.__version__}'], 'max_size': None}


def connect_to_page(port: int) -> Any:
    """Return the WebSocket of a new visitor of a page of this machine; OSError without one."""
    from websockets.sync.client import connect
    # A small queue: what is not read stays in the socket, and then at the server.
    connection = connect(f'ws://127.0.0.1:{port}', max_queue=1, proxy=None, **page_options())
    connection.send(first_message())
    return connection


def receive_all(port: int) -> None:
    """Receive what a page sends to a visitor, until it closes the connection."""
    from websockets.client import ClientProtocol
    from websockets.protocol import State
    from websockets.uri import parse_uri
    protocol = ClientProtocol(parse_uri(f'ws://127.0.0.1:{port}'), **page_options())
    with socket.create_connection(('127.0.0.1', port)) as connection:
        protocol.send_request(protocol.connect())
        connection.sendall(b''.join(protocol.data_to_send()))
        while protocol.state is State.CONNECTING:
            protocol.receive_data(connection.recv(_BUFFER_BYTES))
        protocol.send_binary(first_message())
        connection.sendall(b''.join(protocol.data_to_send()))
        # Parsing the messages would take time from the node, which a browser elsewhere does not.
        buffer = bytearray(_BUFFER_BYTES)
        while connection.recv_into(buffer):
            pass


if __name__ == '__main__':
    receive_all(int(sys.argv[1]))
