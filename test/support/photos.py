"""Photographs that say how the camera was held."""


def with_orientation(jpeg: bytes, orientation: int, order: str = 'big') -> bytes:
    """Return a JPEG with an Exif segment that says how the camera was held."""
    mark = {'big': b'MM\0*', 'little': b'II*\0'}[order]
    entries = ((0x0100, 640), (0x0112, orientation))

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, order)  # type: ignore[arg-type]

    tiff = mark + number(8, 4) + number(len(entries), 2) + b''.join(
        number(tag, 2) + number(3, 2) + number(1, 4) + number(value, 2) + b'\0\0'
        for tag, value in entries) + b'\0\0\0\0'
    payload = b'Exif\0\0' + tiff
    return jpeg[:2] + b'\xff\xe1' + (len(payload) + 2).to_bytes(2, 'big') + payload + jpeg[2:]
