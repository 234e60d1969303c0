"""Depth Anything 3: its checkpoints, what they give, and the networks of several views."""

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any

from checkpoints import da3_weights, TINY, TINY_V3
from depth_anything_ros.errors import CheckpointError
import numpy as np
import pytest

torch = pytest.importorskip('torch')
openvino = pytest.importorskip('openvino')
pytest.importorskip('onnxruntime')
safetensors = pytest.importorskip('safetensors.torch')

from depth_anything_ros.convert.conversion import convert, Job  # noqa: E402, I100
from depth_anything_ros.convert.hub.download import find_checkpoint  # noqa: E402
from depth_anything_ros.convert.inspect.inspect import inspect  # noqa: E402
from depth_anything_ros.convert.parity.measure import card_input  # noqa: E402
from depth_anything_ros.convert.parity.runners import ir_runner  # noqa: E402
from depth_anything_ros.convert.parity.verify import verify  # noqa: E402
from depth_anything_ros.convert.sources.identity import Overrides  # noqa: E402
from depth_anything_ros.convert.sources.load_network import load_network  # noqa: E402
from depth_anything_ros.distill.teacher import (  # noqa: E402
    in_torch, open_teacher, TeacherOptions)

TABLE = (TINY, TINY_V3)
SIZES_HW = ((70, 98), (112, 84))


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a folder as that of a hub repository."""
    def write(name: str, config: dict[str, Any], **more: Any) -> Path:
        path = tmp_path / name
        path.mkdir()
        safetensors.save_file({**da3_weights(), **more}, path / 'model.safetensors')
        (path / 'config.json').write_text(json.dumps(config))
        return path
    return write


@pytest.fixture(scope='module')
def metric(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Return a checkpoint of DA3METRIC and what it was converted to."""
    path = tmp_path_factory.mktemp('da3') / 'DA3METRIC-LARGE'
    path.mkdir()
    safetensors.save_file(da3_weights(), path / 'model.safetensors')
    (path / 'config.json').write_text(json.dumps({'model_name': 'da3metric-large'}))
    return path, convert(Job(path, path.with_suffix('.xml'), 'fp32'), table=TABLE,
                         sizes_hw=SIZES_HW, report=lambda line: None)


def test_a_checkpoint_becomes_inverse_depth_and_sky(metric: tuple[Path, Any]) -> None:
    source, done = metric
    info = done.info
    assert (info.encoder, info.kind, info.model_version, info.licence) == (
        'tiny_v3', 'relative', 'v3', 'Apache-2.0')
    assert (info.has_shift, info.focal_px, info.sky_threshold) == (False, 300.0, 0.3)
    assert (info.resize, info.input_size, info.interpolation) == ('longest_side', 112, 'area')
    assert {row.name for row in done.parity.rows} == {
        'ONNX Runtime', 'ONNX Runtime sky', 'OpenVINO', 'OpenVINO sky'}
    assert max(row.max_error for row in done.parity.rows) < 1e-3
    network = load_network(source, Overrides(), TABLE).network
    image = card_input((70, 98))
    with torch.inference_mode():
        depth, sky = network.maps(torch.from_numpy(image))
    runner = ir_runner(done.path)
    assert runner.run_sky is not None
    np.testing.assert_allclose(runner.run(image), depth[0].numpy(), rtol=1e-3)
    np.testing.assert_allclose(runner.run_sky(image), sky[0].numpy(), atol=1e-3)
    assert verify(done.path, source=source, table=TABLE).verdict == 'PASS'


def test_an_ir_of_it_becomes_itself(metric: tuple[Path, Any], tmp_path: Path) -> None:
    done = metric[1]
    again = convert(Job(done.path, tmp_path / 'a.xml'), sizes_hw=SIZES_HW[:1],
                    report=lambda line: None)
    assert again.info == done.info
    assert {row.name for row in again.parity.rows} == {'OpenVINO', 'OpenVINO sky'}


def test_mono_and_metric_differ_by_their_name_only(folder: Callable[..., Path]) -> None:
    for name, config, focal_px in (
            ('DA3MONO-LARGE', {'model_name': 'da3mono-large'}, 0.0),
            ('mine', {'model_name': 'da3metric-large'}, 300.0),
            ('DA3METRIC-LARGE', {'config': {'net': {}, 'head': {}}}, 300.0)):
        identity = load_network(folder(name, config), Overrides(), TABLE).identity
        assert (identity.output.focal_px or 0.0) == focal_px
    unnamed = folder('yours', {'config': {'net': {}, 'head': {}}})
    with pytest.raises(CheckpointError, match='its focal length of metres is unknown.*--focal-px '
                       '300 for DA3METRIC-LARGE, or --focal-px 0'):
        load_network(unnamed, Overrides(), TABLE)
    identity = load_network(unnamed, Overrides(focal_px=250.0), TABLE).identity
    assert identity.output.focal_px == 250.0
    found = inspect(unnamed / 'model.safetensors', TABLE)
    assert (found.encoder, found.model_version) == ('tiny_v3', 'v3')
    assert 'Depth Anything 3 layout' in found.what


def test_a_name_of_version_3_says_nothing_on_other_tensors(
        save_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    path = save_checkpoint('plain.pth').rename(tmp_path / 'DA3METRIC-LARGE')
    identity = load_network(path, Overrides('relative', 'v2'), TABLE).identity
    assert (identity.model_version, identity.output.focal_px) == ('v2', None)
    assert 'file name: it describes v3, so it is ignored' in identity.origins


@pytest.mark.parametrize(('overrides', 'message'), [
    (Overrides('metric', None, 20.0), 'metres need the focal length; leave out --kind'),
    (Overrides('relative', 'v2'), 'it is Depth Anything 3'),
    (Overrides(focal_px=-1.0), '--focal-px is -1; give a number of pixels')])
def test_options_that_do_not_fit_are_refused(
        folder: Callable[..., Path], overrides: Overrides, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_network(folder('a', {'model_name': 'da3mono-large'}), overrides, TABLE)


def test_a_focal_length_belongs_to_version_3(save_checkpoint: Callable[..., Path]) -> None:
    for overrides in (Overrides('relative', 'v2', focal_px=300.0), Overrides('relative', 'v3')):
        with pytest.raises(CheckpointError, match='it is not Depth Anything 3; leave out'):
            load_network(save_checkpoint('a.pth'), overrides, TABLE)


@pytest.mark.parametrize('name', [
    'model.backbone.pretrained.camera_token', 'model.cam_dec.fc.weight',
    'model.da3_metric.backbone.pretrained.cls_token'])
def test_networks_of_several_views_are_refused_with_the_reason(
        folder: Callable[..., Path], name: str) -> None:
    path = folder('DA3-SMALL', {'model_name': 'da3-small'}, **{name: torch.zeros(1, 2)})
    for read in (lambda: load_network(path, Overrides(), TABLE), lambda: inspect(path, TABLE)):
        with pytest.raises(CheckpointError, match='for several views.*give DA3MONO-LARGE or'):
            read()


@pytest.mark.parametrize('name', ['da3-small', 'depth-anything/DA3-BASE', 'DA3NESTED-GIANT-LARGE'])
def test_their_names_are_refused_before_a_download(name: str) -> None:
    with pytest.raises(CheckpointError, match='for several views'):
        find_checkpoint(name, offline=True)


@pytest.mark.parametrize(('name', 'repository'), [
    ('da3-mono', 'depth-anything/DA3MONO-LARGE'),
    ('da3-metric', 'depth-anything/DA3METRIC-LARGE')])
def test_the_monocular_ones_are_in_the_catalog(name: str, repository: str) -> None:
    found = find_checkpoint(name)
    assert (found.repository, found.licence, found.files) == (
        repository, 'Apache-2.0', ('config.json', 'model.safetensors'))
    assert find_checkpoint(repository) == found


def test_it_teaches_in_openvino_and_in_pytorch(metric: tuple[Path, Any], tmp_path: Path) -> None:
    source, done = metric
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    teacher = open_teacher(done.path, Overrides(), TeacherOptions(tmp_path), table=TABLE,
                           report=lambda line: None)
    found = teacher.infer(image, 112)
    teacher.close()
    network = load_network(source, Overrides(), TABLE).network
    expected = in_torch(network, done.info.kind, 'cpu')(image, 112)
    assert found.shape == expected.shape == (84, 112)
    sky = found == 0
    # A few pixels lie at the limit of sky.
    assert 0.01 < sky.mean() < 0.99 and ((expected == 0) == sky).mean() > 0.95
    seen = (found > 0) & (expected > 0)
    np.testing.assert_allclose(found[seen], expected[seen], rtol=0.1)
