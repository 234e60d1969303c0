"""A browser without a screen: speaks the protocol of viser's page and keeps what it would show."""

import threading
import time
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
from tools.web.reader import connect_to_page
from waiting import until
from websockets.exceptions import ConnectionClosed
import zstandard


class PageClient:
    """
    One visitor of a page: ``shown`` holds the present properties of each element by its id.

    ``updates`` counts how often each property of each element arrived. With ``reads`` False it
    receives nothing, like a browser whose connection is stuck.
    """

    def __init__(self, port: int, reads: bool = True) -> None:
        self.shown: dict[str, dict[str, Any]] = {}
        self.updates: dict[tuple[str, str], int] = {}
        self.arrivals: dict[tuple[str, str], list[float]] = {}
        self._socket = connect_to_page(port)
        self._thread = threading.Thread(target=self._receive, daemon=True)
        if reads:
            self._thread.start()

    def __enter__(self) -> 'PageClient':
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        # A visitor who reads nothing gets no answer to the closing handshake either.
        self._socket.socket.close() if not self._thread.ident else self._socket.close()

    def find(self, **properties: Any) -> str:
        """Return the id of the element with these properties, '' if there is none."""
        for name, shown in list(self.shown.items()):
            if all(shown.get(key) == value for key, value in properties.items()):
                return name
        return ''

    def label(self, label: str) -> dict[str, Any]:
        """Wait for an element with that label and return its properties."""
        assert until(lambda: bool(self.find(label=label))), f'{label!r} is not on the page'
        return self.shown[self.find(label=label)]

    def text(self) -> str:
        """Return the content of all texts of the page."""
        return '\n'.join(shown['content'] for shown in list(self.shown.values())
                         if isinstance(shown.get('content'), str))

    def has(self, text: str) -> bool:
        """Return whether the page shows a text."""
        return text in self.text()

    def click(self, label: str) -> None:
        """Press the button with that label."""
        self.change(label, True)

    def change(self, label: str, value: Any) -> None:
        """Change the value of the control with that label."""
        self.label(label)
        name = next(name for name, shown in list(self.shown.items())
                    if shown.get('label') == label and 'value' in shown)
        # The server does not send a change back to its author.
        self.shown[name]['value'] = value
        self.send({'type': 'GuiUpdateMessage', 'uuid': name, 'updates': {'value': value}})

    def count(self, name: str, key: str) -> int:
        """Return how many times a property of an element has arrived."""
        return self.updates.get((name, key), 0)

    def send(self, message: dict[str, Any]) -> None:
        """Send a message of viser's protocol."""
        self._socket.send(msgspec.msgpack.encode(message))

    def _receive(self) -> None:
        try:
            for data in self._socket:
                for message in _messages(data):
                    self._apply(message)
        except (ConnectionClosed, OSError):
            pass

    def _apply(self, message: dict[str, Any]) -> None:
        name = message.get('uuid') or message.get('name')
        if name is None:
            return
        if message['type'].endswith('RemoveMessage') or message['type'].startswith('Remove'):
            self.shown.pop(name, None)
            return
        properties = {**(message.get('props') or {}), **(message.get('updates') or {})}
        properties |= {key: message[key] for key in ('value', 'position', 'visible')
                       if key in message}
        self.shown[name] = {**self.shown.get(name, {}), **properties}
        now = time.monotonic()
        for key in properties:
            self.updates[name, key] = self.updates.get((name, key), 0) + 1
            self.arrivals.setdefault((name, key), []).append(now)


def _messages(data: bytes) -> list[dict[str, Any]]:
    """Return the messages of a packet: compressed msgpack, then the arrays, aligned to 8 bytes."""
    size, compressed = (int.from_bytes(data[at:at + 8], 'little') for at in (0, 8))
    content = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(
        data[16:16 + compressed], max_output_size=size))
    buffers, at = [], 16 + compressed
    for length in content['binaryBufferLengths']:
        at += -at % 8
        buffers.append(data[at:at + length])
        at += length
    return [_with_arrays(message, buffers) for message in content['messages']]


def _with_arrays(value: Any, buffers: list[bytes]) -> Any:
    if isinstance(value, dict):
        if '__binary_index' in value:
            return np.frombuffer(buffers[value['__binary_index']], value['dtype'])
        return {key: _with_arrays(item, buffers) for key, item in value.items()}
    return [_with_arrays(item, buffers) for item in value] if isinstance(value, list) else value
