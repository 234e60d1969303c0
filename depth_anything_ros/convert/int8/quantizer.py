"""The one call of NNCF, with the settings that a network of dense depth needs."""

from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
import io
import logging
import os
from typing import TYPE_CHECKING

from depth_anything_ros.convert.int8.layers import beside_the_image, is_convolutional
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import openvino

F32 = npt.NDArray[np.float32]

SMOOTH_QUANT_ALPHA = 0.6
_METHOD = (f'NNCF {{}} preset, smooth quant {SMOOTH_QUANT_ALPHA}, ranges from minimum and '
           'maximum of all images, fast bias correction, resizing in floating point')


def method(model: 'openvino.Model') -> str:
    """Return the settings that ``quantize_model`` takes for a model, in words."""
    return _METHOD.format('performance' if is_convolutional(model) else 'transformer')


def quantize_model(model: 'openvino.Model', images: Sequence[F32], kept_float: Iterable[str] = (),
                   compress: bool = True) -> 'openvino.Model':
    """
    Return ``model`` in INT8, with ranges from ``images`` [1, 3, H, W] of its own fixed size.

    ``kept_float`` are nodes that stay in floating point. Without ``compress`` the weights stay in
    f32 behind FakeQuantize nodes, so that single layers can be switched off.

    The encoder's rare, huge activations carry the depth: ranges that clip them (the preset's mean
    over images, histograms) cost several times the error of minimum and maximum. A convolutional
    network has symmetric ranges, which lose hardly more there and are faster.
    """
    # Otherwise NNCF reports its use to its makers.
    os.environ.setdefault('NNCF_CI', '1')
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedSmoothQuantParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    nncf.set_log_level(logging.ERROR)
    parameters = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        smooth_quant_alphas=AdvancedSmoothQuantParameters(matmul=SMOOTH_QUANT_ALPHA),
        backend_params={'compress_weights': compress})
    ignored = nncf.IgnoredScope(names=[*beside_the_image(model), *kept_float],
                                types=['Interpolate'], validate=False)
    # NNCF draws bars of its own across the caller's report.
    with redirect_stdout(io.StringIO()):
        return nncf.quantize(
            model, nncf.Dataset(list(images)), subset_size=len(images), ignored_scope=ignored,
            model_type=None if is_convolutional(model) else nncf.ModelType.TRANSFORMER,
            advanced_parameters=parameters)
