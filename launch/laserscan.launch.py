"""
A laser scan made of the depth, for slam_toolbox and AMCL, by depthimage_to_laserscan.

The scan takes the rows around the optical axis, so the camera must look horizontally, and it needs
metric depth: a metric model, a known relative_scale, or alignment. Every argument of
depth_anything.launch.py can be given too.
"""

from ament_index_python.packages import get_package_share_path
from depth_anything_ros.node.launch_support import require_packages
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

DEPTH = get_package_share_path('depth_anything_ros') / 'launch' / 'depth_anything.launch.py'
NEEDS = ['depthimage_to_laserscan']


def generate_launch_description() -> LaunchDescription:
    """Return the depth node and the node that turns its depth into a scan."""
    return LaunchDescription([
        OpaqueFunction(function=_require),
        DeclareLaunchArgument('namespace', default_value='', description='Namespace of both '
                              'nodes.'),
        DeclareLaunchArgument('node_name', default_value='depth_anything',
                              description='Name of the depth node.'),
        DeclareLaunchArgument('use_sim_time', default_value='false',
                              description='Take the time from /clock.'),
        DeclareLaunchArgument('scan_topic', default_value='scan', description='Topic of the '
                              'scan.'),
        DeclareLaunchArgument('output_frame', default_value='camera_link', description='Frame of '
                              'the scan: at the camera, x forward, z up, never the optical '
                              'frame.'),
        DeclareLaunchArgument('scan_height', default_value='20', description='Rows around the '
                              'optical axis of which the nearest depth counts (px).'),
        DeclareLaunchArgument('range_min', default_value='0.3', description='Nearer depth is left '
                              'out (m).'),
        DeclareLaunchArgument('range_max', default_value='8.0', description='Farther depth is '
                              'left out (m).'),
        DeclareLaunchArgument('scan_time', default_value='0.2', description='Time between two '
                              'scans that the messages state (s).'),
        GroupAction([IncludeLaunchDescription(PythonLaunchDescriptionSource(str(DEPTH)))]),
        _scan(),
    ])


def _require(context: LaunchContext) -> list[Action]:
    require_packages('laserscan.launch.py', NEEDS)
    return []


def _scan() -> Node:
    numbers = {'scan_height': int, 'range_min': float, 'range_max': float, 'scan_time': float,
               'output_frame': str, 'use_sim_time': bool}
    depth = [LaunchConfiguration('node_name'), '/depth/']
    return Node(
        package='depthimage_to_laserscan', executable='depthimage_to_laserscan_node',
        name='depthimage_to_laserscan', namespace=LaunchConfiguration('namespace'),
        parameters=[{name: ParameterValue(LaunchConfiguration(name), value_type=kind)
                     for name, kind in numbers.items()}],
        remappings=[('depth', [*depth, 'image']), ('depth_camera_info', [*depth, 'camera_info']),
                    ('scan', LaunchConfiguration('scan_topic'))],
        output='screen')
