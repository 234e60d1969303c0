"""
Depth from one camera or several: starts the node, activates it, and shows it on request.

All parameters of the node come from params_file. An argument that is not empty overrides one.
"""

from typing import Any

from ament_index_python.packages import get_package_share_path
from depth_anything_ros.errors import SettingsError
from depth_anything_ros.node.launch_support import (
    argument, calibration_topic, camera_names, common_argument, dds_profile, existing_file, is_on,
    lifecycle_node, require_packages, split_names, SWITCH)
from depth_anything_ros.parameter_spec import Value
from depth_anything_ros.parameters import SPECS
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import OpaqueFunction
from launch_ros.actions import Node

PACKAGE = 'depth_anything_ros'
PARAMETERS = 'config/depth_anything.yaml'
RVIZ_WITH_POINTS = 'config/depth_anything.rviz'
RVIZ_IMAGES_ONLY = 'config/depth_anything_images.rviz'
PARAMETER_OF = {'model': 'model', 'cameras': 'cameras', 'device': 'device',
                'input_size': 'input_size', 'transport': 'image_transport',
                'alignment': 'alignment.source', 'odom_frame': 'motion.odom_frame',
                'camera_height': 'camera_height',
                'camera_pitch': 'camera_pitch'}
CAMERA = '{camera}'
IMAGE = 'image'
SPEC_OF = {spec.name: spec for spec in SPECS}


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and the actions that use them."""
    return LaunchDescription([*_arguments(), OpaqueFunction(function=_start)])


def _arguments() -> list[Action]:
    share = get_package_share_path(PACKAGE)

    def parameter(name: str, note: str = '') -> Action:
        spec = SPEC_OF[PARAMETER_OF[name]]
        note = f'{note} Empty: the value in params_file.'.strip()
        return argument(name, '', f'{spec.description} {note}',
                        ['', *spec.choices] if spec.choices else ())

    return [
        parameter('model'),
        parameter('cameras', f'Separate the names by commas; {CAMERA} in the topics below is '
                  'replaced by each name.'),
        parameter('device'),
        parameter('input_size'),
        argument('params_file', share / PARAMETERS, 'YAML file with the parameters of the node.'),
        common_argument('namespace'),
        common_argument('node_name'),
        common_argument('image_topic'),
        argument('camera_info_topic', '', 'Topic of the calibration. Empty: camera_info in the '
                 'namespace of image_topic.'),
        parameter('transport'),
        parameter('alignment'),
        parameter('odom_frame', 'For alignment:=motion and motion+ground.'),
        argument('reference_topic', '', 'Topic of the reference sensor for alignment. Empty: '
                 'reference/depth, reference/points or reference/range.'),
        parameter('camera_height'),
        parameter('camera_pitch'),
        argument('rviz', 'false', 'Start RViz (needs the package rviz2). With several cameras it '
                 'shows the first one.', SWITCH),
        argument('points', 'true', 'Show the point cloud in RViz. The node computes it only while '
                 'it has a subscriber.', SWITCH),
        argument('view', 'false', 'Show the node in a browser, by depth_anything_view (needs '
                 'viser from pip).', SWITCH),
        argument('view_host', '127.0.0.1', 'Address on which the page listens, port 8080. 0.0.0.0 '
                 'lets everybody in the network see it and press its buttons.'),
        argument('frame', 'camera_optical_frame', 'Fixed frame of RViz: the frame_id of the '
                 'images, or any other frame in TF.'),
        common_argument('autostart'),
        common_argument('required'),
        common_argument('use_sim_time'),
        *dds_profile(),
        argument('log_level', 'info', 'Lowest severity of the messages that are logged.',
                 ['debug', 'info', 'warn', 'error', 'fatal']),
    ]


def _start(context: LaunchContext) -> list[Action]:
    values = context.launch_configurations
    actions = lifecycle_node(
        is_on(context, 'autostart'), is_on(context, 'required'), package=PACKAGE,
        executable='depth_anything_node', name=values['node_name'],
        namespace=values['namespace'], parameters=_parameters(context),
        remappings=_inputs(context), output='screen',
        ros_arguments=['--log-level', values['log_level']])
    shows = [make(context) for name, make in (('rviz', _rviz), ('view', _view))
             if is_on(context, name)]
    return [*actions, *shows]


def _view(context: LaunchContext) -> Node:
    """Return the program that shows the node in a browser."""
    values = context.launch_configurations
    return Node(
        package=PACKAGE, executable='depth_anything_view', namespace=values['namespace'],
        arguments=['--node', values['node_name'], '--host', values['view_host']],
        parameters=[{'use_sim_time': is_on(context, 'use_sim_time')}], output='screen')


def _inputs(context: LaunchContext) -> list[tuple[str, str]]:
    """Return the remappings of the node's inputs, for each camera."""
    values = context.launch_configurations
    remappings = []
    for camera in _cameras(context):
        prefix = f'{camera}/' if camera else ''
        image, camera_info, reference = (topic.replace(CAMERA, camera) for topic in (
            _images(context), calibration_topic(context, _images(context)),
            values['reference_topic']))
        remappings += [(f'{prefix}image', image), (f'{prefix}camera_info', camera_info)]
        if reference:
            remappings += [(f'{prefix}reference/{kind}', reference)
                           for kind in ('depth', 'points', 'range')]
    return remappings


def _cameras(context: LaunchContext) -> list[str]:
    """Return the names of the cameras, [''] without names; several need a pattern as topic."""
    names = camera_names(context) or ['']
    if len(names) > 1 and CAMERA not in _images(context):
        raise SettingsError('image_topic', _images(context),
                            f'a pattern with {CAMERA}, such as /{CAMERA}/image_raw, for cameras '
                            f'{", ".join(names)}')
    return names


def _images(context: LaunchContext) -> str:
    """Return image_topic; by default names in params_file keep the inputs of their own names."""
    values = context.launch_configurations
    topic: str = values['image_topic']
    in_file = not values['cameras'] and camera_names(context)
    return f'{CAMERA}/{topic}' if in_file and topic == IMAGE else topic


def _parameters(context: LaunchContext) -> list[object]:
    """Return the parameter file and the parameters that arguments override."""
    values = context.launch_configurations
    file = existing_file(context, 'params_file')
    overrides: dict[str, Value | list[str]] = {
        name: _value(name, values[argument_name])
        for argument_name, name in PARAMETER_OF.items() if values[argument_name]}
    if is_on(context, 'use_sim_time'):
        overrides['use_sim_time'] = True
    return [str(file), overrides] if overrides else [str(file)]


def _value(name: str, text: str) -> Any:
    """Return a launch argument in the parameter's type; SettingsError if it is invalid."""
    spec = SPEC_OF[name]
    if isinstance(spec.default, tuple):
        return split_names(text)
    try:
        return spec.check(type(spec.default)(text))
    except ValueError as error:
        raise SettingsError(name, text, spec.expected) from error


def _rviz(context: LaunchContext) -> Node:
    """Return RViz in the node's namespace, so that relative topics are the same in both."""
    require_packages('rviz:=true', ['rviz2'])
    values = context.launch_configurations
    first = _cameras(context)[0]
    outputs = f'{values["node_name"]}/{first}'.rstrip('/')
    config = RVIZ_WITH_POINTS if is_on(context, 'points') else RVIZ_IMAGES_ONLY
    return Node(
        package='rviz2', executable='rviz2', name='rviz', namespace=values['namespace'],
        arguments=['-d', str(get_package_share_path(PACKAGE) / config), '-f', values['frame']],
        parameters=[{'use_sim_time': is_on(context, 'use_sim_time')}], output='log',
        remappings=[('/image', _images(context).replace(CAMERA, first)),
                    ('/depth_anything/color/image', f'{outputs}/color/image'),
                    ('/depth_anything/points', f'{outputs}/points')])
