"""The graph that runs: 8-bit BGR in, depth at the image's size out, everything else inside."""

from typing import TYPE_CHECKING

from depth_anything_ros.model_info import ModelInfo
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import openvino as ov

Size = tuple[int, int]


def build_graph(model: 'ov.Model', info: ModelInfo, network_hw: Size,
                image_hw: Size | None) -> 'ov.Model':
    """
    Return a static copy of ``model``: u8 BGR [1, H, W, 3] of network_hw to f32 [h, w] of image_hw.

    Colour order, conversion to f32, mean and standard deviation are graph nodes. The output is
    resized bilinearly with aligned corners, as the reference does; ``image_hw`` None leaves it at
    the network's size.
    """
    graph = model.clone()
    height, width = network_hw
    graph.reshape([1, 3, height, width])
    return _with_output_size(_with_input(graph, info), network_hw, image_hw)


def _with_input(graph: 'ov.Model', info: ModelInfo) -> 'ov.Model':
    from openvino import Layout, Type
    from openvino.preprocess import ColorFormat, PrePostProcessor
    processor = PrePostProcessor(graph)
    image = processor.input()
    image.tensor().set_element_type(Type.u8).set_layout(Layout('NHWC'))
    image.tensor().set_color_format(ColorFormat.BGR)
    image.model().set_layout(Layout('NCHW'))
    steps = image.preprocess().convert_element_type(Type.f32)
    steps.convert_color(ColorFormat.RGB)
    steps.mean([255 * value for value in info.mean_rgb])
    steps.scale([255 * value for value in info.std_rgb])
    return processor.build()


def _with_output_size(graph: 'ov.Model', network_hw: Size, image_hw: Size | None) -> 'ov.Model':
    import openvino as ov
    from openvino import opset11
    depth = graph.output(0).get_node().input_value(0)
    target_hw = image_hw or network_hw
    depth = opset11.reshape(depth, _sizes(1, 1, *network_hw), special_zero=False).output(0)
    if target_hw != network_hw:
        depth = opset11.interpolate(
            depth, _sizes(*target_hw), 'linear_onnx', 'sizes',
            coordinate_transformation_mode='align_corners',
            axes=_sizes(2, 3)).output(0)
    depth = opset11.reshape(depth, _sizes(*target_hw), special_zero=False).output(0)
    return ov.Model([opset11.result(depth)], graph.get_parameters(), 'depth_anything')


def _sizes(*values: int) -> npt.NDArray[np.int64]:
    return np.array(values, np.int64)
