"""
Checkpoints of Depth Anything 3: their tensor names, and which of its networks take one image.

Source: the published code, ``api.py``, ``model/da3.py``, ``model/dinov2/vision_transformer.py``.
"""

from collections.abc import Iterable
from pathlib import Path
import re
from typing import Any

from depth_anything_ros.errors import CheckpointError

_NAMES = (('model.backbone.pretrained.', 'pretrained.'), ('model.head.', 'depth_head.'))
# Tensors of networks for several views: tokens and heads of cameras, two networks in one.
_MULTI_VIEW = re.compile(r'model\.(?:backbone\.pretrained\.camera_token|cam_(?:enc|dec)\.|da3)')
_MONOCULAR = re.compile(r'da3(mono|metric)-large(?:-1\.1)?', re.IGNORECASE)
_ANY = re.compile(r'(?:depth-anything/)?da3[\w.-]*', re.IGNORECASE)
_REASON = ('it is a network of Depth Anything 3 for several views, with tokens of their cameras: '
           'it gives their poses and depth in a common scale, not that of single images')
_FIX = 'give DA3MONO-LARGE or DA3METRIC-LARGE, which take one image'
# DA3METRIC gives metres for this focal length in pixels of its image, DA3MONO for none.
FOCAL_PX = {'metric': 300.0, 'mono': 0.0}
# The published code takes as sky what has at least this value.
SKY_THRESHOLD = 0.3


def is_da3_layout(names: Iterable[str]) -> bool:
    """Return whether these are tensor names of Depth Anything 3."""
    return any(name.startswith('model.') and (name.startswith(_NAMES[0][0]) or
                                              _MULTI_VIEW.match(name)) for name in names)


def official_da3_name(name: str) -> str:
    """Return the name of a tensor in the layout of V1 and V2."""
    for prefix, replacement in _NAMES:
        if name.startswith(prefix):
            return replacement + name[len(prefix):]
    return name


def refuse_several_views(path: Path, names: Iterable[str]) -> None:
    """Raise CheckpointError for a network that takes several views."""
    if any(_MULTI_VIEW.match(name) for name in names):
        raise CheckpointError(path, _REASON, _FIX)


def refuse_name_of_several_views(name: str) -> None:
    """Raise CheckpointError for the published name of a network that takes several views."""
    if _ANY.fullmatch(name) and not _MONOCULAR.fullmatch(name.split('/')[-1]) and (
            name not in ('da3-mono', 'da3-metric')):
        raise CheckpointError(name, _REASON, _FIX)


def focal_px_of(name: object) -> float | None:
    """Return the focal length of a published name, 0 for none, None for another name."""
    match = _MONOCULAR.fullmatch(str(name))
    return FOCAL_PX[match[1].lower()] if match else None


def is_da3_config(config: dict[str, Any]) -> bool:
    """Return whether a config.json holds the arguments of Depth Anything 3, or its networks."""
    networks = config.get('config')
    return 'model_type' not in config and (
        str(config.get('model_name', '')).lower().startswith('da3')
        or (isinstance(networks, dict) and 'net' in networks))
