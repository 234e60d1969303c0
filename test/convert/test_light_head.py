"""A model whose output is smaller than its input converts, proves itself and runs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from depth_anything_ros import load_model
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.networks.models import EncoderSpec
from depth_anything_ros.vision.self_check import self_check_image
from depth_anything_ros.vision.transforms import normalize, resize_depth, resize_for_network
import numpy as np
import pytest

torch = pytest.importorskip('torch')
openvino = pytest.importorskip('openvino')
for needed in ('onnx', 'onnxscript', 'onnxruntime'):
    pytest.importorskip(needed)

from depth_anything_ros.convert.conversion import (  # noqa: E402, I100
    Conversion, convert, export, ExportJob, Job)
from depth_anything_ros.convert.inspect.inspect import inspect  # noqa: E402
from depth_anything_ros.convert.parity.verify import verify  # noqa: E402
from depth_anything_ros.convert.quantize.measure import make_samples  # noqa: E402
from depth_anything_ros.convert.sources.identity import Overrides  # noqa: E402
from depth_anything_ros.inference.ir import read_ir  # noqa: E402
from depth_anything_ros.networks.depth_anything import build_network  # noqa: E402

RELATIVE = Overrides('relative', 'v2')
IMAGE_HW = (120, 160)


def silent(line: str) -> None:
    pass


@pytest.fixture(scope='module')
def family(tiny: EncoderSpec, tiny_light: EncoderSpec) -> tuple[EncoderSpec, ...]:
    return tiny, tiny_light


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tiny_light: EncoderSpec,
               make_weights: Callable[..., dict[str, Any]]) -> Path:
    path: Path = tmp_path_factory.mktemp('light') / 'mine.pth'
    torch.save(make_weights(tiny_light), path)
    return path


@pytest.fixture(scope='module')
def exported(checkpoint: Path, family: tuple[EncoderSpec, ...],
             tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    return export(ExportJob(checkpoint, tmp_path_factory.mktemp('onnx') / 'mine.onnx',
                            overrides=RELATIVE), table=family, report=silent)


@pytest.fixture(scope='module')
def done(exported: Conversion, tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """Return the IR of the exported file in fp32."""
    return convert(Job(exported.path, tmp_path_factory.mktemp('ir') / 'mine.xml', 'fp32'),
                   report=silent)


def test_file_and_ir_agree_with_pytorch_at_every_size_and_state_the_size_of_the_output(
        exported: Conversion, done: Conversion) -> None:
    info = read_ir(openvino.Core(), done.path)[1]
    assert info == done.info
    assert (info.encoder, info.patch_multiple, info.input_size, info.output_multiple) == (
        'tiny_light', 14, 56, 8)
    assert info.self_check.size_hw == (196, 252)
    # The sizes are those of the images.
    for one, name in ((exported, 'ONNX Runtime'), (done, 'OpenVINO')):
        assert [row.size_hw for row in one.parity.rows if row.name == name] == [
            (56, 56), (42, 56), (56, 70)]
        assert 0 < one.parity.worst(name) <= 1e-3
    assert 'tiny_light' in str(inspect(done.path))


def test_an_output_of_an_unknown_size_is_refused(done: Conversion, tmp_path: Path) -> None:
    model = openvino.Core().read_model(done.path)
    without_metadata = openvino.Model(model.get_results(), model.get_parameters())
    openvino.save_model(without_metadata, tmp_path / 'plain.xml')
    with pytest.raises(CheckpointError, match=r'its output is \[1, 112, 144\] for images '
                       r'\[1,3,196,252\]; give .* to one depth map of the same size'):
        convert(Job(tmp_path / 'plain.xml', tmp_path / 'other.xml', overrides=RELATIVE),
                report=silent)


def test_a_file_without_metadata_is_known_by_its_name_or_by_an_option(
        done: Conversion, tmp_path: Path) -> None:
    model = openvino.Core().read_model(done.path)
    for name, overrides in (('depth_anything_tiny.xml', Overrides()),
                            ('plain.xml', replace(RELATIVE, encoder='tiny'))):
        openvino.save_model(openvino.Model(model.get_results(), model.get_parameters()),
                            tmp_path / name)
        found = convert(Job(tmp_path / name, tmp_path / f'of_{name}', overrides=overrides),
                        report=silent).info
        assert (found.encoder, found.kind, found.input_size, found.output_multiple) == (
            'tiny', 'relative', 196, 8)


def test_the_ir_passes_its_verification(done: Conversion, checkpoint: Path,
                                        family: tuple[EncoderSpec, ...]) -> None:
    found = verify(done.path, source=checkpoint, precision='f32', sizes_hw=[(70, 98)],
                   table=family)
    assert found.verdict == 'PASS'
    assert [check.size_hw for check in found.checks] == [(70, 98), (70, 98), (196, 252)]


def test_the_engine_gives_a_map_of_the_size_of_the_image(
        done: Conversion, checkpoint: Path, tiny_light: EncoderSpec) -> None:
    image = self_check_image(IMAGE_HW)
    with load_model(done.path, precision='f32', image_hw=IMAGE_HW) as model:
        native = model.infer(image, output_size='native')
        depth = model.infer(image)
        network_hw = model.state.network_hw
    assert network_hw == (56, 70)
    assert (native.shape, depth.shape) == ((32, 40), IMAGE_HW)
    network = build_network(tiny_light, 'v2', None, torch.load(checkpoint, weights_only=True))
    spec = network.input_spec
    tensor = normalize(resize_for_network(image, network_hw), spec.mean_rgb, spec.std_rgb)
    expected = network(torch.from_numpy(tensor))[0].numpy()
    assert np.abs(native - expected).max() < 2e-3 * expected.std()
    assert np.array_equal(depth, resize_depth(native, IMAGE_HW))
    # The corners of both maps are the same points of the scene.
    assert depth[0, 0] == native[0, 0]
    assert depth[-1, -1] == pytest.approx(native[-1, -1], rel=1e-5)


def test_a_wrong_output_is_found_when_the_engine_starts(done: Conversion, tmp_path: Path) -> None:
    from depth_anything_ros import DeviceError
    from depth_anything_ros.convert.export import save_ir

    check = done.info.self_check
    wrong = replace(done.info, self_check=replace(check, samples=check.samples[::-1]))
    save_ir(openvino.Core().read_model(done.path), tmp_path / 'wrong.xml', wrong)
    with pytest.raises(DeviceError, match='self-check'):
        load_model(tmp_path / 'wrong.xml', precision='f32')


def test_the_loss_of_int8_is_measured_on_the_smaller_maps(done: Conversion) -> None:
    images = [np.zeros((1, 3, *size_hw), np.float32) for size_hw in ((56, 56), (28, 56))]
    samples = make_samples(openvino.Core().read_model(done.path), images)
    assert [sample.depth.shape for sample in samples] == [(16, 32), (32, 32)]
