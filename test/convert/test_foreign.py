"""Networks that are not Depth Anything: recognised or described, never guessed, and proven."""

from collections.abc import Callable
from pathlib import Path
import re
from typing import Any

from depth_anything_ros.errors import CheckpointError, ModelError
from depth_anything_ros.vision.color_image import ColorImage
import numpy as np
import pytest
from waiting import Outcomes
from yaml_aliases import NESTED

pytest.importorskip('onnx')
openvino = pytest.importorskip('openvino')
pytest.importorskip('onnxruntime')
pytest.importorskip('yaml')

from depth_anything_ros.convert.conversion import Conversion, convert, Job  # noqa: E402, I100
from depth_anything_ros.convert.inspect.inspect import inspect  # noqa: E402
from depth_anything_ros.convert.parity.verify import verify  # noqa: E402
from depth_anything_ros.convert.sources.identity import Overrides  # noqa: E402
from depth_anything_ros.inference.engine import Engine, EngineOptions  # noqa: E402
from depth_anything_ros.inference.ir import read_ir  # noqa: E402
from foreign import FACTS, sum_of, write_facts, write_network, write_zipdepth  # noqa: E402

RNG = np.random.default_rng(0)


def converted(source: Path, describe: Path | None = None, **options: Any) -> Conversion:
    """Return what becomes of a source in fp32; the conversion itself compares both."""
    job = Job(source, source.with_name('out') / 'depth.xml', 'fp32', describe=describe, **options)
    return convert(job, report=lambda line: None)


def run_in_engine(path: Path, image_bgr: np.ndarray, input_size: int = 0) -> np.ndarray:
    """Return what the runtime gives for an 8-bit BGR image."""
    engine = Engine(path, EngineOptions(precision='f32', image_hw=image_bgr.shape[:2],
                                        input_size=input_size))
    try:
        outcomes = Outcomes()
        engine.submit(ColorImage(image_bgr, 'bgr'), outcomes)
        depth: np.ndarray = outcomes.first(1)[0]
        return depth
    finally:
        engine.close()


def picture(*size_hw: int) -> np.ndarray:
    return RNG.integers(0, 256, (*size_hw, 3), np.uint8)


# What a network gives, how it is described, and what its IR must give for s of the image.
OUTPUTS: dict[str, tuple[str, dict[str, Any], Callable[[np.ndarray], np.ndarray]]] = {
    'inverse depth': ('linear', {}, lambda s: s + 1),
    'depth up to scale': ('linear', {'output': 'depth'}, lambda s: 1 / (s + 1)),
    'log depth up to scale': ('log', {'output': 'log_depth'}, lambda s: np.exp(3 - s)),
    'metres': ('exp', {'output': 'depth', 'metres': True}, lambda s: np.exp(s - 3)),
    'log metres': ('log', {'output': 'log_depth', 'metres': True}, lambda s: np.exp(s - 3)),
    'inverse metres': ('linear', {'metres': True}, lambda s: 1 / (s + 1)),
    'metres by the focal length': (
        'linear', {'output': 'depth', 'metres': 'focal', 'focal_px': 300.0}, lambda s: 1 / (s + 1))
}


@pytest.mark.parametrize('what', OUTPUTS)
def test_every_kind_of_output_becomes_inverse_depth_or_metres(tmp_path: Path, what: str) -> None:
    gives, changes, expected = OUTPUTS[what]
    done = converted(write_network(tmp_path / 'a.onnx', {'y': gives}),
                     write_facts(tmp_path / 'a.yaml', **changes))
    image = picture(64, 80)
    np.testing.assert_allclose(run_in_engine(done.path, image), expected(sum_of(image)), rtol=1e-4)
    metres = changes.get('metres', False)
    assert done.info.kind == ('metric' if metres is True else 'relative')
    assert done.info.has_shift == (what == 'inverse depth')
    assert done.info.focal_px == (300.0 if metres == 'focal' else None)
    assert (done.info.model_version, done.parity.against) == ('other', 'ONNX Runtime')
    assert done.parity.worst('OpenVINO') < 1e-3
    assert read_ir(openvino.Core(), done.path)[1] == done.info
    assert verify(done.path, source=tmp_path / 'a.onnx').verdict == 'PASS'


@pytest.mark.parametrize('text', ['{', '[]', '{}', '[' * 5000])
def test_a_damaged_description_of_an_ir_is_named(tmp_path: Path, text: str) -> None:
    source = write_network(tmp_path / 'a.onnx', {'y': 'linear'})
    path = converted(source, write_facts(tmp_path / 'a.yaml')).path
    path.write_text(re.sub('<description value="[^"]*',
                           f'<description value="&quot;{text}&quot;', path.read_text()))
    with pytest.raises(ModelError, match='its description is damaged'):
        verify(path, source=source)
    assert verify(path).verdict == 'PASS'


def test_depth_that_is_not_positive_is_infinitely_far_and_never_negative(tmp_path: Path) -> None:
    done = converted(write_network(tmp_path / 'a.onnx', {'y': 'log'}),
                     write_facts(tmp_path / 'a.yaml', output='depth'))
    image = picture(64, 64)
    s = sum_of(image) - 3
    found = run_in_engine(done.path, image)
    np.testing.assert_array_equal(found == 0, s <= 1e-6)
    np.testing.assert_allclose(found[s > 1e-3], 1 / s[s > 1e-3], rtol=1e-3)


@pytest.mark.parametrize(('color', 'mean', 'std'), [
    ('bgr', [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]), ('rgb', [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]),
    ('bgr', [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]), ('rgb', [0.0, 0.0, 0.0], [1 / 255] * 3)])
def test_order_of_colours_and_range_of_the_input_are_those_of_the_network(
        tmp_path: Path, color: str, mean: list[float], std: list[float]) -> None:
    done = converted(write_network(tmp_path / 'a.onnx', {'y': 'linear'}),
                     write_facts(tmp_path / 'a.yaml', color=color, mean=mean, std=std))
    image = picture(64, 64)
    given = (image[..., ::-1].astype(np.float32) / 255 - mean) / std
    given = given[..., ::-1] if color == 'bgr' else given
    np.testing.assert_allclose(run_in_engine(done.path, image), given @ (1, 2, 4) + 1, rtol=1e-4,
                               atol=1e-3)


def test_a_network_of_one_size_with_a_letterbox_and_a_smaller_map(tmp_path: Path) -> None:
    done = converted(write_network(tmp_path / 'a.onnx', {'y': 'linear'}, shape=(1, 3, 64, 64),
                                   stride=4),
                     write_facts(tmp_path / 'a.yaml', resize='letterbox', multiple=None,
                                 size=None))
    assert (done.info.fixed_size_hw, done.info.output_multiple) == ((64, 64), 16)
    image = np.full((32, 128, 3), (10, 100, 200), np.uint8)
    found = run_in_engine(done.path, image)
    assert found.shape == (4, 16)
    np.testing.assert_allclose(found, sum_of(image[:4, :16]) + 1, rtol=1e-5)


def test_sky_becomes_a_second_output_and_other_outputs_are_left_out(tmp_path: Path) -> None:
    source = write_network(tmp_path / 'a.onnx',
                           {'normal': 'points', 'depth': 'linear', 'sky': 'step', 'conf': 'exp'})
    done = converted(source, write_facts(tmp_path / 'a.yaml', output='depth',
                                         depth_output='depth', sky_output='sky',
                                         sky_threshold=0.3))
    model = openvino.Core().read_model(done.path)
    names = [next(iter(port.get_names())) for port in model.outputs]
    assert (names, done.info.sky_threshold) == (['depth', 'sky'], 0.3)
    assert {row.name for row in done.parity.rows} == {'OpenVINO', 'OpenVINO sky'}
    image = picture(64, 64)
    image[:20] = 5
    s = sum_of(image)
    np.testing.assert_allclose(run_in_engine(done.path, image), np.where(s < 1, 0, 1 / (s + 1)),
                               rtol=1e-4)


def test_a_mask_of_what_is_not_sky_is_inverted_and_metres_there_are_nan(tmp_path: Path) -> None:
    source = write_network(tmp_path / 'a.onnx', {'z': 'exp', 'far': 'step'})
    done = converted(source, write_facts(
        tmp_path / 'a.yaml', output='depth', metres=True, depth_output='z', sky_output='far',
        sky_threshold=0.5, sky_inverted=True))
    image = picture(64, 64)
    s = sum_of(image)
    np.testing.assert_allclose(run_in_engine(done.path, image),
                               np.where(s < 1, np.exp(s - 3), np.nan), rtol=1e-4)


def test_inputs_beside_the_image_get_their_constant(tmp_path: Path) -> None:
    source = write_network(tmp_path / 'a.onnx', {'y': 'linear'}, constants=('num_tokens',))
    with pytest.raises(CheckpointError, match='it has the inputs image, num_tokens; state'):
        converted(source, write_facts(tmp_path / 'a.yaml'))
    facts = write_facts(tmp_path / 'a.yaml', constants={'num_tokens': 3})
    done = converted(source, facts)
    image = picture(64, 64)
    np.testing.assert_allclose(run_in_engine(done.path, image), 3 * sum_of(image) + 1, rtol=1e-4)
    with pytest.raises(CheckpointError, match='it has no input tokens'):
        converted(source, write_facts(tmp_path / 'a.yaml', constants={'tokens': 3}),
                  overwrite=True)


def test_an_ir_without_metadata_is_described_too(tmp_path: Path) -> None:
    openvino.save_model(openvino.convert_model(write_network(
        tmp_path / 'a.onnx', {'y': 'linear'})), tmp_path / 'plain.xml', compress_to_fp16=False)
    done = converted(tmp_path / 'plain.xml', write_facts(tmp_path / 'a.yaml', output='depth',
                                                         color='bgr'))
    assert done.parity.against == 'OpenVINO'
    image = picture(64, 64)
    np.testing.assert_allclose(run_in_engine(done.path, image),
                               1 / (sum_of(image[..., ::-1]) + 1), rtol=1e-4)


def test_limits_of_the_sides_hold_in_every_conversion_and_at_run_time(tmp_path: Path) -> None:
    done = converted(write_network(tmp_path / 'a.onnx', {'y': 'linear'}),
                     write_facts(tmp_path / 'a.yaml', min_side=48, max_side=96))
    assert done.info.side_limits == (48, 96)
    assert run_in_engine(done.path, picture(40, 200)).shape == (48, 96)


@pytest.mark.parametrize('unfold', [True, False])
def test_zipdepth_is_recognised_by_its_layers(tmp_path: Path, unfold: bool) -> None:
    pytest.importorskip('torch')
    source = write_zipdepth(tmp_path / 'exported.onnx', (64, 96), unfold=unfold)
    found = inspect(source)
    assert (found.family, found.missing, found.facts['output']) == (
        'ZipDepth', {}, 'inverse_depth')
    done = converted(source)
    info = done.info
    assert (info.encoder, info.kind, info.fixed_size_hw, info.interpolation) == (
        'zipdepth', 'relative', (64, 96), 'linear')
    assert (info.mean_rgb, info.std_rgb) == ((0, 0, 0), (1, 1, 1))
    assert done.parity.worst('OpenVINO') < 1e-3


def test_yolo_depth_is_recognised_by_what_its_exporter_wrote(tmp_path: Path) -> None:
    properties = {'author': 'Ultralytics', 'task': 'depth', 'stride': '32',
                  'license': 'AGPL-3.0 License (https://ultralytics.com/license)'}
    source = write_network(tmp_path / 'a.onnx', {'output0': 'exp'}, given='images', opset=19,
                           shape=(1, 3, 64, 64), properties=properties)
    info = converted(source).info
    assert (info.kind, info.max_depth_m, info.resize, info.licence) == (
        'metric', None, 'stretch', 'AGPL-3.0')
    image = picture(64, 64)
    np.testing.assert_allclose(run_in_engine(tmp_path / 'out' / 'depth.xml', image),
                               np.exp(sum_of(image) - 3), rtol=1e-4)
    again = convert(Job(tmp_path / 'out' / 'depth.xml', tmp_path / 'again.xml'),
                    report=lambda line: None)
    assert (again.info.max_depth_m, again.info.description) == (None, info.description)
    other = write_network(tmp_path / 'b.onnx', {'output0': 'exp'}, shape=(1, 3, 64, 64),
                          properties={**properties, 'task': 'segment'})
    with pytest.raises(CheckpointError, match='its kind is unknown'):
        converted(other, overwrite=True)


def test_facts_of_a_file_replace_those_of_a_family(tmp_path: Path) -> None:
    source = write_network(tmp_path / 'a.onnx', {'output0': 'exp'}, shape=(1, 3, 64, 64),
                           properties={'author': 'Ultralytics', 'task': 'depth'})
    facts = tmp_path / 'a.yaml'
    facts.write_text('resize: letterbox\nmax_depth: 150\n')
    info = converted(source, facts).info
    assert (info.resize, info.max_depth_m, info.kind) == ('letterbox', 150, 'metric')


def test_moge_is_recognised_and_refused_with_the_reason(tmp_path: Path) -> None:
    source = write_network(tmp_path / 'a.onnx', {
        'points': 'points', 'normal': 'points', 'mask': 'step', 'metric_scale': 'number'},
        constants=('num_tokens',))
    with pytest.raises(CheckpointError, match='it is MoGe-2: its points have an unknown shift'):
        converted(source)
    assert 'unknown shift' in inspect(source).refusal


def test_depth_anything_3_from_other_exporters_is_asked_for_its_metres(tmp_path: Path) -> None:
    import onnx

    source = write_network(tmp_path / 'a.onnx', {'depth': 'exp', 'sky': 'step'})
    model = onnx.load(source)
    for index, name in enumerate(('model.backbone.pretrained.norm.bias',
                                  'model.head.scratch.sky_output_conv2.0.bias')):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([index]), name))
    onnx.save(model, source)
    with pytest.raises(CheckpointError, match=r'1 facts .* unknown \(metres: true, false, or foc'):
        converted(source)
    facts = tmp_path / 'a.yaml'
    facts.write_text('metres: focal\nfocal_px: 300\ndepth_output: depth\nsky_output: sky\n'
                     'sky_threshold: 0.3\n')
    info = converted(source, facts).info
    assert (info.focal_px, info.resize, info.patch_multiple) == (300, 'longest_side', 14)


def test_an_unknown_network_is_refused_with_the_list_of_what_to_state(tmp_path: Path) -> None:
    source = write_network(tmp_path / 'a.onnx', {'y': 'linear'})
    with pytest.raises(CheckpointError, match=r'its kind is unknown.*or describe .* with '
                       r'depth_anything_convert convert \S+\.onnx --describe FILE\.yaml'):
        converted(source)
    facts = tmp_path / 'a.yaml'
    facts.write_text('output: depth\nmetres: focal\nsky_output: y\n')
    with pytest.raises(CheckpointError) as refusal:
        converted(source, facts)
    for name in ('resize', 'color', 'mean', 'std', 'multiple', 'size', 'focal_px',
                 'sky_threshold'):
        assert f'{name}: ' in str(refusal.value)
    assert 'output: ' not in str(refusal.value).replace('sky_output: ', '')
    found = inspect(source)
    assert found.family is None
    assert set(found.missing) == {*FACTS}
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(('changes', 'message'), [
    ({'output': 'disparity'}, "output is 'disparity', not one of inverse_depth, depth, log_depth"),
    ({'metres': 'yes please'}, 'metres is .*not one of true, false, focal'),
    ({'metres': 1}, 'metres is 1, not one of'),
    ({'mean': [0.5]}, r'mean is \[0.5\], not three numbers'),
    ({'std': [1, 1, 0]}, 'std is .*not three positive numbers'),
    ({'multiple': 0}, 'multiple is 0, not a number of pixels'),
    ({'focal_px': -1}, 'focal_px is -1, not a positive number'),
    ({'focal_px': 300}, 'focal_px is given, but metres is not focal'),
    ({'max_depth': 80}, 'max_depth is given, but the output is not in metres'),
    ({'sky_inverted': 'no'}, 'sky_inverted is .*not one of true, false'),
    ({'constants': {'n': 'x'}}, 'constants is .*not a number for each'),
    ({'channels': 3}, "it has 'channels', which is no fact.*use output, metres"),
    ({'depth_output': 'z'}, 'it has no output z; state one of y'),
    ({'sky_output': 'sky', 'sky_threshold': 0.5}, 'it has no output sky')])
def test_a_description_that_cannot_be_right_is_named(
        tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    source = write_network(tmp_path / 'a.onnx', {'y': 'linear'})
    with pytest.raises(CheckpointError, match=message):
        converted(source, write_facts(tmp_path / 'a.yaml', **changes))


@pytest.mark.parametrize(('text', 'message'), [
    ('', 'it holds no facts'), ('- a', 'it holds no facts'), ('a: [', 'it is not YAML'),
    ('depth_output: a\ndepth_output: b', '.*the key depth_output is there 2 times')])
def test_a_file_without_facts_is_named(tmp_path: Path, text: str, message: str) -> None:
    facts = tmp_path / 'a.yaml'
    facts.write_text(text)
    with pytest.raises(CheckpointError, match=f'a.yaml: {message}'):
        converted(write_network(tmp_path / 'a.onnx', {'y': 'linear'}), facts)


def test_a_description_excludes_options_of_depth_anything_and_checkpoints(tmp_path: Path) -> None:
    source, facts = write_network(tmp_path / 'a.onnx', {'y': 'linear'}), tmp_path / 'a.yaml'
    with pytest.raises(CheckpointError, match='--kind.* belong to Depth Anything; state the fact'):
        converted(source, write_facts(facts), overrides=Overrides('relative', 'v2'))
    for overrides in (Overrides('relative', 'v3'), Overrides('relative', 'v2', focal_px=300.0)):
        with pytest.raises(CheckpointError, match='belong to checkpoints; state the facts'):
            converted(source, overrides=overrides)
    with pytest.raises(CheckpointError, match='a.pth: --describe belongs to ONNX files and IRs'):
        converted(tmp_path / 'a.pth', facts)


def test_a_map_that_is_no_part_of_the_image_is_refused(tmp_path: Path) -> None:
    source = write_network(tmp_path / 'a.onnx', {'y': 'linear'}, stride=5)
    with pytest.raises(CheckpointError, match='its output is .* not the same number of pixels'):
        converted(source, write_facts(tmp_path / 'a.yaml'))


@pytest.mark.parametrize(('changes', 'options', 'message'), [
    ({}, {'size_hw': (16640, 16)}, '16x16640 pixels is too large for the self-check of an IR'),
    ({'min_side': 4096}, {}, '4096x4096 pixels is too large for the self-check of an IR'),
    ({'min_side': 500, 'max_side': 100}, {}, 'no side from min_side 500 to max_side 100 is a'),
    ({'min_side': 65, 'max_side': 79}, {}, 'is a multiple of 16'),
    ({'sky_output': 'y', 'sky_threshold': 0.5}, {}, 'depth and sky are both its output y')])
def test_facts_with_which_the_ir_could_not_be_used_are_refused(
        tmp_path: Path, changes: dict[str, Any], options: dict[str, Any], message: str) -> None:
    """Metadata that the runtime refuses must not be written."""
    source = write_network(tmp_path / 'a.onnx', {'y': 'linear'})
    with pytest.raises(CheckpointError, match=message):
        converted(source, write_facts(tmp_path / 'a.yaml', **changes), **options)
    assert not (tmp_path / 'out').exists()


def test_aliases_that_would_become_gigabytes_of_text_are_not_printed(tmp_path: Path) -> None:
    source, facts = write_network(tmp_path / 'a.onnx', {'y': 'linear'}), tmp_path / 'a.yaml'
    facts.write_text(f'output: {NESTED}')
    with pytest.raises(CheckpointError, match='output is nested, not one of'):
        converted(source, facts)


def test_a_description_nested_too_deep_is_not_yaml(tmp_path: Path) -> None:
    facts = tmp_path / 'a.yaml'
    facts.write_text('[' * 5000)
    with pytest.raises(CheckpointError, match='a.yaml: it is not YAML'):
        converted(write_network(tmp_path / 'a.onnx', {'y': 'linear'}), facts)
