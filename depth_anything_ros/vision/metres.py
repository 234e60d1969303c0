"""How what a model gives becomes metres: corrections of a metric model, then an alignment."""

from dataclasses import dataclass

from depth_anything_ros.model_info import Kind
from depth_anything_ros.settings import Settings
from depth_anything_ros.vision.depth import inverse_from_metric, metric_from_inverse
from depth_anything_ros.vision.geometry import Intrinsics
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Correction:
    """Depth of a metric model becomes factor * z + offset_m; a relative model has (1, 0)."""

    factor: float = 1.0
    offset_m: float = 0.0


def correction(kind: Kind, settings: Settings, camera: Intrinsics | None) -> Correction:
    """
    Return what ``metric_scale``, ``metric_offset`` and ``metric_focal`` say for this camera.

    A network sees an image of fixed short side, so its metres are proportional to the focal
    length in short sides (Yin et al., Metric3D, ICCV 2023). Without a camera there is no such
    correction.
    """
    if kind == 'relative':
        return Correction()
    factor = settings.metric_scale
    if settings.metric_focal and camera is not None:
        factor *= min(camera.fx, camera.fy) / min(camera.size_hw) / settings.metric_focal
    return Correction(factor, settings.metric_offset)


def corrected(depth_m: F32, rule: Correction) -> F32:
    """Return factor * z + offset of depth [m], NaN where that is not positive."""
    if rule == Correction():
        return depth_m
    depth: F32 = depth_m * np.float32(rule.factor)
    depth += np.float32(rule.offset_m)
    depth[depth <= 0] = np.nan
    return depth


def inverse_depth(depth: F32, kind: Kind, rule: Correction) -> F32:
    """Return the d to which an alignment 1/z = scale * d + shift belongs, of a model's map."""
    return depth if kind == 'relative' else inverse_from_metric(corrected(depth, rule))


def metres(depth: F32, kind: Kind, rule: Correction,
           scale_shift: tuple[float, float] | None) -> F32 | None:
    """
    Return depth [m] of a model's map, or None for a relative model without (scale, shift).

    +inf at and beyond infinity, NaN where invalid. A metric model without (scale, shift) is
    corrected only.
    """
    if scale_shift is None:
        return corrected(depth, rule) if kind == 'metric' else None
    return metric_from_inverse(inverse_depth(depth, kind, rule), *scale_shift, beyond=np.inf)
