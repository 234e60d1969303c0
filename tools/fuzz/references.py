"""Broken and odd messages of reference sensors: depth images, point clouds and ranges."""

from random import Random

import numpy as np
from sensor_msgs.msg import Image, PointCloud2, PointField, Range
from tools.fuzz.images import header

_FRAMES = ('camera', 'lidar')
_EXTREMES = (0, 1, 3, 7, 65535, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1)
_DEPTHS = (0.0, -1.0, 1e-30, 1e30, float('nan'), float('inf'), float('-inf'))


def depth(rng: Random, stamp_ns: int) -> Image:
    """Return a reference depth image, mostly of a wall at a distance, with fields that may lie."""
    height, width = rng.choice(((60, 80), (48, 64), (1, 1), (0, 0), (5, 200)))
    encoding = rng.choice(('32FC1', '32FC1', '16UC1', 'mono16', '64FC1', 'bgr8', ''))
    pixels = np.full((height, width), rng.uniform(0.5, 5.0), np.float32)
    if rng.random() < 0.3:
        pixels[:, ::2] = rng.choice(_DEPTHS)
    data = pixels if encoding != '16UC1' else np.full((height, width), 2000, np.uint16)
    message = Image(header=header(rng, stamp_ns, _FRAMES), height=height, width=width,
                    encoding=encoding, is_bigendian=rng.choice((0, 0, 1)),
                    step=width * data.itemsize, data=data.tobytes())
    if rng.random() < 0.4:
        setattr(message, rng.choice(('height', 'width', 'step')), rng.choice(_EXTREMES))
    if rng.random() < 0.2:
        message.data = message.data[:rng.randrange(len(message.data) + 1)]
    return message


def points(rng: Random, stamp_ns: int) -> PointCloud2:
    """Return a cloud whose fields, steps and sizes may contradict each other."""
    height, width = rng.choice(((1, 200), (20, 30), (1, 0), (0, 0), (1, 1)))
    step = rng.choice((12, 16, 32))
    values = np.array([rng.uniform(0.3, 6.0) for _ in range(max(1, height * width * step // 4))],
                      np.float32)
    if rng.random() < 0.3:
        values[::rng.choice((2, 3, 5))] = rng.choice(_DEPTHS)
    fields = [PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
              for index, name in enumerate('xyz')]
    message = PointCloud2(header=header(rng, stamp_ns, _FRAMES), height=height, width=width,
                          point_step=step, row_step=step * width, is_dense=rng.random() < 0.5,
                          is_bigendian=rng.random() < 0.2,
                          data=values.tobytes()[:height * width * step])
    for _ in range(rng.choice((0, 0, 1, 2))):
        _break_field(rng, rng.choice(fields))
    if rng.random() < 0.15:
        fields = [rng.choice(fields) for _ in range(rng.randrange(6))]
    if rng.random() < 0.3:
        setattr(message, rng.choice(('height', 'width', 'point_step', 'row_step')),
                rng.choice(_EXTREMES))
    if rng.random() < 0.2:
        message.data = message.data[:rng.randrange(len(message.data) + 1)]
    message.fields = fields
    return message


def _break_field(rng: Random, field: PointField) -> None:
    kind = rng.choice(('offset', 'datatype', 'count', 'name'))
    if kind == 'offset':
        field.offset = rng.choice((*_EXTREMES, 8, 13))
    elif kind == 'datatype':
        field.datatype = rng.choice((0, *range(1, 9), 255))
    elif kind == 'count':
        field.count = rng.choice(_EXTREMES)
    else:
        field.name = rng.choice(('', 'x', 'X', 'rgb', 'é', 'x' * 1000))


def range_reading(rng: Random, stamp_ns: int) -> Range:
    """Return a reading of a range sensor, of which half make no sense."""
    message = Range(header=header(rng, stamp_ns, _FRAMES), radiation_type=rng.choice((0, 1, 255)),
                    field_of_view=0.1, min_range=0.1, max_range=10.0, range=rng.uniform(0.2, 8.0))
    for _ in range(rng.choice((0, 1, 2))):
        setattr(message, rng.choice(('field_of_view', 'min_range', 'max_range', 'range')),
                rng.choice((*_DEPTHS, 3.15, 6.3)))
    return message
