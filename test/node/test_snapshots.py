"""What the info.json of a snapshot says about its frame."""

from types import SimpleNamespace

from depth_anything_ros.alignment.tracker import Alignment
from depth_anything_ros.node.snapshots import _facts
from depth_anything_ros.vision.geometry import Intrinsics
from depth_anything_ros.vision.transforms import output_grid
from std_msgs.msg import Header


def test_the_camera_is_that_of_the_depth_and_the_alignment_is_the_one_of_the_frame() -> None:
    header = Header(frame_id='camera')
    header.stamp.sec, header.stamp.nanosec = 10, 5
    outputs = SimpleNamespace(unit='1/m', grid=output_grid('native', 1, (49, 65), (25, 33)))
    own = {'stamp': '10.000000005', 'frame_id': 'camera', 'model_depth.pfm': '1/m'}
    assert _facts(header, outputs, None, None) == own
    facts = _facts(header, outputs, Intrinsics(50.0, 40.0, 32.0, 24.0, (49, 65)),
                   Alignment('fitted', 2.0, 0.5, 100, 0.1, 0.02, 0.0, ''))
    assert facts.pop('camera') == {'fx': 25.0, 'fy': 20.0, 'cx': 16.0, 'cy': 12.0, 'height': 25,
                                   'width': 33}
    alignment = facts.pop('alignment')
    assert (alignment['state'], alignment['scale [1/m]']) == ('fitted', '2')
    assert facts == own
