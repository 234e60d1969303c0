"""Controls for the parameters that may change at run time, made from their declarations."""

from collections.abc import Mapping
from typing import Any, TYPE_CHECKING

from depth_anything_ros.errors import SettingsError
from depth_anything_ros.parameter_spec import Spec, Value
from depth_anything_ros.parameters import SPECS

if TYPE_CHECKING:
    from viser import GuiApi

RUNTIME = tuple(spec for spec in SPECS if spec.when == 'runtime')


class ParameterControls:
    """
    One control per parameter in ``RUNTIME``, with its description and range as its hint.

    ``show`` displays the values of the node. ``changes`` returns what a person changed since.
    """

    def __init__(self, gui: 'GuiApi') -> None:
        self._controls = {spec: _control(gui, spec) for spec in RUNTIME}
        # What the controls show for the values of the node.
        self._shown: dict[str, Any] = {}

    @property
    def shown(self) -> bool:
        """Return whether values of the node have been displayed."""
        return bool(self._shown)

    def show(self, values: Mapping[str, Any], keep_changes: bool = False) -> None:
        """
        Display the values; a parameter whose value is None, which the node lacks, is hidden.

        With ``keep_changes`` a control that a person has changed keeps what it shows.
        """
        for spec, control in self._controls.items():
            value = values.get(spec.name)
            control.visible = value is not None
            if value is None:
                continue
            shown = _text(tuple(value)) if isinstance(spec.default, tuple) else value
            if not (keep_changes and spec.name in self._shown
                    and control.value != self._shown[spec.name]):
                control.value = shown
            self._shown[spec.name] = shown

    def changes(self) -> dict[str, Value]:
        """Return the changed values by name; SettingsError for one that is not valid."""
        changed = {}
        for spec, control in self._controls.items():
            if spec.name in self._shown:
                value = _value(spec, control.value)
                if value != _value(spec, self._shown[spec.name]):
                    changed[spec.name] = value
        return changed


def hint(spec: Spec) -> str:
    """Return the description of a parameter with its unit and its valid values."""
    unit = f' [{spec.unit}]' if spec.unit else ''
    return f'{spec.description}{unit} Valid: {spec.expected}. Default: {_text(spec.default)}.'


def _control(gui: 'GuiApi', spec: Spec) -> Any:
    default, text = spec.default, hint(spec)
    if isinstance(default, bool):
        return gui.add_checkbox(spec.name, default, hint=text)
    if spec.choices:
        return gui.add_dropdown(spec.name, spec.choices, initial_value=str(default), hint=text)
    if isinstance(default, int | float):
        # Floats: a whole number of more than 64 bits, which a browser may send, could not be sent
        # to the next one.
        return gui.add_number(
            spec.name, float(default), hint=text, step=1 if isinstance(default, int) else 0.001,
            min=spec.minimum, max=spec.maximum)
    return gui.add_text(spec.name, _text(default), hint=text)


def _text(value: Value) -> str:
    return ', '.join(map(str, value)) if isinstance(value, tuple) else str(value)


def _value(spec: Spec, shown: Any) -> Value:
    """Return what a control shows in the type of the parameter; SettingsError if it is none."""
    if not isinstance(spec.default, tuple):
        # A browser has one type for all numbers.
        whole = type(spec.default) is int and isinstance(shown, float) and shown.is_integer()
        return spec.check(int(shown) if whole else shown)
    parts = [part.strip() for part in str(shown).split(',') if part.strip()]
    try:
        return spec.check([float(part) for part in parts])
    except ValueError as error:
        raise SettingsError(spec.name, shown, spec.expected) from error
