"""The graph computes of 8-bit BGR what the network computes of the reference's input."""

from dataclasses import replace
from pathlib import Path

from depth_anything_ros.inference.devices import open_core
from depth_anything_ros.inference.ir import build_graph
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.vision.self_check import self_check_image
import numpy as np
import pytest
from tiny import MEAN, RGB_WEIGHTS, STD, TINY_INFO, weighted_sum

ov = pytest.importorskip('openvino')

SIZE_HW = (56, 84)


def run(path: Path, image_bgr: np.ndarray, info: ModelInfo = TINY_INFO) -> np.ndarray:
    """Return the output of the built graph in f32."""
    core = open_core()
    graph = build_graph(core.read_model(str(path)), info, image_bgr.shape[:2])
    compiled = core.compile_model(graph, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    return compiled.create_infer_request().infer([image_bgr[None]])[0]


def test_colour_order_and_normalisation_are_undone_by_a_network_that_inverts_them(
        tiny_ir: Path) -> None:
    card = self_check_image(SIZE_HW)
    output = run(tiny_ir, card)
    assert output.shape == (1, *SIZE_HW) and output.dtype == np.float32
    np.testing.assert_allclose(output[0], weighted_sum(card), atol=2e-5)


@pytest.mark.parametrize(('bgr', 'expected'), [
    ((0, 0, 255), 1.0), ((0, 255, 0), 2.0), ((255, 0, 0), 4.0), ((0, 0, 0), 0.0)])
def test_each_colour_goes_to_its_own_plane(
        tiny_ir: Path, bgr: tuple[int, int, int], expected: float) -> None:
    image = np.full((*SIZE_HW, 3), bgr, np.uint8)
    np.testing.assert_allclose(run(tiny_ir, image), expected, atol=2e-5)


def test_mean_and_standard_deviation_are_those_of_the_metadata(tiny_ir: Path) -> None:
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    card = self_check_image(SIZE_HW)
    rgb = card[..., ::-1].astype(np.float64) / 255
    undone = (rgb - mean) / std * STD + MEAN
    output = run(tiny_ir, card, replace(TINY_INFO, mean_rgb=mean, std_rgb=std))
    np.testing.assert_allclose(output[0], undone @ RGB_WEIGHTS, atol=2e-5)


def test_the_graph_is_static_and_takes_the_camera_s_bytes(tiny_ir: Path) -> None:
    graph = build_graph(ov.Core().read_model(str(tiny_ir)), TINY_INFO, SIZE_HW)
    assert list(graph.input(0).shape) == [1, 56, 84, 3]
    assert graph.input(0).element_type == ov.Type.u8
    assert list(graph.output(0).shape) == [1, 56, 84]
    assert graph.output(0).element_type == ov.Type.f32


def test_one_model_gives_graphs_of_many_sizes(tiny_ir: Path) -> None:
    model = ov.Core().read_model(str(tiny_ir))
    sizes = [(28, 42), (56, 42), (14, 14)]
    graphs = [build_graph(model, TINY_INFO, size) for size in sizes]
    assert [tuple(graph.output(0).shape)[1:] for graph in graphs] == sizes
    assert model.input(0).partial_shape.is_dynamic
