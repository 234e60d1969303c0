"""
Networks of others that are recognised by their ONNX file, and the facts on them.

A family is recognised by what its own exporter writes, never by the name of the file alone.
Sources of the facts: the published code of each family, see docs/models/.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from depth_anything_ros.convert.sources.identity import from_file_name
from depth_anything_ros.convert.sources.onnx_files import OnnxFile
from depth_anything_ros.networks.models import MEAN_RGB, STD_RGB


@dataclass(frozen=True)
class Family:
    """
    A family of networks, ``title`` for people.

    ``facts`` returns the facts on a file that ``recognises`` it, see ``Description``; with a
    ``refusal`` no network of the family can be used, for that reason.
    """

    title: str
    recognises: Callable[[OnnxFile], bool]
    facts: Callable[[OnnxFile], Mapping[str, Any]]
    refusal: str = ''


def recognise(found: OnnxFile) -> Family | None:
    """Return the family of an ONNX file; None for Depth Anything V1, V2 and unknown ones."""
    if found.info is not None or from_file_name(found.path.name, ()) is not None:
        return None
    return next((family for family in FAMILIES if family.recognises(found)), None)


def _is_zipdepth(found: OnnxFile) -> bool:
    """Return whether the layers have the names that ``zipdepth/model/architecture.py`` gives."""
    return (found.inputs, found.outputs) == (('image',), ('depth',)) and all(
        any(part in name for name in found.names) for part in ('stem_half', 'convex_up'))


def _zipdepth(found: OnnxFile) -> Mapping[str, Any]:
    # The network subtracts the mean and divides by the standard deviation itself.
    return {'name': 'zipdepth', 'output': 'inverse_depth', 'metres': False, 'multiple': 32,
            'size': 384, 'resize': 'shortest_side', 'interpolation': 'linear', 'color': 'rgb',
            'mean': [0.0, 0.0, 0.0], 'std': [1.0, 1.0, 1.0]}


def _is_yolo_depth(found: OnnxFile) -> bool:
    """Return whether the exporter of ultralytics wrote that it is a network for depth."""
    return (found.properties.get('author') == 'Ultralytics'
            and found.properties.get('task') == 'depth')


def _yolo_depth(found: OnnxFile) -> Mapping[str, Any]:
    # Its predictor stretches images; other tasks of the family use a letterbox.
    return {'name': 'yolo26-depth', 'output': 'depth', 'metres': True, 'resize': 'stretch',
            'interpolation': 'linear', 'color': 'rgb', 'multiple': 32, 'size': 768,
            'mean': [0.0, 0.0, 0.0], 'std': [1.0, 1.0, 1.0],
            'licence': found.properties.get('license', '').split(' ')[0] or 'AGPL-3.0'}


def _is_moge(found: OnnxFile) -> bool:
    """Return whether the outputs are those of the second version of MoGe."""
    return {'points', 'mask', 'metric_scale'} <= set(found.outputs)


def _is_da3(found: OnnxFile) -> bool:
    """Return whether the layers have the names of a checkpoint of Depth Anything 3."""
    return any('backbone.pretrained.' in name for name in found.names) and any(
        'sky_output_conv2' in name for name in found.names)


def _da3(found: OnnxFile) -> Mapping[str, Any]:
    # Whether metres need a focal length, DA3METRIC, or are unknown, DA3MONO, the file does not
    # show; and the names of the outputs are those of whoever exported it.
    return {'name': 'da3', 'output': 'depth', 'resize': 'longest_side', 'size': 504,
            'multiple': 14, 'interpolation': 'area', 'color': 'rgb', 'mean': list(MEAN_RGB),
            'std': list(STD_RGB), 'licence': 'Apache-2.0'}


FAMILIES = (
    Family('ZipDepth', _is_zipdepth, _zipdepth),
    Family('YOLO26-depth of ultralytics', _is_yolo_depth, _yolo_depth),
    Family('MoGe-2', _is_moge, lambda found: {},
           'its points have an unknown shift and focal length, which its own code fits to each '
           'image afterwards; this package has no such step'),
    Family('Depth Anything 3, exported by others', _is_da3, _da3))
