"""From the declaration in ``settings`` to ROS parameters and back."""

from collections.abc import Sequence

from depth_anything_ros.errors import SettingsError
from depth_anything_ros.parameters import Settings, Spec, SPECS
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

_SPEC_OF = {spec.name: spec for spec in SPECS}
_STATES_THAT_READ = {'configure': ('unconfigured',), 'activate': ('unconfigured', 'inactive'),
                     'start': ()}


class NodeParameters:
    """
    The parameters of one node.

    A start value that ROS itself refuses (a wrong type, out of range) is kept as a complaint:
    the node lives on with the default, and ``settings`` raises until a good value is set.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._refused: dict[str, SettingsError] = {}
        self._own: dict[str, tuple[str, Spec]] = {}
        for spec in SPECS:
            self._declare(spec)

    def settings(self, camera: str = '') -> Settings:
        """
        Return the current values, those of ``camera`` where it has its own.

        SettingsError names the first that cannot work.
        """
        for error in self._refused.values():
            raise error
        return Settings.from_mapping({**self._values(), **self._values_of(camera)})

    def declare_overrides(self, cameras: Sequence[str]) -> None:
        """
        Declare what the parameter files say of single cameras, as <camera>.<parameter>.

        SettingsError names a value that cannot work or a parameter that all cameras share.
        """
        given = self._node._parameter_overrides
        for name in given:
            camera, _, own = name.partition('.')
            if camera not in cameras:
                continue
            spec = _SPEC_OF.get(own)
            if spec is None or spec.shared:
                raise SettingsError(name, given[name].value, 'a parameter that a camera can have '
                                    'of its own; this one does not exist or is shared by all')
            spec.check(given[name].value)
            if not self._node.has_parameter(name):
                self._node.declare_parameter(name, given[name].value, descriptor(spec, name))
                self._own[name] = (camera, spec)

    def check(self, changes: Sequence[Parameter], state: str) -> None:
        """Raise SettingsError if ``changes`` are not possible in lifecycle state ``state``."""
        changed = {parameter.name: parameter.value for parameter in changes
                   if parameter.name in _SPEC_OF or parameter.name in self._own}
        for name, value in changed.items():
            spec = _SPEC_OF[name] if name in _SPEC_OF else self._own[name][1]
            same = spec.check(value) == self._node.get_parameter(name).value
            states = _STATES_THAT_READ.get(spec.when)
            if states is not None and state not in states and not same:
                raise SettingsError(
                    name, value, f'left alone while the node is {state}: it is read at '
                    f'{spec.when}, so {_way_to(spec)} first')
        shared = {**self._values(), **{name: value for name, value in changed.items()
                                       if name in _SPEC_OF}}
        for camera in {'', *(camera for camera, _ in self._own.values())}:
            own = {spec.name: changed[name] for name, (of, spec) in self._own.items()
                   if of == camera and name in changed}
            Settings.from_mapping({**shared, **self._values_of(camera), **own})

    def applied(self, changes: Sequence[Parameter]) -> None:
        """Forget the complaints about parameters that now have a good value."""
        for parameter in changes:
            self._refused.pop(parameter.name, None)

    def _values(self) -> dict[str, object]:
        return {name: self._node.get_parameter(name).value for name in _SPEC_OF}

    def _values_of(self, camera: str) -> dict[str, object]:
        return {spec.name: self._node.get_parameter(name).value
                for name, (of, spec) in self._own.items() if of == camera}

    def _declare(self, spec: Spec) -> None:
        try:
            self._node.declare_parameter(spec.name, spec.default, descriptor(spec))
        except (InvalidParameterTypeException, InvalidParameterValueException):
            given = self._node._parameter_overrides[spec.name].value
            self._node.declare_parameter(spec.name, spec.default, descriptor(spec),
                                         ignore_override=True)
            self._refused[spec.name] = SettingsError(spec.name, given, spec.expected)


def descriptor(spec: Spec, name: str = '') -> ParameterDescriptor:
    """Return what ``ros2 param describe`` shows; numbers with a point may be given without."""
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
