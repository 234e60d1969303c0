"""Stamps of messages: as they are serialized, and when a clock started over."""

import struct

# A stamp older than the previous one by more than this is no late message: a bag loops, or a
# simulation is reset.
CLOCK_RESTART_NS = 1_000_000_000
CLOCK_RESTART_S = CLOCK_RESTART_NS * 1e-9
# Of the bytes with the stamp in a serialized message that begins with a header.
STAMP_END = 12


def serialized_stamp_ns(data: bytes) -> int:
    """Return the stamp of a message in CDR that begins with a header; any error if it does not."""
    seconds, nanoseconds = struct.unpack_from('<iI' if data[1] & 1 else '>iI', data, STAMP_END - 8)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)
