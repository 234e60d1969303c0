"""
Depth from several cameras: one node, one compiled model, one pool of requests.

The outputs lie below the camera's name: /depth_anything/front/depth/image. Every other argument of
depth_anything.launch.py can be given too. Nothing else has to be installed.
"""

from ament_index_python.packages import get_package_share_path
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

DEPTH = get_package_share_path('depth_anything_ros') / 'launch' / 'depth_anything.launch.py'


def generate_launch_description() -> LaunchDescription:
    """Return the node with the topics of all cameras."""
    return LaunchDescription([
        DeclareLaunchArgument('cameras', description='Names of the cameras, separated by commas: '
                              'front,rear.'),
        DeclareLaunchArgument('image_topic', default_value='/{camera}/image_raw',
                              description='Image of a camera; {camera} is its name. Its '
                              'calibration is read from camera_info beside it.'),
        GroupAction([IncludeLaunchDescription(PythonLaunchDescriptionSource(str(DEPTH)))]),
    ])
