"""The graph that runs: 8-bit BGR in, f32 depth out, all preprocessing but the resize inside."""

from typing import TYPE_CHECKING

from depth_anything_ros.model_info import ModelInfo

if TYPE_CHECKING:
    import openvino as ov


def build_graph(model: 'ov.Model', info: ModelInfo, network_hw: tuple[int, int]) -> 'ov.Model':
    """
    Return a static copy of ``model``: u8 BGR [1, H, W, 3] of network_hw to f32 [1, H, W].

    Colour order, conversion to f32, mean and standard deviation become nodes of the graph.
    """
    from openvino import Layout, Type
    from openvino.preprocess import ColorFormat, PrePostProcessor
    graph = model.clone()
    graph.reshape([1, 3, *network_hw])
    processor = PrePostProcessor(graph)
    image = processor.input()
    image.tensor().set_element_type(Type.u8).set_layout(Layout('NHWC'))
    image.tensor().set_color_format(ColorFormat.BGR)
    image.model().set_layout(Layout('NCHW'))
    steps = image.preprocess().convert_element_type(Type.f32)
    steps.convert_color(ColorFormat.RGB)
    steps.mean([255 * value for value in info.mean_rgb])
    steps.scale([255 * value for value in info.std_rgb])
    processor.output().tensor().set_element_type(Type.f32)
    return processor.build()
