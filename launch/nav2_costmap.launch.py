"""
Depth for Nav2: the node with config/navigation.yaml and, on request, a costmap to look at.

For your robot, copy the sources of config/nav2_costmap.yaml to the parameters of Nav2. With
costmap:=true this file starts one costmap with them, and nav2_lifecycle_manager activates the
costmap and the node. The program of the costmap starts with wall time, whatever use_sim_time is:
for a simulation call ros2 param set /costmap/costmap use_sim_time true. All arguments of
depth_anything.launch.py are accepted too. To use your own lifecycle manager, set autostart:=false
here, add the node to its node_names and set its bond_timeout to 0.0, because the node has no bond.
"""

from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_path
from depth_anything_ros.errors import SettingsError
from depth_anything_ros.node.launch_support import (
    argument, common_argument, dds_profile, depth_node, existing_file, is_on, require_one_camera,
    require_packages, SWITCH)
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import LogInfo, OpaqueFunction, SetLaunchConfiguration
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
import yaml

SHARE = get_package_share_path('depth_anything_ros')
NEEDS = ['nav2_costmap_2d', 'nav2_lifecycle_manager']
POINTS = '/depth_anything/points'
WALL_TIME = ('the costmap ignores use_sim_time until it has started: ros2 param set '
             '/costmap/costmap use_sim_time true')


def generate_launch_description() -> LaunchDescription:
    """Return the depth node and, with costmap:=true, a costmap that uses its points."""
    return LaunchDescription([
        argument('params_file', SHARE / 'config/navigation.yaml', 'YAML file with the parameters '
                 'of the node. The default takes the scale from the floor, or with '
                 'alignment:=motion or motion+ground from the motion, and needs camera_height.'),
        common_argument('namespace'),
        common_argument('node_name'),
        common_argument('image_topic', '/camera/image_raw'),
        common_argument('autostart'),
        common_argument('use_sim_time'),
        argument('costmap', 'false', 'Start a costmap (needs the packages nav2_costmap_2d and '
                 'nav2_lifecycle_manager).', SWITCH),
        argument('costmap_params_file', SHARE / 'config/nav2_costmap.yaml', 'YAML file with the '
                 'local_costmap to start.'),
        OpaqueFunction(function=_prepare),
        *dds_profile(),
        OpaqueFunction(function=_costmap, condition=IfCondition(LaunchConfiguration('costmap'))),
        depth_node(),
    ])


def _prepare(context: LaunchContext) -> list[Action]:
    if is_on(context, 'costmap'):
        require_packages('costmap:=true', NEEDS)
        return [SetLaunchConfiguration('autostart', 'false')]
    file = context.launch_configurations['costmap_params_file']
    return [LogInfo(msg=f'add the sources of {file} to the parameters of Nav2')]


def _costmap(context: LaunchContext) -> list[Action]:
    """Return the costmap, named costmap/costmap in every distribution, and its manager."""
    require_one_camera(context, 'the costmap')
    values = context.launch_configurations
    node = '/'.join(filter(None, [values['namespace'].strip('/'), values['node_name']]))
    clock = {'use_sim_time': is_on(context, 'use_sim_time')}
    parameters = _local_costmap(existing_file(context, 'costmap_params_file'))
    return [
        LogInfo(msg=WALL_TIME, condition=IfCondition(LaunchConfiguration('use_sim_time'))),
        Node(package='nav2_costmap_2d', executable='nav2_costmap_2d', namespace='/costmap',
             name='costmap', parameters=[parameters, clock],
             remappings=[(POINTS, f'/{node}/points')], output='screen'),
        Node(package='nav2_lifecycle_manager', executable='lifecycle_manager',
             name='lifecycle_manager_depth', namespace='/', output='screen', parameters=[
                 {'node_names': [node, 'costmap/costmap'], 'autostart': True,
                  'bond_timeout': 0.0, **clock}]),
    ]


def _local_costmap(file: Path) -> dict[str, Any]:
    try:
        parameters: dict[str, Any] = yaml.safe_load(
            file.read_text())['local_costmap']['local_costmap']['ros__parameters']
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise SettingsError('costmap_params_file', str(file), 'a YAML file with local_costmap: '
                            'local_costmap: ros__parameters:') from error
    return parameters
