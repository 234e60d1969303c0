"""
Depth from several cameras by one node with one model; no other package is needed.

The outputs are below the camera's name, for example /depth_anything/front/depth/image. All
arguments of depth_anything.launch.py are accepted too.
"""

from depth_anything_ros.node.launch_support import argument, dds_profile, depth_node
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Return the node with the topics of all cameras."""
    return LaunchDescription([
        argument('cameras', None, 'Names of the cameras, separated by commas: front,rear.'),
        argument('image_topic', '/{camera}/image_raw', 'Topic of the images of each camera; '
                 '{camera} is replaced by its name. The calibration is read from camera_info in '
                 'the same namespace.'),
        *dds_profile(),
        depth_node(),
    ])
