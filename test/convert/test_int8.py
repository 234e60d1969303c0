"""INT8: what is measured, which layers go without ranges, and a model that meets a gate."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from bags import RAW, raw_image, write_bag
import cv2
from depth_anything_ros.convert.quantize.gate import Gate, Loss, MapsAgreement
from depth_anything_ros.convert.quantize.layers import Layer, quantized_layers
from depth_anything_ros.convert.quantize.search import by_cost, enough_float, predicted_error
from depth_anything_ros.errors import CheckpointError, ImageError, ModelError, QualityError
from depth_anything_ros.model_info import SECTION
from depth_anything_ros.vision.self_check import self_check_image
import numpy as np
import pytest

SIZE_HW = (98, 126)
# Above what bf16 costs this network of random weights, below what all layers in INT8 cost.
GATE = Gate(0.018, 0.03, 0.985)


def layer(name: str, cost: float = 1.0) -> Layer:
    return Layer(name, name, frozenset({f'{name}/fq'}), cost)


def test_the_loss_is_the_mean_and_the_worst_over_images() -> None:
    loss = Loss.of([MapsAgreement(0.01, 0.999), MapsAgreement(0.03, 0.99)])
    assert loss == Loss(pytest.approx(0.02), 0.03, 0.99)


@pytest.mark.parametrize(('loss', 'excess'), [
    (Loss(0.012, 0.01, 1.0), 1.0), (Loss(0.006, 0.06, 1.0), 2.0), (Loss(0.006, 0.01, 0.98), 2.0),
    (Loss(float('inf'), float('inf'), 0.0), float('inf'))],
    ids=['mean', 'worst', 'pearson', 'no depth'])
def test_the_gate_says_by_how_much_the_error_is_too_large(loss: Loss, excess: float) -> None:
    assert Gate(0.012, 0.03, 0.995).excess(loss) == pytest.approx(excess)


@pytest.mark.parametrize('limits', [(0.0, 0.03, 0.9), (0.01, -1.0, 0.9), (0.01, 0.03, 1.0)])
def test_a_gate_that_no_model_can_meet_is_refused(limits: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match='must be positive'):
        Gate(*limits)


def test_errors_of_layers_add_up_as_squares() -> None:
    errors = {'a': 3.0, 'b': 4.0, 'c': 12.0}
    assert predicted_error(errors, frozenset()) == pytest.approx(13.0)
    assert predicted_error(errors, frozenset({'c'})) == pytest.approx(5.0)


def test_the_layer_with_the_most_error_for_its_time_goes_first_and_no_more_than_needed() -> None:
    layers = [layer('big', 100.0), layer('small'), layer('harmless')]
    errors = {'big': 4.0, 'small': 3.0, 'harmless': 0.1}
    order = by_cost(layers, errors)
    assert order == ['small', 'big', 'harmless']
    assert enough_float(order, errors, 0, allowed=4.5) == 1
    assert enough_float(order, errors, 0, allowed=1.0) == 2


def test_at_least_one_layer_is_added_so_that_the_search_ends() -> None:
    assert enough_float(['a', 'b'], {'a': 1.0, 'b': 1.0}, 1, allowed=9.0) == 2
    assert enough_float(['a', 'b'], {'a': 1.0, 'b': 1.0}, 2, allowed=0.0) == 2


def scene(seed: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """Return the test card under random light, moved and mirrored."""
    rng = np.random.default_rng(seed)
    card = self_check_image((size_hw[0] + 20, size_hw[1] + 20))
    top, left = rng.integers(0, 20, 2)
    crop = card[top:top + size_hw[0], left:left + size_hw[1]]
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop
    return np.clip(crop * rng.uniform(0.5, 1.3, 3) + rng.normal(0, 6, crop.shape),
                   0, 255).astype(np.uint8)


@pytest.fixture(scope='module')
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of eight small pictures, one of another shape, and a broken one."""
    folder = tmp_path_factory.mktemp('pictures')
    for seed in range(8):
        size_hw = SIZE_HW if seed else (SIZE_HW[0], SIZE_HW[1] + 28)
        cv2.imwrite(str(folder / f'{seed}.png'), scene(seed, size_hw))
    (folder / '9.png').write_bytes(b'no picture')
    return folder


@pytest.fixture(scope='module')
def model(tiny_conversion: tuple[Any, list[str]]) -> Path:
    """Return the IR of a narrow network with random weights."""
    pytest.importorskip('nncf')
    path: Path = tiny_conversion[0].path
    return path


def make_job(model: Path, pictures: Path, output: Path, **changes: Any) -> Any:
    """Return a job for the small pictures."""
    from depth_anything_ros.convert.quantize.quantize import QuantizeJob
    return replace(QuantizeJob(model, output, str(pictures), input_size=SIZE_HW[0]), **changes)


@pytest.fixture(scope='module')
def done(model: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what came of a gate that the network meets only with layers without ranges."""
    from depth_anything_ros.convert.quantize.quantize import quantize
    lines: list[str] = []
    output = tmp_path_factory.mktemp('int8') / 'int8.xml'
    result = quantize(make_job(model, pictures, output, gate=GATE),
                      report=lines.append)
    return result, lines


def test_layers_lose_their_ranges_until_the_gate_is_met(done: Any) -> None:
    result, lines = done
    first, last = result.trials[0], result.trials[-1]
    assert first.kept_float == () and GATE.excess(first.loss) > 1
    assert 0 < len(last.kept_float) < 55 and GATE.excess(last.loss) <= 1
    missed = [len(trial.kept_float) for trial in result.trials if GATE.excess(trial.loss) > 1]
    assert any(0 < len(last.kept_float) - count <= 4 for count in missed), 'fewer layers do'
    assert any('9.png is left out' in line for line in lines)
    assert any('6 images for calibration, 2 for the gate' in line for line in lines)


def test_the_file_records_the_layers_and_the_loss(done: Any) -> None:
    from depth_anything_ros.inference.ir import read_model
    import openvino
    result, _ = done
    model, info = read_model(openvino.Core(), result.path)
    assert info == result.info and info.precision == 'int8'
    assert info.quantization is not None
    assert info.quantization.kept_float == result.trials[-1].kept_float
    assert {name.split('.')[0] for name in info.quantization.kept_float} <= {
        'pretrained', 'depth_head'}
    assert (info.quantization.calibration_images, info.quantization.images) == (6, 2)


def test_a_matrix_product_without_ranges_has_weights_in_8_bit_too(
        model: Path) -> None:
    from depth_anything_ros.convert.quantize.images import inputs_of_one_size
    from depth_anything_ros.convert.quantize.layers import nodes_dependent_on_image
    from depth_anything_ros.convert.quantize.quantizer import quantize_model
    import openvino
    from tiny import TINY_INFO
    core = openvino.Core()
    whole = core.read_model(model)
    images = inputs_of_one_size([scene(1), scene(2)], TINY_INFO, SIZE_HW[0])
    fixed = whole.clone()
    fixed.reshape(list(images[0].shape))
    reached = nodes_dependent_on_image(fixed)
    products = [node.get_friendly_name() for node in fixed.get_ordered_ops()
                if node.get_type_name() == 'MatMul' and node.get_name() in reached]
    quantized = quantize_model(fixed, images, products)
    stored = []
    for node in quantized.get_ops():
        if node.get_friendly_name() in products:
            weights = node.input_value(1).get_node()
            while weights.get_type_name() in ('Convert', 'Multiply'):
                weights = weights.input_value(0).get_node()
            stored.append(weights.get_element_type().get_type_name())
    assert stored == ['i8'] * len(products) and len(products) > 10
    group = quantized.get_rt_info(['runtime_options', 'DYNAMIC_QUANTIZATION_GROUP_SIZE'])
    assert group.astype(str) == '128'
    # The table of positions must stay foldable: only then does a model of one size compile.
    found, expected = (core.compile_model(one, 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})(
        [images[0]])[0] for one in (quantized, fixed))
    assert np.abs(found - expected).mean() < 0.3 * expected.std()


def test_the_file_runs_at_any_size_and_keeps_the_depth(done: Any, model: Path) -> None:
    from depth_anything_ros.inference.engine import Engine, EngineOptions
    from depth_anything_ros.inference.pool import wait_for_one
    from depth_anything_ros.vision.agreement import agreement
    from depth_anything_ros.vision.color_image import ColorImage
    result, _ = done
    options = EngineOptions(precision='f32', image_hw=SIZE_HW, input_size=SIZE_HW[0])
    engines = [Engine(path, options) for path in (result.path, model)]
    for size_hw in (SIZE_HW, (140, 98)):
        image = ColorImage(scene(99, size_hw), 'bgr')
        found, expected = (wait_for_one(partial(engine.submit, image)) for engine in engines)
        assert agreement(found, expected, relative=True).abs_rel < 0.02
    for engine in engines:
        engine.close()


def test_a_gate_that_cannot_be_met_leaves_no_file_unless_forced(
        model: Path, pictures: Path, tmp_path: Path) -> None:
    from depth_anything_ros.convert.quantize import quantize as module
    from depth_anything_ros.convert.quantize.quantizer import quantize_model
    import openvino
    output = tmp_path / 'int8.xml'
    job = make_job(model, pictures, output, gate=Gate(1e-9, 1e-9, 0.995))
    kinds = ('MatMul', 'Convolution', 'ScaledDotProductAttention')
    nodes = [node.get_friendly_name() for node in openvino.Core().read_model(model).get_ops()
             if node.get_type_name() in kinds][:-2]

    made: dict[bool, Any] = {}

    def stubborn(fixed: Any, images: Any, kept_float: Any = (), compress: bool = True) -> Any:
        """Quantize the same two layers for every choice of ``kept_float``."""
        if compress not in made:
            made[compress] = quantize_model(fixed, images[:2], nodes, compress)
        return made[compress].clone()

    with pytest.raises(QualityError, match=r'loses AbsRel .* allowed are AbsRel 1e-09'):
        module.quantize(job, report=lambda line: None, quantizer=stubborn)
    assert list(tmp_path.iterdir()) == []
    lines: list[str] = []
    forced = module.quantize(replace(job, force=True), report=lines.append, quantizer=stubborn)
    assert sum('misses the gate, AbsRel 1e-09 mean' in line for line in lines) == 1
    assert output.is_file() and forced.info.quantization is not None
    assert forced.info.quantization.abs_rel_mean > 1e-9
    # The last choice is every layer: products then still have weights in 8 bit.
    assert max(len(trial.kept_float) for trial in forced.trials) == len(
        quantized_layers(made[False]))


def test_an_output_is_replaced_only_by_one_that_passes_the_gate(
        tiny_ir: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from depth_anything_ros.convert import conversion
    from openvino import opset13 as op

    def distorted(model: Any, images: Any, kept_float: Any = (), compress: bool = True) -> Any:
        copy = model.clone()
        result = copy.get_results()[0]
        wrong = op.sin(op.multiply(result.input_value(0), np.float32(5)))
        result.input(0).replace_source_output(wrong.output(0))
        return copy

    monkeypatch.setattr(conversion, 'quantize',
                        partial(conversion.quantize, quantizer=distorted))
    output, source = tmp_path / 'int8.xml', tmp_path / 'source.xml'
    for suffix in ('.xml', '.bin'):
        source.with_suffix(suffix).write_bytes(tiny_ir.with_suffix(suffix).read_bytes())
        output.with_suffix(suffix).write_text('old')
    with pytest.raises(QualityError, match=f'^{output}: .* no file was written'):
        conversion.convert_to_int8(conversion.Job(source, output, overwrite=True),
                                   str(pictures), report=lambda line: None)
    assert output.read_text() == output.with_suffix('.bin').read_text() == 'old'
    with pytest.raises(CheckpointError, match='that is the source'):
        conversion.quantize(make_job(source, pictures, source, overwrite=True))


@pytest.mark.parametrize(('gain', 'focal_px', 'message'), [
    (1.02, None, ''), (1.02, 300.0, 'loses AbsRel 0.0[12]'),
    (1.3, None, 'in INT8 it deviates by .* from the self-check')])
def test_a_scale_that_gives_metres_must_stay(
        gain: float, focal_px: float | None, message: str, make_ir: Any, pictures: Path,
        tmp_path: Path) -> None:
    """That of a relative model may change, as far as devices pass the self-check."""
    pytest.importorskip('nncf')
    from depth_anything_ros.convert.quantize.quantize import quantize
    from openvino import opset13 as op

    def scaled(model: Any, images: Any, kept_float: Any = (), compress: bool = True) -> Any:
        copy = model.clone()
        result = copy.get_results()[0]
        wrong = op.multiply(result.input_value(0), np.float32(gain))
        result.input(0).replace_source_output(wrong.output(0))
        return copy

    source = make_ir(focal_px=focal_px, has_shift=focal_px is None)
    job = make_job(source, pictures, tmp_path / 'int8.xml')
    if not message:
        assert quantize(job, report=print, quantizer=scaled).path.is_file()
        return
    with pytest.raises((QualityError, CheckpointError), match=message):
        quantize(job, report=print, quantizer=scaled)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_quantized_is_refused_with_a_sentence(
        done: Any, model: Path, pictures: Path, tmp_path: Path) -> None:
    from depth_anything_ros.convert.quantize.quantize import quantize
    import openvino
    plain = openvino.Core().read_model(model)
    del plain.rt_info[SECTION]
    openvino.save_model(plain, tmp_path / 'plain.xml')
    few = tmp_path / 'few'
    few.mkdir()
    cv2.imwrite(str(few / 'one.png'), scene(1))
    before = sorted(tmp_path.iterdir())
    target = tmp_path / 'out.xml'
    for job, message in (
            (make_job(done[0].path, pictures, target), 'it is in INT8 already'),
            (make_job(tmp_path / 'plain.xml', pictures, target), 'no depth_anything metadata'),
            (make_job(tmp_path / 'none.xml', pictures, target), 'there is no such file'),
            (make_job(model, few, target), 'holds 1 usable images'),
            (make_job(model, tmp_path / 'nowhere', target), 'there is no file or folder'),
            (make_job(model, pictures, tmp_path / 'plain.xml'), 'the file exists already')):
        with pytest.raises((CheckpointError, ModelError, ImageError), match=message):
            quantize(job, report=lambda line: None)
    assert sorted(tmp_path.iterdir()) == before


def test_bags_for_the_gate_are_read_at_the_same_topic(
        model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('rosbags.rosbag2')
    from depth_anything_ros.convert.quantize import quantize as module

    def count(model: object, inputs: list[np.ndarray]) -> NoReturn:
        raise ImageError(f'the gate has {len(inputs)} images')

    monkeypatch.setattr(module, 'make_samples', count)
    with pytest.raises(CheckpointError, match='the folder cannot be written'):
        module.quantize(make_job(model, pictures, Path('/proc/none/int8.xml')), report=print)
    day, night = (write_bag(tmp_path / name, [
        (topic, RAW, number, raw_image(number, scene(number)))
        for number in range(4 + len(name)) for topic in ('/left', '/right')[:1 + number % 2]])
        for name in ('day', 'night'))
    job = make_job(model, pictures, tmp_path / 'int8.xml', images=str(day), topic='/left')
    for gate_images, images in ((str(night), 9), (str(pictures), 8)):
        with pytest.raises(ImageError, match=f'the gate has {images} images'):
            module.quantize(replace(job, gate_images=gate_images), report=lambda line: None)


def test_the_ranges_of_the_encoder_hold_every_activation(model: Path) -> None:
    from depth_anything_ros.convert.quantize.images import inputs_of_one_size
    from depth_anything_ros.convert.quantize.quantizer import quantize_model
    import openvino
    from tiny import TINY_INFO
    core = openvino.Core()
    fixed = core.read_model(model)
    images = inputs_of_one_size([scene(1), scene(2)], TINY_INFO, SIZE_HW[0])
    fixed.reshape(list(images[0].shape))
    quantized = quantize_model(fixed, images, compress=False)
    image = next(node for node in quantized.get_ops() if node.get_type_name() == 'FakeQuantize'
                 and node.input_value(0).get_node().get_type_name() == 'Parameter')
    low, high = (node.get_node().data.item() for node in (image.input_value(1),
                                                          image.input_value(2)))
    assert low <= min(one.min() for one in images) * 0.98
    assert high >= max(one.max() for one in images) * 0.98


def test_smooth_quant_moves_the_range_of_activations_into_the_weights(model: Path) -> None:
    from depth_anything_ros.convert.quantize.images import inputs_of_one_size
    from depth_anything_ros.convert.quantize.quantizer import quantize_model
    import openvino
    from tiny import TINY_INFO
    fixed = openvino.Core().read_model(model)
    images = inputs_of_one_size([scene(1), scene(2)], TINY_INFO, SIZE_HW[0])
    fixed.reshape(list(images[0].shape))
    widest = []
    for share in (0.1, 0.9):
        quantized = quantize_model(fixed, images, compress=False, smooth_quant=share)
        layer, = (one for one in quantized_layers(quantized)
                  if one.name == 'pretrained.blocks.0.mlp.fc1')
        nodes = {node.get_friendly_name(): node for node in quantized.get_ops()}
        name, = layer.quantizers
        low, high = (float(nodes[name].input_value(index).get_node().data.item())
                     for index in (1, 2))
        widest.append(high - low)
    assert widest[1] < 0.9 * widest[0]


def test_the_command_line_quantizes_and_says_what_it_lost(
        model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    from depth_anything_ros.convert.inspect.inspect import inspect
    from depth_anything_ros.convert.main import main
    from depth_anything_ros.convert.quantize import quantize as module
    # Random weights lose more than a device may.
    monkeypatch.setattr(module, 'SELF_CHECK_LIMIT', 1.0)
    output = tmp_path / 'int8.xml'
    arguments = ['quantize', str(model), '--images', str(pictures), '-o', str(output),
                 '--input-size', str(SIZE_HW[0]), '--abs-rel-mean', '1', '--abs-rel-max', '1',
                 '--pearson-min', '0.1', '--smooth-quant', '0.8']
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert f'{output} is ready: AbsRel 0.0' in out and '0 layers without fixed ranges' in out
    assert 'Statistics' not in out
    assert 'smooth quant 0.8' in str(inspect(output))
    assert main([*arguments, '--smooth-quant', '1.5']) == 2
    assert '--smooth-quant' in capsys.readouterr().err
    assert main(arguments) == 1
    assert 'the file exists already; add --force' in capsys.readouterr().err
    assert main([*arguments, '--force', '--pearson-min', '1']) == 2
    assert '--pearson-min' in capsys.readouterr().err


def test_a_source_becomes_int8_in_one_step(
        glu_export: Any, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('nncf')
    from depth_anything_ros.convert import conversion
    from depth_anything_ros.convert.inspect.inspect import inspect
    from depth_anything_ros.convert.main import main
    from depth_anything_ros.convert.quantize import quantize as module
    lax = partial(conversion.QuantizeJob, gate=Gate(1.0, 1.0, 0.1))
    monkeypatch.setattr(conversion, 'QuantizeJob', lax)
    monkeypatch.setattr(module, 'SELF_CHECK_LIMIT', 1.0)
    output = tmp_path / 'out' / 'int8.xml'
    arguments = ['convert', str(glu_export.path), '-o', str(output), '--precision', 'int8',
                 '--height', '98', '--width', '126']
    assert main(arguments) == 1
    assert 'INT8 needs images to calibrate with; add --images' in capsys.readouterr().err
    assert main([*arguments, '--images', str(pictures)]) == 0
    out = capsys.readouterr().out
    for line in ('[5/5]', 'OpenVINO fp16', f'{output} is ready'):
        assert line in out
    assert sorted(path.name for path in output.parent.iterdir()) == ['int8.bin', 'int8.xml']
    facts = str(inspect(output))
    assert 'int8' in facts and 'smooth quant' in facts
