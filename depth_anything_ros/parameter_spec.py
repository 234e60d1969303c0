"""What the declaration of a parameter says, and the check of its values; see ``parameters``."""

from dataclasses import dataclass, field
import math
from typing import Any, Literal

from depth_anything_ros.errors import SettingsError

Value = bool | int | float | str | tuple[str, ...] | tuple[float, ...]
When = Literal['start', 'configure', 'activate', 'runtime']


@dataclass(frozen=True)
class Spec:
    """
    Declaration of one parameter; a list is held as a tuple.

    ``when`` says when the node reads it: at its start (read-only), in configure, in activate or
    with the next frame (runtime). ``minimum`` and ``maximum`` are inclusive. A ``shared``
    parameter has one value for all cameras of a node; the others can be set for each camera.
    """

    name: str
    default: Value
    description: str
    unit: str
    when: When
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    shared: bool

    @property
    def expected(self) -> str:
        """Describe the valid values."""
        kind = {bool: 'true or false', int: 'an integer', float: 'a number', str: 'a string',
                tuple: 'a list of strings'}
        words = kind[type(self.default)]
        if isinstance(self.default, tuple) and self.default:
            words = f'a list of {len(self.default)} numbers'
        if self.choices:
            words = f'one of {", ".join(self.choices)}'
        if self.minimum is not None and self.maximum is not None:
            words += f' from {self.minimum:g} to {self.maximum:g}'
        return words

    def check(self, value: object) -> Value:
        """Return ``value`` in the type of this parameter; SettingsError if it is not valid."""
        if isinstance(self.default, tuple):
            return self._checked_list(self.default, value)
        if isinstance(self.default, float) and type(value) is int:
            value = float(value)
        if not isinstance(value, (bool, int, float, str)) or type(value) is not type(self.default):
            raise SettingsError(self.name, value, self.expected)
        if self.choices and value not in self.choices:
            raise SettingsError(self.name, value, self.expected)
        if isinstance(value, (int, float)) and not self._in_range(value):
            raise SettingsError(self.name, value, self.expected)
        return value

    def _checked_list(self, default: tuple[Any, ...], value: object) -> Value:
        # An empty list in a YAML file reaches the node as a parameter without a value.
        if value is None and not default:
            return ()
        if isinstance(value, str) or not hasattr(value, '__iter__'):
            raise SettingsError(self.name, value, self.expected)
        items = tuple(value)
        if not default and all(isinstance(item, str) for item in items):
            return items
        numbers = [item for item in items
                   if type(item) in (int, float) and self._in_range(item)]
        if not default or len(numbers) != len(default) or len(items) != len(default):
            raise SettingsError(self.name, value, self.expected)
        return tuple(float(number) for number in numbers)

    def _in_range(self, value: float) -> bool:
        return (math.isfinite(value)
                and (self.minimum is None or value >= self.minimum)
                and (self.maximum is None or value <= self.maximum))


def parameter(default: Value, when: When, description: str, *, unit: str = '',
              minimum: float | None = None, maximum: float | None = None,
              choices: tuple[str, ...] = (), shared: bool = False) -> Any:
    """Return a dataclass field that declares a parameter; see ``Spec``."""
    return field(default=default, metadata={
        'description': description, 'unit': unit, 'when': when, 'minimum': minimum,
        'maximum': maximum, 'choices': choices, 'shared': shared})
