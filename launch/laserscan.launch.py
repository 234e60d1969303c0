"""
A laser scan from the depth, for slam_toolbox and AMCL, by depthimage_to_laserscan.

The scan uses the rows around the optical axis, so the camera must look horizontally. It needs
metric depth: a metric model, a known relative_scale, or alignment. All arguments of
depth_anything.launch.py are accepted too.
"""

from depth_anything_ros.node.launch_support import (
    argument, common_argument, dds_profile, depth_node, is_on, number, packages_required,
    require_one_camera)
from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

NEEDS = ['depthimage_to_laserscan']


def generate_launch_description() -> LaunchDescription:
    """Return the depth node and the node that converts its depth to a scan."""
    return LaunchDescription([
        packages_required('laserscan.launch.py', NEEDS),
        common_argument('namespace'),
        common_argument('node_name'),
        common_argument('use_sim_time'),
        argument('scan_topic', 'scan', 'Topic of the scan.'),
        argument('output_frame', 'camera_link', 'Frame of the scan: at the camera with x forward '
                 'and z up, not the optical frame.'),
        argument('scan_height', '20', 'Number of rows around the optical axis; the nearest depth '
                 'of a column is used (px).'),
        argument('range_min', '0.3', 'Smaller ranges are ignored (m).'),
        argument('range_max', '8.0', 'Larger ranges are ignored (m).'),
        argument('scan_time', '0.2', 'Time between scans that is stated in the messages (s).'),
        *dds_profile(),
        OpaqueFunction(function=_scan),
        depth_node(),
    ])


def _scan(context: LaunchContext) -> list[Node]:
    require_one_camera(context, 'depthimage_to_laserscan')
    parameters = {
        'scan_height': number(context, 'scan_height', 1),
        **{name: number(context, name, 0.0) for name in ('range_min', 'range_max', 'scan_time')},
        'output_frame': ParameterValue(LaunchConfiguration('output_frame'), value_type=str),
        'use_sim_time': is_on(context, 'use_sim_time')}
    depth = [LaunchConfiguration('node_name'), '/depth/']
    return [Node(
        package='depthimage_to_laserscan', executable='depthimage_to_laserscan_node',
        name='depthimage_to_laserscan', namespace=LaunchConfiguration('namespace'),
        parameters=[parameters],
        remappings=[('depth', [*depth, 'image']), ('depth_camera_info', [*depth, 'camera_info']),
                    ('scan', LaunchConfiguration('scan_topic'))],
        output='screen')]
