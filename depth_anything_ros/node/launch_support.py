"""
What the launch files share: arguments, required packages, the depth node and its lifecycle.

Only launch files call these functions, so ``launch`` and ``launch_ros`` are imported inside them.
"""

from collections.abc import Sequence
from inspect import signature
import math
import os
from pathlib import Path
import re
import signal
import threading
from typing import Any

from ament_index_python.packages import get_package_share_path
from ament_index_python.resources import has_resource
from depth_anything_ros.errors import (
    DepthAnythingError, MissingDependencyError, SettingsError)
from depth_anything_ros.parameters import SPECS
from depth_anything_ros.process import DDS_PROFILE_VARIABLES

DDS_PROFILE = 'config/fastdds.xml'
SWITCH = ('true', 'false')
# Exit codes of a node that somebody stopped: the signals also before the node handles them.
_STOPPED = (0, -signal.SIGINT, -signal.SIGTERM)
# Name: default, description, choices. Several launch files declare these arguments, because they
# use their values themselves beside passing them to depth_anything.launch.py.
_COMMON: dict[str, tuple[str, str, Sequence[str]]] = {
    'namespace': ('', 'Namespace of the depth node.', ()),
    'node_name': ('depth_anything', 'Name of the depth node; its topics are below this name.', ()),
    'image_topic': ('image', 'Topic of the input images. With transport:=compressed the node '
                    'reads <image_topic>/compressed.', ()),
    'autostart': ('true', 'Configure and activate the depth node. With false a lifecycle manager '
                  'has to do this.', SWITCH),
    'required': ('false', 'End launch, with status 1, when the node dies or cannot start: for '
                 'systemd and containers, which start it again.', SWITCH),
    'dds_profile': ('', 'XML file with profiles of Fast DDS for all nodes started here; '
                    'fastdds.xml is the one of this package, for images that get lost. Start the '
                    'camera with it too. Empty: none.', ()),
    'use_sim_time': ('false', 'Use the time of /clock.', SWITCH)}


class NodeEndedError(DepthAnythingError):
    """The program of the node has died, or could not be executed (``exit_code`` None)."""

    def __init__(self, program: str, exit_code: int | None) -> None:
        what = ('could not be executed' if exit_code is None else
                f'has died with exit code {exit_code}')
        where = ('dmesg shows whether memory ran out' if exit_code == -signal.SIGKILL else
                 'the lines above show why')
        super().__init__(f'{program} {what}; {where}')


def argument(name: str, default: object | None, description: str,
             choices: Sequence[str] = ()) -> Any:
    """Return a DeclareLaunchArgument; ``default`` None makes the argument required."""
    from launch.actions import DeclareLaunchArgument
    return DeclareLaunchArgument(
        name, default_value=None if default is None else str(default), description=description,
        choices=list(choices) or None)


def common_argument(name: str, default: str | None = None) -> Any:
    """Return an argument that several launch files have, with its own default where given."""
    usual, description, choices = _COMMON[name]
    return argument(name, usual if default is None else default, description, choices)


def dds_profile() -> list[Any]:
    """Return the argument dds_profile and the action that applies it to the nodes after it."""
    from launch.actions import OpaqueFunction, SetEnvironmentVariable

    def apply(context: Any) -> list[Any]:
        name = context.launch_configurations['dds_profile']
        if not name:
            return []
        file = str(profile_path(name))
        return [SetEnvironmentVariable(variable, file) for variable in DDS_PROFILE_VARIABLES]

    return [common_argument('dds_profile'), OpaqueFunction(function=apply)]


def profile_path(name: str) -> Path:
    """Return the file ``name``, or the profile of this package; FileNotFoundError otherwise."""
    file = Path(name).expanduser()
    if file.is_file():
        return file.resolve()
    own = get_package_share_path('depth_anything_ros') / DDS_PROFILE
    if name != own.name:
        raise FileNotFoundError(f'dds_profile {file} does not exist; {own.name} is the one of '
                                'this package')
    return own


def is_on(context: Any, name: str) -> bool:
    """Return whether the argument ``name`` of a LaunchContext is true."""
    from launch.conditions import IfCondition
    from launch.substitutions import LaunchConfiguration
    return bool(IfCondition(LaunchConfiguration(name)).evaluate(context))


def number(context: Any, name: str, least: int | float) -> Any:
    """Return the argument ``name`` in the type of its least value; SettingsError otherwise."""
    text, kind = context.launch_configurations[name], type(least)
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not least <= value < math.inf:
        raise SettingsError(name, text, f'{"an integer" if kind is int else "a number"} of at '
                            f'least {least:g}')
    return value


def existing_file(context: Any, name: str) -> Path:
    """Return the file that the argument ``name`` gives; FileNotFoundError if there is none."""
    file = Path(context.launch_configurations[name]).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f'{name} {file} does not exist')
    return file


def require_packages(purpose: str, names: Sequence[str]) -> None:
    """
    Raise MissingDependencyError unless all packages ``names`` are in the ament index.

    The error names the first missing package and the apt command that installs all of them.
    """
    missing = [name for name in names if not has_resource('packages', name)]
    if missing:
        distro = os.environ.get('ROS_DISTRO', '$ROS_DISTRO')
        debs = ' '.join(f'ros-{distro}-{name.replace("_", "-")}' for name in missing)
        raise MissingDependencyError(missing[0], purpose, f'sudo apt install {debs}')


def packages_required(purpose: str, names: Sequence[str]) -> Any:
    """Return an action that calls ``require_packages`` before the actions after it run."""
    from launch.actions import OpaqueFunction

    def check(context: Any) -> list[Any]:
        require_packages(purpose, names)
        return []

    return OpaqueFunction(function=check)


def split_names(text: str) -> list[str]:
    """Return the names in a text that separates them by commas."""
    return [name.strip() for name in text.split(',') if name.strip()]


def camera_names(context: Any) -> list[str]:
    """Return the names of the cameras, of ``cameras`` or else of ``params_file``; [] if none."""
    values = context.launch_configurations
    if values.get('cameras'):
        return split_names(values['cameras'])
    if not values.get('params_file'):
        return []
    name = '/'.join(filter(None, [values['namespace'].strip('/'), values['node_name']]))
    found = node_parameters(existing_file(context, 'params_file'), f'/{name}').get('cameras')
    spec, = (spec for spec in SPECS if spec.name == 'cameras')
    return list(spec.check(found or None))  # type: ignore[arg-type]


def node_parameters(file: Path, node: str) -> dict[str, Any]:
    """
    Return the parameters in a YAML file for the node with the full name ``node``, as strings.

    As in rcl: a section is for the nodes that its keys name, with ``*`` for one name and ``**``
    for any number, and the last value counts. SettingsError if the file is no such file.
    """
    import yaml
    found: dict[str, Any] = {}

    def collect(path: str, section: dict[str, Any]) -> None:
        pattern = re.escape(path).replace(r'/\*\*', r'(/\w+)*').replace(r'\*', r'\w+')
        if re.fullmatch(pattern, node):
            found.update(section.get('ros__parameters') or {})
        for key, part in section.items():
            if key != 'ros__parameters' and isinstance(part, dict):
                collect(f'{path}/{str(key).strip("/")}', part)

    try:
        # Without tags and types, because rcl accepts some that PyYAML refuses.
        for document in yaml.load_all(file.read_text(), yaml.BaseLoader):
            collect('', document or {})
    except (AttributeError, TypeError, ValueError, yaml.YAMLError) as error:
        raise SettingsError('params_file', str(file), 'a YAML file with the name of a node, or '
                            '/**, and below it ros__parameters:') from error
    return found


def calibration_topic(context: Any, image: str) -> str:
    """Return camera_info_topic, or where that is empty camera_info beside the topic ``image``."""
    given: str = context.launch_configurations.get('camera_info_topic', '')
    return given or image[:image.rfind('/') + 1] + 'camera_info'


def require_one_camera(context: Any, consumer: str) -> None:
    """Raise SettingsError if cameras have names: ``consumer`` reads the outputs of one without."""
    names = ', '.join(camera_names(context))
    if names:
        raise SettingsError('cameras', names, f'empty, because {consumer} reads the outputs of '
                            'one camera without a name; for several cameras start '
                            f'multi_camera.launch.py, and {consumer} on the topics of one')


def depth_node() -> Any:
    """Return depth_anything.launch.py, which gets every argument of the including file."""
    from launch.actions import GroupAction, IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    file = get_package_share_path('depth_anything_ros') / 'launch' / 'depth_anything.launch.py'
    # The group keeps the defaults of that file from replacing those of the including one.
    return GroupAction([IncludeLaunchDescription(PythonLaunchDescriptionSource(str(file)))])


def lifecycle_node(autostart: bool, required: bool, **options: Any) -> list[Any]:
    """
    Return the actions that start a LifecycleNode and, with ``autostart``, bring it to active.

    With ``required`` launch ends with status 1 when the node dies or cannot start. From release
    0.26.7 (Jazzy) launch_ros brings the node up itself; before, event handlers do.
    """
    from launch_ros.actions import LifecycleNode
    if autostart and 'autostart' in signature(LifecycleNode.__init__).parameters:
        node, handlers = LifecycleNode(autostart=True, **options), []
    else:
        node = LifecycleNode(**options)
        handlers = _transition_handlers(node) if autostart else []
    return [*handlers, *(_watched(node, autostart) if required else [node])]


def _watched(node: Any, autostart: bool) -> list[Any]:
    """
    Return the node among the actions that end launch with it; launch alone does not.

    A node that is stopped leaves the other programs alone once it has been active. Before, launch
    would wait for ever for the answer to a transition.
    """
    from launch.actions import OpaqueFunction, RegisterEventHandler, Shutdown
    from launch.event import Event
    from launch.event_handler import EventHandler
    from launch_ros.event_handlers import OnStateTransition
    ended, been_active = Event(), threading.Event()

    def note(context: Any) -> None:
        been_active.set()

    def watch(context: Any) -> None:
        # Not OnProcessExit: no such event follows a program that could not be executed.
        future = node.get_asyncio_future()
        if future is not None:
            future.add_done_callback(lambda _: context.emit_event_sync(ended))

    def end(context: Any) -> list[Any]:
        if context.is_shutdown:
            return []
        if node.return_code not in _STOPPED:
            raise NodeEndedError(node.node_executable, node.return_code)
        waits = autostart and not been_active.is_set()
        return [Shutdown(reason='the node was stopped before it was active')] if waits else []

    return [
        RegisterEventHandler(OnStateTransition(
            target_lifecycle_node=node, goal_state='active',
            entities=[OpaqueFunction(function=note)])),
        RegisterEventHandler(EventHandler(
            matcher=lambda event: event is ended, entities=[OpaqueFunction(function=end)])),
        node, OpaqueFunction(function=watch)]


def _transition_handlers(node: Any) -> list[Any]:
    """Return the handlers that configure the node after its start, and activate it once."""
    from launch.actions import EmitEvent, RegisterEventHandler
    from launch.event_handlers import OnProcessStart
    from launch.events import matches_action
    from launch_ros.event_handlers import OnStateTransition
    from launch_ros.events.lifecycle import ChangeState
    from lifecycle_msgs.msg import Transition

    def request(transition: int) -> Any:
        return EmitEvent(event=ChangeState(
            lifecycle_node_matcher=matches_action(node), transition_id=transition))

    return [
        RegisterEventHandler(OnProcessStart(
            target_action=node, on_start=[request(Transition.TRANSITION_CONFIGURE)])),
        RegisterEventHandler(OnStateTransition(
            target_lifecycle_node=node, start_state='configuring', goal_state='inactive',
            entities=[request(Transition.TRANSITION_ACTIVATE)], handle_once=True))]
