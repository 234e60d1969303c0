"""How much memory the node needs for what claims to be large, and for what it should forget."""

from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
import tempfile
import time

from depth_anything_ros.cli.processes import private_domain
from depth_anything_ros.errors import ImageError
from depth_anything_ros.vision.encoded_image import decode_compressed_data
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
from sensor_msgs.msg import PointCloud2, PointField
from tools.fuzz.attack import stand_in_model
from tools.fuzz.images import jpeg_that_claims
from tools.fuzz.target import start_values, started, Target

_BOMB_HW = (20_000, 20_000)
_POINTS, _CLOUDS = 300_000, 20
# The first cycles fill the memory that the process keeps for later messages.
_WARM_UP_CYCLES, _CYCLES = 2, 8
_FIRST_STAMP_S, _PERIOD_S = 100, 0.05


def jpeg_bomb() -> dict[str, float]:
    """Return the MiB by which refusing a JPEG that claims 20000x20000 makes a process grow."""
    with get_context('spawn').Pool(1) as process:
        return {'jpeg_bomb_peak_mib': process.apply(refuse_bomb)}


def refuse_bomb() -> float:
    """Return the MiB by which the peak of this process rises."""
    data = np.frombuffer(jpeg_that_claims(_BOMB_HW), np.uint8)
    before = peak_mib()
    with suppress(ImageError):
        decode_compressed_data(data, 'jpeg')
    return peak_mib() - before


def peak_mib() -> float:
    """Return the largest memory that this program had; getrusage adds that of its parent."""
    status = Path('/proc/self/status').read_text()
    return int(status.partition('VmHWM:')[2].split()[0]) / 1024


def reference_cycles(log: Callable[[str], None], points: int = _POINTS,
                     cycles: int = _CYCLES) -> dict[str, float]:
    """
    Return the growth of a node that gets clouds and is deactivated and activated, in MiB.

    In each cycle it receives 20 reference clouds.
    """
    private_domain()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / 'cache'
        cache.mkdir()
        values = start_values(stand_in_model(Path(folder)), cache)
        with started(Path(folder), values) as target:
            resident = []
            for number in range(_WARM_UP_CYCLES + cycles):
                _cycle(target, points, number)
                resident.append(target.resident_mib())
                log(f'cycle {number + 1}: {resident[-1]:.0f} MiB')
    return {'reference_cycles_growth_mib': resident[-1] - resident[_WARM_UP_CYCLES - 1]}


def _cycle(target: Target, points: int, cycle: int) -> None:
    target.restore()
    message = PointCloud2(
        height=1, width=points, point_step=16, row_step=16 * points, is_dense=True,
        data=np.full(4 * points, 2.0, np.float32).tobytes(),
        fields=[PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
                for index, name in enumerate('xyz')])
    for number in range(_CLOUDS):
        message.header.stamp.sec = _FIRST_STAMP_S + cycle * _CLOUDS + number
        target.publish('/near_points/reference/points', message)
        time.sleep(_PERIOD_S)
    # It answers after the messages before it.
    target.state()
    target.change_state(ChangeState.Request(
        transition=Transition(id=Transition.TRANSITION_DEACTIVATE)))
