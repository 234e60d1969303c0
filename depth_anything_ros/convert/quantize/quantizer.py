"""Quantization with NNCF: the settings that turn a model into INT8."""

from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
import io
import logging
import os
from typing import TYPE_CHECKING

from depth_anything_ros.arrays import F32
from depth_anything_ros.convert.quantize.layers import layers_independent_of_image
from depth_anything_ros.process import keep_signal_stack

if TYPE_CHECKING:
    import openvino

SMOOTH_QUANT_ALPHA = 0.6
# Values of an activation that share a scale in dynamic quantization. OpenVINO's own 32 takes a
# fifth longer and is not more exact; the width of every encoder is a multiple of 128.
DYNAMIC_GROUP_SIZE = 128
_CONVOLUTIONS = ['Convolution', 'ConvolutionBackpropData', 'GroupConvolution']


def method(smooth_quant: float) -> str:
    """Return the settings of ``quantize_model`` in words."""
    return (f'NNCF transformer preset, smooth quant {smooth_quant:g}, ranges from minimum and '
            'maximum of all images, fast bias correction, resizing in floating point; matrix '
            f'products without ranges: dynamic quantization in groups of {DYNAMIC_GROUP_SIZE}')


def quantize_model(model: 'openvino.Model', images: Sequence[F32], kept_float: Iterable[str] = (),
                   compress: bool = True,
                   smooth_quant: float = SMOOTH_QUANT_ALPHA) -> 'openvino.Model':
    """
    Return ``model`` in INT8, calibrated with ``images`` [1, 3, H, W] of its fixed input size.

    ``kept_float`` are the nodes whose activations get no range: matrix products are then quantized
    dynamically (``compress_products``), others stay in floating point. Without ``compress`` no
    weight is in 8 bit yet; ``without_quantizers`` can remove the FakeQuantize nodes.
    ``smooth_quant`` is the share, 0 to 1, of the range of a matrix product's activations that
    moves into its weights (alpha of Xiao et al., SmoothQuant, 2023).

    The depth depends on rare, huge activations of the encoder: ranges that clip them (the preset's
    mean over images, histograms) cause several times the error of minimum and maximum.
    """
    # Otherwise NNCF sends usage statistics to its developers.
    os.environ.setdefault('NNCF_CI', '1')
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedSmoothQuantParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    nncf.set_log_level(logging.ERROR)
    parameters = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        smooth_quant_alphas=AdvancedSmoothQuantParameters(matmul=smooth_quant),
        backend_params={'compress_weights': compress})
    ignored = nncf.IgnoredScope(names=[*layers_independent_of_image(model), *kept_float],
                                types=['Interpolate'], validate=False)
    # NNCF prints progress bars across the caller's report.
    with redirect_stdout(io.StringIO()), keep_signal_stack():
        quantized = nncf.quantize(
            model, nncf.Dataset(list(images)), subset_size=len(images), ignored_scope=ignored,
            model_type=nncf.ModelType.TRANSFORMER, advanced_parameters=parameters)
    return compress_products(quantized) if compress else quantized


def compress_products(model: 'openvino.Model') -> 'openvino.Model':
    """
    Return ``model`` with the weights of matrix products in 8 bit where they are not yet.

    OpenVINO rounds the activations of such a product to 8 bit as they come, with one scale per
    token and group of ``DYNAMIC_GROUP_SIZE`` values.
    """
    import nncf

    ignored = nncf.IgnoredScope(names=layers_independent_of_image(model), types=_CONVOLUTIONS,
                                validate=False)
    with redirect_stdout(io.StringIO()), keep_signal_stack():
        compressed = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM,
                                           ignored_scope=ignored)
    compressed.set_rt_info(str(DYNAMIC_GROUP_SIZE),
                           ['runtime_options', 'DYNAMIC_QUANTIZATION_GROUP_SIZE'])
    return compressed
