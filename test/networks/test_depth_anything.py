"""The network: encoders by shape, strict keys, what V1, V2 and metric change."""

from collections.abc import Callable
import dataclasses
from typing import Any

from depth_anything_ros.networks.models import (
    EncoderSpec, find_encoder, identify_network, MEAN_RGB, MODELS, STD_RGB,
    TINY_INPUT, VIT_INPUT)
from depth_anything_ros.vision.self_check import self_check_image
from depth_anything_ros.vision.transforms import normalize
import pytest

torch = pytest.importorskip('torch')

from depth_anything_ros.networks.depth_anything import (  # noqa: E402, I100
    build_network, DepthAnything)

Weights = Callable[..., dict[str, Any]]
CARD = torch.from_numpy(normalize(self_check_image((70, 98)), MEAN_RGB, STD_RGB))


def shapes_of(weights: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in weights.items()}


@pytest.mark.parametrize(('spec', 'parameters_m'), [
    *zip(MODELS, (24.8, 97.5, 335.3, 1300, 6.4, 21.2))])
def test_each_encoder_of_the_table_is_found_and_has_its_size(
        spec: EncoderSpec, parameters_m: float) -> None:
    with torch.device('meta'):
        weights = DepthAnything(spec, 'v2').state_dict()
    assert identify_network(shapes_of(weights)) is spec
    assert sum(value.numel() for value in weights.values()) / 1e6 == pytest.approx(
        parameters_m, rel=0.04)


def test_of_two_models_with_one_width_the_feed_forward_parts_decide(
        tiny: EncoderSpec, tiny_light: EncoderSpec, make_weights: Weights) -> None:
    for table in ((tiny, tiny_light), (tiny_light, tiny)):
        for spec in table:
            assert identify_network(shapes_of(make_weights(spec)), table) is spec
    weights = make_weights(dataclasses.replace(tiny, hidden=160))
    assert identify_network(shapes_of(weights), (tiny, tiny_light)) is tiny


def test_a_head_for_small_images_ends_at_eight_cells_per_patch(
        tiny_light: EncoderSpec, make_weights: Weights) -> None:
    network = build_network(tiny_light, 'v2', None, make_weights(tiny_light))
    depth = network(CARD)
    assert depth.shape == (1, *network.input_spec.output_hw((70, 98))) == (1, 40, 56)
    assert depth.std() > 0
    with pytest.raises(ValueError, match='tiny_light ends at 8 cells per patch'):
        DepthAnything(dataclasses.replace(tiny_light, input_spec=dataclasses.replace(
            tiny_light.input_spec, output_multiple=4)), 'v2')


def test_each_network_names_sizes_that_it_takes() -> None:
    assert VIT_INPUT.sizes_hw == ((518, 518), (392, 518), (518, 686))
    assert TINY_INPUT.sizes_hw == ((196, 196), (140, 196), (196, 266))
    assert VIT_INPUT.card_size_hw == TINY_INPUT.card_size_hw == (196, 252)
    assert TINY_INPUT.output_hw((196, 266)) == (112, 152)


def test_vitg_has_the_inner_width_of_swiglu() -> None:
    assert find_encoder('vitg').hidden_width == 4096


def test_an_encoder_that_is_not_in_the_table_is_named(
        tiny: EncoderSpec, make_weights: Weights) -> None:
    with pytest.raises(ValueError, match='48 wide and 5 blocks deep.*vits 384x12'):
        identify_network(shapes_of(make_weights(tiny)))


def test_output_has_the_size_of_the_input_for_every_image_of_a_batch(
        tiny: EncoderSpec, make_weights: Weights) -> None:
    network = build_network(tiny, 'v2', None, make_weights(tiny))
    both = network(torch.cat([CARD, CARD.flip(3)]))
    assert both.shape == (2, 70, 98)
    assert torch.allclose(both[0], network(CARD)[0], atol=1e-4)
    assert not torch.allclose(both[0], both[1], atol=1e-2)


def test_v1_reads_other_blocks_and_gives_another_depth(
        tiny: EncoderSpec, make_weights: Weights) -> None:
    weights = make_weights(tiny)
    first, second = (build_network(tiny, version, None, weights)(CARD)
                     for version in ('v1', 'v2'))
    assert tiny.blocks_read('v1') == (1, 2, 3, 4)
    assert (first - second).abs().max() > 0.1 * second.std()
    same = dataclasses.replace(tiny, blocks_v2=(1, 2, 3, 4))
    assert torch.equal(first, build_network(same, 'v2', None, weights)(CARD))


def test_metric_is_bounded_by_max_depth_and_scales_with_it(
        tiny: EncoderSpec, make_weights: Weights) -> None:
    weights = make_weights(tiny)
    near, far = (build_network(tiny, 'v2', metres, weights)(CARD) for metres in (20.0, 80.0))
    assert near.min() >= 0 and near.max() <= 20
    assert torch.allclose(4 * near, far)
    assert not torch.allclose(near, build_network(tiny, 'v2', None, weights)(CARD))


def test_relative_depth_is_never_negative(tiny: EncoderSpec, make_weights: Weights) -> None:
    weights = make_weights(tiny)
    weights['depth_head.scratch.output_conv2.2.bias'] -= 2.5
    depth = build_network(tiny, 'v2', None, weights)(CARD)
    assert depth.min() == 0 < depth.max()


def test_weights_in_half_precision_are_computed_in_f32(
        tiny: EncoderSpec, make_weights: Weights) -> None:
    halves = {name: value.half() for name, value in make_weights(tiny).items()}
    assert build_network(tiny, 'v2', None, halves)(CARD).dtype == torch.float32


@pytest.mark.parametrize(('change', 'message'), [
    (lambda weights: weights.pop('pretrained.norm.bias'), 'missing: pretrained.norm.bias'),
    (lambda weights: weights.update(extra=torch.zeros(1)), 'unexpected: extra'),
    (lambda weights: weights.update({'pretrained.pos_embed': torch.zeros(1, 257, 48)}),
     r'pretrained.pos_embed is \[1, 257, 48\] instead of \[1, 1370, 48\]'),
    (lambda weights: weights.update({'pretrained.cls_token': torch.zeros(1, 1, 48).long()}),
     'wrong type: pretrained.cls_token is torch.int64'),
    (lambda weights: weights['pretrained.cls_token'].fill_(float('nan')),
     'not finite: pretrained.cls_token'),
])
def test_weights_that_do_not_fit_are_named(
        tiny: EncoderSpec, make_weights: Weights, change: Callable[[dict[str, Any]], Any],
        message: str) -> None:
    weights = make_weights(tiny)
    change(weights)
    with pytest.raises(ValueError, match=message):
        build_network(tiny, 'v2', None, weights)


def test_of_many_wrong_names_the_first_three_are_given(
        tiny: EncoderSpec, make_weights: Weights) -> None:
    weights = {name.replace('norm1', 'norm_1'): value
               for name, value in make_weights(tiny).items()}
    with pytest.raises(ValueError, match=r'missing: [^,]+, [^,]+, [^,]+ and 7 more'):
        build_network(tiny, 'v2', None, weights)


def test_a_foreign_tensor_that_fits_into_no_memory_is_named_unread(
        tiny: EncoderSpec, make_weights: Weights) -> None:
    weights = {**make_weights(tiny), 'huge': torch.zeros(1).expand(10 ** 7, 10 ** 7)}
    with pytest.raises(ValueError, match='^unexpected: huge$'):
        build_network(tiny, 'v2', None, weights)
