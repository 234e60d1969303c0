"""ROS parameters: declared, read and checked by the specifications in ``parameters``."""

from collections.abc import Sequence

from depth_anything_ros.errors import SettingsError
from depth_anything_ros.parameter_spec import Spec
from depth_anything_ros.parameters import Settings, SPECS
from depth_anything_ros.ros.rclpy_adapter import start_values
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

_SPEC_OF = {spec.name: spec for spec in SPECS}
_STATES_THAT_READ = {'configure': ('unconfigured',), 'activate': ('unconfigured', 'inactive'),
                     'start': ()}


class NodeParameters:
    """
    The parameters of one node.

    If a start value has a wrong type or is out of range, the node starts with the default, and
    ``settings`` raises SettingsError until a valid value is set.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._rejected: dict[str, SettingsError] = {}
        self._of_cameras: dict[str, tuple[str, Spec]] = {}
        for spec in SPECS:
            self._declare(spec)

    def settings(self, camera: str = '') -> Settings:
        """
        Return the current settings of ``camera``, whose own values override those of the node.

        SettingsError for the first invalid value.
        """
        for error in self._rejected.values():
            raise error
        return Settings.from_mapping({**self._values(), **self._values_of(camera)})

    def camera_names(self) -> tuple[str, ...]:
        """Return the names of several cameras; none where they are invalid."""
        try:
            return Settings.from_mapping(
                {'cameras': self._node.get_parameter('cameras').value}).cameras
        except SettingsError:
            return ()

    def declare_overrides(self, cameras: Sequence[str]) -> None:
        """
        Declare the parameters <camera>.<parameter> that have a start value.

        SettingsError for an invalid value, which can be corrected then, an unknown parameter or
        one that all cameras share.
        """
        possible = (f'{camera}.{spec.name}' for camera in cameras for spec in SPECS)
        for name, start in start_values(self._node, possible).items():
            camera, _, parameter = name.partition('.')
            if camera not in cameras:
                continue
            spec = _SPEC_OF.get(parameter)
            if spec is None or spec.shared:
                raise SettingsError(name, start.value, 'a parameter that can be set for one '
                                    'camera; this one does not exist or is shared by all')
            if not self._node.has_parameter(name):
                self._declare_override(name, spec, start.value)
                self._of_cameras[name] = (camera, spec)
        for error in self._rejected.values():
            raise error

    def check(self, changes: Sequence[Parameter], state: str) -> None:
        """Raise SettingsError if ``changes`` are invalid or not allowed in lifecycle ``state``."""
        for parameter in changes:
            if (parameter.type_ == Parameter.Type.NOT_SET
                    and self._node.has_parameter(parameter.name)):
                raise SettingsError(parameter.name, None, 'set, because a deleted parameter would '
                                    'be missing until the node starts again')
        changed = {parameter.name: parameter.value for parameter in changes
                   if parameter.name in _SPEC_OF or parameter.name in self._of_cameras}
        for name, value in changed.items():
            spec = _SPEC_OF[name] if name in _SPEC_OF else self._of_cameras[name][1]
            same = spec.check(value) == self._held(name, spec)
            states = _STATES_THAT_READ.get(spec.when)
            if states is not None and state not in states and not same:
                raise SettingsError(
                    name, value, f'unchanged while the node is {state}: it is read at '
                    f'{spec.when}, so {_way_to(spec)} first')
        shared = {**self._values(), **{name: value for name, value in changed.items()
                                       if name in _SPEC_OF}}
        for camera in {'', *(camera for camera, _ in self._of_cameras.values())}:
            own = {spec.name: changed[name] for name, (of, spec) in self._of_cameras.items()
                   if of == camera and name in changed}
            try:
                Settings.from_mapping({**shared, **self._values_of(camera), **own})
            except SettingsError as error:
                # Several wrong start values can only be corrected one after the other.
                if error.name in changed or error.name in own or self._is_valid(camera):
                    raise

    def mark_applied(self, changes: Sequence[Parameter]) -> None:
        """Note that ``changes`` were applied: rejected start values are replaced by valid ones."""
        for parameter in changes:
            self._rejected.pop(parameter.name, None)

    def _is_valid(self, camera: str) -> bool:
        try:
            Settings.from_mapping({**self._values(), **self._values_of(camera)})
        except SettingsError:
            return False
        return True

    def _held(self, name: str, spec: Spec) -> object:
        """Return the present value in the type of ``spec``, which holds a list as a tuple."""
        value = self._node.get_parameter(name).value
        return tuple(value or ()) if isinstance(spec.default, tuple) else value

    def _values(self) -> dict[str, object]:
        return {name: self._node.get_parameter(name).value for name in _SPEC_OF}

    def _values_of(self, camera: str) -> dict[str, object]:
        return {spec.name: self._node.get_parameter(name).value
                for name, (of, spec) in self._of_cameras.items() if of == camera}

    def _declare_override(self, name: str, spec: Spec, start: object) -> None:
        """Declare a parameter of one camera, with the value of the node if ``start`` is wrong."""
        value, is_valid = start, True
        try:
            spec.check(start)
        except SettingsError:
            value, is_valid = self._node.get_parameter(spec.name).value, False
        self._node.declare_parameter(name, value, descriptor(spec, name), ignore_override=True)
        if not is_valid:
            self._rejected[name] = SettingsError(name, start, spec.expected)

    def _declare(self, spec: Spec) -> None:
        """Declare a parameter, with the default if its start value is wrong."""
        start = start_values(self._node, [spec.name]).get(spec.name)
        try:
            if start is not None:
                spec.check(start.value)
        except SettingsError as error:
            self._rejected[spec.name] = error
        self._node.declare_parameter(spec.name, spec.default, descriptor(spec),
                                     ignore_override=spec.name in self._rejected)


def descriptor(spec: Spec, name: str = '') -> ParameterDescriptor:
    """Return what ``ros2 param describe`` shows; a float may also be given as an integer."""
    text = f'{spec.description} [{spec.unit}]' if spec.unit else spec.description
    result = ParameterDescriptor(
        name=name or spec.name, description=text, read_only=spec.when == 'start',
        additional_constraints=f'{spec.expected}; read at {spec.when}',
        dynamic_typing=isinstance(spec.default, (float, tuple)))
    if (spec.minimum is not None and spec.maximum is not None
            and not isinstance(spec.default, tuple)):
        if isinstance(spec.default, float):
            result.floating_point_range = [FloatingPointRange(
                from_value=float(spec.minimum), to_value=float(spec.maximum), step=0.0)]
        else:
            result.integer_range = [IntegerRange(
                from_value=int(spec.minimum), to_value=int(spec.maximum), step=1)]
    return result


def _way_to(spec: Spec) -> str:
    return {'configure': 'clean the node up', 'activate': 'deactivate the node',
            'start': 'set it in the launch file and restart'}[spec.when]
