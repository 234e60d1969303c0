"""A described network in OpenVINO, brought to the input and the outputs of this package."""

from pathlib import Path
from typing import Any, TYPE_CHECKING

from depth_anything_ros.convert.sources.description import (
    Description, LEAST_DEPTH, LEAST_INVERSE_M)
from depth_anything_ros.errors import CheckpointError
import numpy as np

if TYPE_CHECKING:
    import openvino


def bring_to_form(path: Path, model: 'openvino.Model', described: Description
                  ) -> tuple['openvino.Model', tuple[str, ...]]:
    """
    Return a network of one RGB image, to inverse depth or metres and sky, and lines on changes.

    Other outputs are dropped. CheckpointError names an input or output that the description lacks
    or invents.
    """
    import openvino
    from openvino import opset13 as op

    image = _replace_constants(path, model, described)
    depth = _output(path, model, described.depth_output)
    outputs = [_depth(depth, described)]
    kept = [port_name(depth)]
    if described.sky_output:
        sky = _output(path, model, described.sky_output)
        if port_name(sky) in kept:
            raise CheckpointError(path, f'depth and sky are both its output {kept[0]}',
                                  'correct depth_output or sky_output')
        kept.append(port_name(sky))
        value = sky.get_node().input_value(0)
        outputs.append(op.subtract(np.float32(1), _f32(value)).output(0)
                       if described.sky_inverted else value)
    dropped = [port_name(port) for port in model.outputs if port_name(port) not in kept]
    changes = [f'output {described.output}, metres {described.metres}: now '
               f'{"metres" if described.kind == "metric" else "inverse depth"}']
    if described.color == 'bgr':
        _reverse_colors(image)
        changes.append('colours: BGR, now RGB')
    if dropped:
        changes.append(f'outputs left out: {", ".join(dropped)}')
    return openvino.Model([op.result(one) for one in outputs], [image],
                          model.get_friendly_name()), tuple(changes)


def _replace_constants(path: Path, model: 'openvino.Model', described: Description) -> Any:
    """Replace inputs by the values of ``constants``, and return the input that is left."""
    from openvino.op import Constant

    given = {port_name(port): port.get_node() for port in model.inputs}
    if unknown := [name for name in described.constants if name not in given]:
        raise CheckpointError(path, f'it has no input {unknown[0]}',
                              f'its inputs are {", ".join(given)}; correct constants')
    for name, value in described.constants.items():
        parameter = given.pop(name)
        shape = parameter.output(0).partial_shape
        if not shape.is_static:
            raise CheckpointError(path, f'its input {name} has the shape {shape}, no fixed one',
                                  'export it with a fixed shape')
        kind = parameter.output(0).element_type
        constant = Constant(np.full(list(shape.to_shape()), value, kind.to_dtype()))
        for target in parameter.output(0).get_target_inputs():
            target.replace_source_output(constant.output(0))
    if len(given) != 1:
        raise CheckpointError(path, f'it has the inputs {", ".join(given)}',
                              'state the values of those beside the image as constants')
    return next(iter(given.values()))


def _output(path: Path, model: 'openvino.Model', name: str) -> Any:
    names = [port_name(port) for port in model.outputs]
    if not name and len(names) == 1:
        return model.output(0)
    if name not in names:
        found = f'it has no output {name}' if name else f'it has the outputs {", ".join(names)}'
        raise CheckpointError(path, found, f'state one of {", ".join(names)} as depth_output, and '
                              'another one as sky_output if it shows sky')
    return model.outputs[names.index(name)]


def _depth(port: Any, described: Description) -> Any:
    """Return the values of the depth output as inverse depth or as metres."""
    from openvino import opset13 as op

    values = port.get_node().input_value(0)
    is_metric = described.kind == 'metric'
    if described.output == ('depth' if is_metric else 'inverse_depth'):
        return values
    values = _f32(values)
    if described.output == 'log_depth':
        return op.exp(values if is_metric else op.negative(values)).output(0)
    if is_metric:
        return op.divide(np.float32(1), op.maximum(values, np.float32(LEAST_INVERSE_M))).output(0)
    inverse = op.divide(np.float32(1), op.maximum(values, np.float32(LEAST_DEPTH)))
    return op.select(op.greater(values, np.float32(LEAST_DEPTH)), inverse,
                     np.float32(0)).output(0)


def _reverse_colors(image: Any) -> None:
    from openvino import opset13 as op

    targets = image.output(0).get_target_inputs()
    reversed_order = op.gather(image, np.array([2, 1, 0]), np.array(1))
    for target in targets:
        target.replace_source_output(reversed_order.output(0))


def _f32(values: Any) -> Any:
    from openvino import opset13 as op, Type

    return values if values.get_element_type() == Type.f32 else op.convert(values, 'f32').output(0)


def port_name(port: Any) -> str:
    """Return the name of an input or output, that of its node if it has none."""
    return next(iter(sorted(port.get_names())), port.get_node().get_friendly_name())
