"""
Messages as they come, in CDR: what is asked of each is read at once, the rest when needed.

CDR (OMG Common Data Representation): four bytes, of which the second is odd for little endian,
then the fields in order, each aligned to its size.
"""

from functools import cached_property
import struct
from typing import Any

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

_STAMP, _STAMP_END = 4, 12


class Incoming:
    """
    A serialised message that begins with a header.

    Reading raises what rclpy raises for data that are no such message.
    """

    def __init__(self, kind: type, data: bytes) -> None:
        self._kind = kind
        self._data = data
        self._order = '<' if data[1] & 1 else '>'

    @property
    def stamp_ns(self) -> int:
        """Return the header's stamp in nanoseconds."""
        seconds, nanoseconds = struct.unpack_from(f'{self._order}iI', self._data, _STAMP)
        return int(seconds) * 1_000_000_000 + int(nanoseconds)

    @property
    def header(self) -> Header:
        """Return the header."""
        return (self.image[0] if self._kind is Image else self.message).header

    @property
    def apart_from_stamp(self) -> bytes:
        """Return what two messages share that differ in their stamps only."""
        return self._data[_STAMP_END:]

    @cached_property
    def message(self) -> Any:
        """Return the message."""
        return deserialize_message(self._data, self._kind)

    @cached_property
    def image(self) -> tuple[Image, memoryview]:
        """Return an image without its pixels, and the pixels [bytes], which are not copied."""
        start = self._start_of_pixels()
        # The same message with no pixels, whose number stands before them.
        return deserialize_message(self._data[:start - 4] + bytes(4), Image), memoryview(
            self._data)[start:]

    def _start_of_pixels(self) -> int:
        """Return where they begin: after two strings, four numbers of four bytes and a flag."""
        height = self._end_of_string(_STAMP_END)
        is_bigendian = self._end_of_string(_aligned(height) + 8)
        return _aligned(is_bigendian + 1) + 8

    def _end_of_string(self, start: int) -> int:
        length = struct.unpack_from(f'{self._order}I', self._data, start)[0]
        return start + 4 + int(length)


def _aligned(offset: int) -> int:
    return (offset + 3) // 4 * 4
