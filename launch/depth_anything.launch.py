"""
Depth from one camera or several: the node, brought to active, and RViz if asked for.

The parameter file holds every setting; an argument that is left empty does not touch it.
"""

from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_path
from depth_anything_ros.errors import SettingsError
from depth_anything_ros.node.launch_support import require_packages
from depth_anything_ros.parameters import SPECS, Value
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessStart
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

PACKAGE = 'depth_anything_ros'
MODEL = 'models/depth_anything_nano.xml'
PARAMETERS = 'config/depth_anything.yaml'
RVIZ_WITH_POINTS = 'config/depth_anything.rviz'
RVIZ_IMAGES_ONLY = 'config/depth_anything_images.rviz'
PARAMETER_OF = {'model': 'model', 'cameras': 'cameras', 'device': 'device',
                'input_size': 'input_size', 'transport': 'image_transport',
                'alignment': 'alignment.source', 'camera_height': 'camera_height',
                'camera_pitch': 'camera_pitch'}
CAMERA = '{camera}'
SPEC_OF = {spec.name: spec for spec in SPECS}
SWITCH = ['true', 'false']


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and what is made of them."""
    return LaunchDescription([*_arguments(), OpaqueFunction(function=_start)])


def _arguments() -> list[Action]:
    share = get_package_share_path(PACKAGE)
    kept = 'Empty: as in params_file.'

    def of_parameter(argument: str, note: str = kept) -> str:
        return f'{SPEC_OF[PARAMETER_OF[argument]].description} {note}'

    def argument(name: str, default: object, description: str,
                 choices: list[str] | None = None) -> DeclareLaunchArgument:
        return DeclareLaunchArgument(
            name, default_value=str(default), description=description, choices=choices)

    return [
        argument('model', '', of_parameter(
            'model', f'Empty: {share / MODEL}, or what a params_file of your own says.')),
        argument('cameras', '', of_parameter('cameras', f'Separated by commas; the topics below '
                 f'are then patterns in which {CAMERA} is the name. {kept}')),
        argument('device', '', of_parameter('device')),
        argument('input_size', '', of_parameter('input_size')),
        argument('params_file', share / PARAMETERS, 'YAML file with the parameters of the node.'),
        argument('namespace', '', 'Namespace of the node.'),
        argument('node_name', 'depth_anything', 'Name of the node; its topics are below it.'),
        argument('image_topic', 'image', 'Image to read; with transport compressed the topic '
                 '<image_topic>/compressed is read.'),
        argument('camera_info_topic', '', 'Calibration to read. Empty: camera_info beside '
                 'image_topic.'),
        argument('transport', '', of_parameter('transport'),
                 choices=['', *SPEC_OF['image_transport'].choices]),
        argument('alignment', '', of_parameter('alignment'),
                 choices=['', *SPEC_OF['alignment.source'].choices]),
        argument('reference_topic', '', 'Topic of the reference that alignment names. Empty: '
                 'reference/depth, reference/points or reference/range.'),
        argument('camera_height', '', of_parameter('camera_height')),
        argument('camera_pitch', '', of_parameter('camera_pitch')),
        argument('rviz', 'false', 'Start RViz (needs rviz2); of several cameras it shows the '
                 'first.', SWITCH),
        argument('points', 'true', 'Whether RViz shows the point cloud. The node makes a cloud '
                 'only while somebody subscribes to it.', SWITCH),
        argument('frame', 'camera_optical_frame', 'Fixed frame of RViz: the frame_id of the '
                 'images, or any frame that TF knows.'),
        argument('autostart', 'true', 'Configure and activate the node. false leaves that to a '
                 'lifecycle manager.', SWITCH),
        argument('use_sim_time', 'false', 'Take the time from /clock.', SWITCH),
        argument('log_level', 'info', 'Least severity that is logged.',
                 ['debug', 'info', 'warn', 'error', 'fatal']),
    ]


def _start(context: LaunchContext) -> list[Action]:
    node = _depth_node(context)
    actions: list[Action] = [node]
    if _is_on(context, 'autostart'):
        actions = [*_bring_to_active(node), node]
    if _is_on(context, 'rviz'):
        actions.append(_rviz(context))
    return actions


def _depth_node(context: LaunchContext) -> LifecycleNode:
    given = context.launch_configurations
    return LifecycleNode(
        package=PACKAGE, executable='depth_anything_node',
        name=given['node_name'], namespace=given['namespace'],
        parameters=_parameters(context), remappings=_inputs(context), output='screen',
        ros_arguments=['--log-level', given['log_level']])


def _inputs(context: LaunchContext) -> list[tuple[str, str]]:
    """Return the remappings of the node's inputs; camera_info lies beside the image."""
    given = context.launch_configurations
    remappings = []
    for camera in _cameras(context):
        below = f'{camera}/' if camera else ''
        image, camera_info, reference = (
            given[argument].replace(CAMERA, camera)
            for argument in ('image_topic', 'camera_info_topic', 'reference_topic'))
        beside = image[:image.rfind('/') + 1] + 'camera_info'
        remappings += [(f'{below}image', image),
                       (f'{below}camera_info', camera_info or beside)]
        if reference:
            remappings += [(f'{below}reference/{kind}', reference)
                           for kind in ('depth', 'points', 'range')]
    return remappings


def _cameras(context: LaunchContext) -> list[str]:
    """Return the names of the cameras, [''] for one without; several need a pattern as topic."""
    given = context.launch_configurations
    names: list[str] = _value('cameras', given['cameras']) or ['']
    if len(names) > 1 and CAMERA not in given['image_topic']:
        raise SettingsError('image_topic', given['image_topic'],
                            f'a pattern with {CAMERA}, such as /{CAMERA}/image_raw, for cameras '
                            f'{", ".join(names)}')
    return names


def _parameters(context: LaunchContext) -> list[object]:
    given = context.launch_configurations
    own_files = (get_package_share_path(PACKAGE) / PARAMETERS).resolve().parent
    file = Path(given['params_file']).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f'params_file {file} does not exist')
    overrides: dict[str, Value | list[str]] = {
        name: _value(name, given[argument])
        for argument, name in PARAMETER_OF.items() if given[argument]}
    if 'model' not in overrides and file.resolve().parent == own_files:
        overrides['model'] = str(get_package_share_path(PACKAGE) / MODEL)
    if _is_on(context, 'use_sim_time'):
        overrides['use_sim_time'] = True
    return [str(file), overrides] if overrides else [str(file)]


def _value(name: str, text: str) -> Any:
    """Return a launch argument in the parameter's type; SettingsError says what is wrong."""
    spec = SPEC_OF[name]
    if isinstance(spec.default, tuple):
        return [part.strip() for part in text.split(',') if part.strip()]
    try:
        return spec.check(type(spec.default)(text))
    except ValueError as error:
        raise SettingsError(name, text, spec.expected) from error


def _bring_to_active(node: LifecycleNode) -> list[Action]:
    """Return the handlers that configure the started node once, and then activate it."""
    def change(transition: int) -> EmitEvent:
        return EmitEvent(event=ChangeState(
            lifecycle_node_matcher=matches_action(node), transition_id=transition))

    return [
        RegisterEventHandler(OnProcessStart(
            target_action=node, on_start=[change(Transition.TRANSITION_CONFIGURE)])),
        RegisterEventHandler(OnStateTransition(
            target_lifecycle_node=node, start_state='configuring', goal_state='inactive',
            entities=[change(Transition.TRANSITION_ACTIVATE)], handle_once=True)),
    ]


def _rviz(context: LaunchContext) -> Node:
    """Return RViz in the node's namespace, so that relative names mean the same in both."""
    require_packages('rviz:=true', ['rviz2'])
    given = context.launch_configurations
    first = _cameras(context)[0]
    outputs = f'{given["node_name"]}/{first}'.rstrip('/')
    config = RVIZ_WITH_POINTS if _is_on(context, 'points') else RVIZ_IMAGES_ONLY
    return Node(
        package='rviz2', executable='rviz2', name='rviz', namespace=given['namespace'],
        arguments=['-d', str(get_package_share_path(PACKAGE) / config), '-f', given['frame']],
        parameters=[{'use_sim_time': _is_on(context, 'use_sim_time')}], output='log',
        remappings=[('/image', given['image_topic'].replace(CAMERA, first)),
                    ('/depth_anything/color/image', f'{outputs}/color/image'),
                    ('/depth_anything/points', f'{outputs}/points')])


def _is_on(context: LaunchContext, argument: str) -> bool:
    return IfCondition(LaunchConfiguration(argument)).evaluate(context)
