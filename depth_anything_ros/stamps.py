"""Stamps of messages: as they are serialized, and when a clock started over."""

import struct

# A stamp older than the previous one by more than this is no late message: a bag loops, or a
# simulation is reset.
CLOCK_RESTART_NS = 1_000_000_000
CLOCK_RESTART_S = CLOCK_RESTART_NS * 1e-9
# Of the bytes with the stamp in a serialized message that begins with a header.
_STAMP, STAMP_END = 4, 12


def serialized_stamp_ns(data: bytes) -> int:
    """Return the stamp of a message in CDR that begins with a header; any error if it does not."""
    seconds, nanoseconds = struct.unpack_from(_layout(data), data, _STAMP)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def with_stamp(data: bytes, seconds: int, nanoseconds: int) -> bytes:
    """Return a message in CDR that begins with a header, with another stamp."""
    stamp = struct.pack(_layout(data), seconds, nanoseconds)
    return data[:_STAMP] + stamp + data[STAMP_END:]


def _layout(data: bytes) -> str:
    return '<iI' if data[1] & 1 else '>iI'
