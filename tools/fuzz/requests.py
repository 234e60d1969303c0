"""Requests that a robot should never send: parameters of wrong types, transitions out of order."""

from pathlib import Path
from random import Random
from typing import Any

from depth_anything_ros.parameter_spec import Spec
from depth_anything_ros.parameters import SPECS
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import (
    DescribeParameters, GetParameters, SetParameters, SetParametersAtomically)
from std_srvs.srv import SetBool

_TYPE_FIELDS = {
    ParameterType.PARAMETER_BOOL: 'bool_value', ParameterType.PARAMETER_INTEGER: 'integer_value',
    ParameterType.PARAMETER_DOUBLE: 'double_value', ParameterType.PARAMETER_STRING: 'string_value',
    ParameterType.PARAMETER_BYTE_ARRAY: 'byte_array_value',
    ParameterType.PARAMETER_BOOL_ARRAY: 'bool_array_value',
    ParameterType.PARAMETER_INTEGER_ARRAY: 'integer_array_value',
    ParameterType.PARAMETER_DOUBLE_ARRAY: 'double_array_value',
    ParameterType.PARAMETER_STRING_ARRAY: 'string_array_value'}
# bool before int, of which it is a kind.
_TYPES = ((bool, ParameterType.PARAMETER_BOOL), (int, ParameterType.PARAMETER_INTEGER),
          (float, ParameterType.PARAMETER_DOUBLE), (str, ParameterType.PARAMETER_STRING))
_ARRAY = ParameterType.PARAMETER_BOOL_ARRAY - ParameterType.PARAMETER_BOOL
_VALUES: dict[str, tuple[Any, ...]] = {
    'bool_value': (True, False), 'integer_value': (0, -1, 7, 2 ** 31, 2 ** 63 - 1, -2 ** 63),
    'double_value': (0.0, -1.0, 1e308, -1e308, float('nan'), float('inf'), 5e-324),
    'string_value': ('', 'none', 'GPU', '~nosuchuser/x', '/proc/x', 'é' * 50, 'x' * 5000, '\n',
                     '%s%n', '../..', 'CPU,CPU,GPU.9'),
    'byte_array_value': ([], [b'\1'] * 9), 'bool_array_value': ([], [True] * 9),
    'integer_array_value': ([], [2 ** 62] * 9), 'double_array_value': ([], [float('nan')] * 6),
    'string_array_value': ([], [''], ['a', 'a'], ['x' * 3000], ['1', '/', 'é'])}
# Large values that are allowed, but for which this is no test: memory, or seconds for a frame.
_MODEST = {'input_size': (28, 42, 56, 112, 7, -1, 3000), 'max_image_megapixels': (0.01, 1.0, 50.0),
           'expected_width': (1, 33, 640, 2000), 'expected_height': (1, 33, 480, 2000),
           'device': ('CPU', 'GPU', 'GPU,CPU', 'NPU.7', '', ',', 'TPU'),
           # No folder that would be made here.
           'cache_dir': ('', '/proc/x', '/dev/null', '/dev/null/x', '~nosuchuser/x', 'x' * 5000),
           'request_timeout': (5.0, 10.0), 'diagnostics_period': (0.1,)}
_FOREIGN = ('', 'use_sim_time', 'no_such', 'alignment', 'alignment.', '.model', 'x' * 3000, 'é',
            'qos_overrides./probe/image.subscription.depth', 'nobody.edge_filter',
            'probe.edge_filter')
_READ_IN_CONFIGURE = tuple(spec for spec in SPECS if spec.when == 'configure')
_RUNTIME = tuple(spec for spec in SPECS if spec.when == 'runtime')
# Not shutdown, from which no node returns: test/node tests it.
_TRANSITIONS = (*range(5), 8, 9, *range(10, 70, 5), 99, 255)


def parameters_request(rng: Random) -> tuple[type, str, Any]:
    """Return the type, the name below the node and the content of one request."""
    kind = rng.choice(('set', 'set', 'set', 'atomically', 'get', 'describe', 'freeze'))
    if kind == 'freeze':
        return SetBool, 'freeze_alignment', SetBool.Request(data=rng.random() < 0.5)
    if kind in ('get', 'describe'):
        names = [_name(rng) for _ in range(rng.choice((0, 1, 3)))]
        if kind == 'get':
            return GetParameters, 'get_parameters', GetParameters.Request(names=names)
        return DescribeParameters, 'describe_parameters', DescribeParameters.Request(names=names)
    changes = [_change(rng) for _ in range(rng.choice((0, 1, 1, 1, 2, 5)))]
    if kind == 'set':
        return set_parameters(changes)
    return SetParametersAtomically, 'set_parameters_atomically', (
        SetParametersAtomically.Request(parameters=changes))


def transition_request(rng: Random) -> ChangeState.Request:
    """Return a request for any transition, by number or by name, that leads to no end."""
    transition = Transition(id=rng.choice(_TRANSITIONS))
    if rng.random() < 0.2:
        transition.label = rng.choice(('', 'configure', 'activate', 'é' * 50, 'x' * 3000))
    return ChangeState.Request(transition=transition)


def start_changes(rng: Random) -> list[Parameter]:
    """Return values, mostly wrong ones, for parameters that are read in configure."""
    return [_parameter(spec.name, _value(rng, spec))
            for spec in rng.sample(_READ_IN_CONFIGURE, rng.choice((1, 2, 4)))]


def set_parameters(changes: list[Parameter]) -> tuple[type, str, Any]:
    """Return the type, the name below the node and the content of a request for ``changes``."""
    return SetParameters, 'set_parameters', SetParameters.Request(parameters=changes)


def set_atomically(values: dict[str, Any]) -> SetParametersAtomically.Request:
    """Return the request that sets all ``values`` at once."""
    return SetParametersAtomically.Request(
        parameters=[_parameter(name, value) for name, value in values.items()])


def changed_names(request: Any) -> list[str]:
    """Return the parameters of the node that a request tries to change."""
    declared = {spec.name for spec in SPECS if spec.when != 'start'}
    return [parameter.name for parameter in getattr(request, 'parameters', ())
            if parameter.name in declared]


STATES = {State.PRIMARY_STATE_UNCONFIGURED: 'unconfigured',
          State.PRIMARY_STATE_INACTIVE: 'inactive', State.PRIMARY_STATE_ACTIVE: 'active',
          State.PRIMARY_STATE_FINALIZED: 'finalized'}


def _name(rng: Random) -> str:
    return rng.choice(_FOREIGN) if rng.random() < 0.3 else rng.choice(SPECS).name


def _change(rng: Random) -> Parameter:
    kind = rng.random()
    if kind < 0.5:
        spec = rng.choice(_RUNTIME)
        return _parameter(spec.name, _value(rng, spec))
    if kind < 0.6:
        unknown = ParameterValue(type=rng.choice((10, 77, 255)), string_value='CPU')
        return Parameter(name=_name(rng), value=rng.choice((ParameterValue(), unknown)))
    return Parameter(name=_name(rng), value=_any_value(rng))


def _any_value(rng: Random) -> ParameterValue:
    kind, field = rng.choice(tuple(_TYPE_FIELDS.items()))
    value = ParameterValue(type=kind)
    setattr(value, field, rng.choice(_VALUES[field]))
    return value


def _parameter(name: str, value: Any) -> Parameter:
    if isinstance(value, ParameterValue):
        return Parameter(name=name, value=value)
    value = str(value) if isinstance(value, Path) else value
    listed = isinstance(value, (list, tuple))
    first = (value[0] if value else '') if listed else value
    number = next(number for kind, number in _TYPES if isinstance(first, kind))
    number += _ARRAY if listed else 0
    result = ParameterValue(type=number)
    setattr(result, _TYPE_FIELDS[number], list(value) if listed else value)
    return Parameter(name=name, value=result)


def _value(rng: Random, spec: Spec) -> Any:
    """Return a value of the declared type, half of them within the limits."""
    if spec.name in _MODEST:
        return rng.choice(_MODEST[spec.name])
    if rng.random() < 0.1:
        return _any_value(rng)
    if spec.choices:
        return rng.choice((*spec.choices, 'none', ''))
    default = spec.default
    if isinstance(default, bool):
        return rng.random() < 0.5
    if isinstance(default, (int, float)) and spec.minimum is not None and spec.maximum is not None:
        low, high = spec.minimum, spec.maximum
        number = rng.choice((low, high, default, low - 1, high + 1, rng.uniform(low, high),
                             low + (high - low) * 1e-3))
        return int(number) if isinstance(default, int) else float(number)
    if isinstance(default, tuple) and default:
        return [rng.uniform(-1, 1) for _ in range(rng.choice((len(default), len(default), 5, 0)))]
    field = 'string_array_value' if isinstance(default, tuple) else 'string_value'
    return rng.choice(_VALUES[field])
