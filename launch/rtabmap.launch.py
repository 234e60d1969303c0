"""
RGB-D SLAM with one camera: depth_anything.launch.py and rtabmap.launch.py of rtabmap_launch.

RTAB-Map needs one true scale that never changes: a metric model, a measured relative_scale, or
alignment that is frozen by ~/freeze_alignment once it has settled. Without a scale the node
publishes no metric depth and RTAB-Map waits. The depth has the stamp of its image, and so has the
calibration beside the depth, which is why images are synchronised exactly. Every argument of both
launch files can be given too.
"""

from ament_index_python.packages import get_package_share_path
from depth_anything_ros.node.launch_support import require_packages
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, LogInfo, OpaqueFunction)
from launch.launch_description_sources import PythonLaunchDescriptionSource

DEPTH = get_package_share_path('depth_anything_ros') / 'launch' / 'depth_anything.launch.py'
NEEDS = ['rtabmap_launch']
SCALE = ('RTAB-Map needs one true scale: use a metric model or relative_scale, or call '
         'freeze_alignment of the node once its alignment has settled')
PASSED_ON = ('frame_id', 'approx_sync', 'approx_sync_max_interval', 'sync_queue_size',
             'topic_queue_size')


def generate_launch_description() -> LaunchDescription:
    """Return the depth node and RTAB-Map on its topics."""
    return LaunchDescription([
        OpaqueFunction(function=_require),
        DeclareLaunchArgument('namespace', default_value='', description='Namespace of the depth '
                              'node; that of RTAB-Map is rtabmap.'),
        DeclareLaunchArgument('node_name', default_value='depth_anything',
                              description='Name of the depth node.'),
        DeclareLaunchArgument('image_topic', default_value='/camera/image_rect',
                              description='Rectified colour image, read by both.'),
        DeclareLaunchArgument('frame_id', default_value='base_link', description='Frame of the '
                              'robot that RTAB-Map follows; TF leads from it to the images.'),
        DeclareLaunchArgument('approx_sync', default_value='false', description='false: equal '
                              'stamps only. true is needed for odometry of your own.'),
        DeclareLaunchArgument('approx_sync_max_interval', default_value='0.01',
                              description='Largest difference of stamps with approx_sync (s).'),
        DeclareLaunchArgument('sync_queue_size', default_value='30', description='Messages that '
                              'wait for their partner: images wait as long as the network '
                              'computes.'),
        DeclareLaunchArgument('topic_queue_size', default_value='30', description='Messages that '
                              'wait to be read, per topic.'),
        LogInfo(msg=SCALE),
        GroupAction([IncludeLaunchDescription(PythonLaunchDescriptionSource(str(DEPTH)))]),
        OpaqueFunction(function=_rtabmap),
    ])


def _require(context: LaunchContext) -> list[Action]:
    require_packages('rtabmap.launch.py', NEEDS)
    return []


def _rtabmap(context: LaunchContext) -> list[Action]:
    """Return RTAB-Map; its launch file has arguments of the same names, so they are set anew."""
    given = context.launch_configurations
    depth = _absolute(given['namespace'], f'{given["node_name"]}/depth')
    file = get_package_share_path('rtabmap_launch') / 'launch' / 'rtabmap.launch.py'
    return [GroupAction([IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(file)), launch_arguments={
            'namespace': 'rtabmap', 'rviz': 'false',
            'rgb_topic': _absolute(given['namespace'], given['image_topic']),
            'depth_topic': f'{depth}/image', 'camera_info_topic': f'{depth}/camera_info',
            **{name: given[name] for name in PASSED_ON}}.items())])]


def _absolute(namespace: str, topic: str) -> str:
    """Return the full name of a topic that the depth node knows as ``topic``."""
    if topic.startswith('/'):
        return topic
    return '/' + '/'.join(part for part in (namespace.strip('/'), topic) if part)
