"""
Depth for Nav2: the node with config/navigation.yaml, and a costmap to look at if asked for.

Nav2 itself takes the sources of config/nav2_costmap.yaml into its own parameter file. With
costmap:=true one costmap is started with them instead, and nav2_lifecycle_manager brings it and
the node to active. Every argument of depth_anything.launch.py can be given too; with
autostart:=false a lifecycle manager of your own starts the node: add its name to node_names and
set bond_timeout to 0.0, since the node has no bond.
"""

from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_path
from depth_anything_ros.node.launch_support import require_packages
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, LogInfo, OpaqueFunction,
    SetLaunchConfiguration)
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
import yaml

SHARE = get_package_share_path('depth_anything_ros')
DEPTH = SHARE / 'launch' / 'depth_anything.launch.py'
NEEDS = ['nav2_costmap_2d', 'nav2_lifecycle_manager']
POINTS = '/depth_anything/points'


def generate_launch_description() -> LaunchDescription:
    """Return the depth node and, if asked for, a costmap that takes its points."""
    def argument(name: str, default: object, description: str,
                 choices: list[str] | None = None) -> DeclareLaunchArgument:
        return DeclareLaunchArgument(
            name, default_value=str(default), description=description, choices=choices)

    return LaunchDescription([
        argument('params_file', SHARE / 'config/navigation.yaml', 'YAML file with the '
                 'parameters of the node. Ours takes the scale from the floor and needs '
                 'camera_height.'),
        argument('namespace', '', 'Namespace of the node.'),
        argument('node_name', 'depth_anything', 'Name of the node.'),
        argument('image_topic', '/camera/image_raw', 'Image to read, its camera_info beside it.'),
        argument('autostart', 'true', 'Configure and activate the node. false leaves that to a '
                 'lifecycle manager.', ['true', 'false']),
        argument('use_sim_time', 'false', 'Take the time from /clock.', ['true', 'false']),
        argument('costmap', 'false', 'Start a costmap of its own (needs nav2_costmap_2d and '
                 'nav2_lifecycle_manager).', ['true', 'false']),
        argument('costmap_params_file', SHARE / 'config/nav2_costmap.yaml', 'YAML file whose '
                 'local_costmap is taken.'),
        OpaqueFunction(function=_prepare),
        GroupAction([IncludeLaunchDescription(PythonLaunchDescriptionSource(str(DEPTH)))]),
        OpaqueFunction(function=_costmap, condition=IfCondition(LaunchConfiguration('costmap'))),
    ])


def _prepare(context: LaunchContext) -> list[Action]:
    if IfCondition(LaunchConfiguration('costmap')).evaluate(context):
        require_packages('costmap:=true', NEEDS)
        return [SetLaunchConfiguration('autostart', 'false')]
    file = context.launch_configurations['costmap_params_file']
    return [LogInfo(msg=f'add the sources of {file} to the parameters of Nav2')]


def _costmap(context: LaunchContext) -> list[Action]:
    """Return the costmap, named costmap/costmap in every distribution, and its manager."""
    given = context.launch_configurations
    node = '/'.join(filter(None, [given['namespace'].strip('/'), given['node_name']]))
    clock = {'use_sim_time': IfCondition(LaunchConfiguration('use_sim_time')).evaluate(context)}
    parameters = _local_costmap(Path(given['costmap_params_file']))
    return [
        Node(package='nav2_costmap_2d', executable='nav2_costmap_2d', namespace='/costmap',
             name='costmap', parameters=[parameters, clock],
             remappings=[(POINTS, f'/{node}/points')], output='screen'),
        Node(package='nav2_lifecycle_manager', executable='lifecycle_manager',
             name='lifecycle_manager_depth', namespace='/', output='screen', parameters=[
                 {'node_names': [node, 'costmap/costmap'], 'autostart': True,
                  'bond_timeout': 0.0, **clock}]),
    ]


def _local_costmap(file: Path) -> dict[str, Any]:
    parameters: dict[str, Any] = yaml.safe_load(
        file.expanduser().read_text())['local_costmap']['local_costmap']['ros__parameters']
    return parameters
