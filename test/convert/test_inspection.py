"""Inspecting checkpoints, ONNX files, IRs, and files that are none of these."""

from collections.abc import Callable
from dataclasses import replace
import hashlib
import json
from pathlib import Path
import pickle
import re
import subprocess
import sys
from typing import Any

from depth_anything_ros.convert.inspect.inspect import inspect
from depth_anything_ros.convert.sources.identity import UNKNOWN
from depth_anything_ros.convert.sources.records import DownloadRecord, write_record
from depth_anything_ros.errors import CheckpointError, ModelError
from depth_anything_ros.model_info import Quantization
from depth_anything_ros.networks.models import EncoderSpec
import numpy as np
import pytest
from tiny import TINY_INFO

ROOT = Path(__file__).parents[2]
HUB_CONFIG = {
    'model_type': 'depth_anything', 'depth_estimation_type': 'metric', 'max_depth': 20,
    'backbone_config': {'hidden_size': 48, 'num_hidden_layers': 5, 'num_attention_heads': 3,
                        'out_indices': [1, 2, 3, 5]}}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hub_tensors() -> dict[str, np.ndarray]:
    """Return the tensors that tell the encoder, in the layout of transformers."""
    tensors = {f'backbone.encoder.layer.{block}.norm1.weight': np.zeros(48, np.float16)
               for block in range(5)}
    tensors['backbone.embeddings.position_embeddings'] = np.zeros((1, 1370, 48), np.float32)
    return tensors


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    """Return a folder as a -hf repository has it."""
    save_file = pytest.importorskip('safetensors.numpy').save_file
    folder = tmp_path / 'field-depth'
    folder.mkdir()
    (folder / 'config.json').write_text(json.dumps(HUB_CONFIG))
    save_file(hub_tensors(), folder / 'model.safetensors', metadata={'format': 'pt'})
    return folder


def test_kind_and_version_are_unknown_without_an_official_name(
        save_checkpoint: Callable[..., Path], make_weights: Callable[..., dict[str, Any]],
        tiny: EncoderSpec, table: tuple[EncoderSpec, ...]) -> None:
    pytest.importorskip('torch')
    path = save_checkpoint('mine.pth')
    found = inspect(path, table)
    assert (found.what, found.encoder, found.kind, found.model_version) == (
        'PyTorch checkpoint, official layout', 'tiny', None, None)
    assert found.origins == {'encoder': 'the shapes of the tensors', 'kind': UNKNOWN,
                             'model_version': UNKNOWN}
    assert found.parameters == sum(value.numel() for value in make_weights(tiny).values())
    assert found.precision == {'f32': 1.0}
    assert (found.files, found.sha256) == ({'mine.pth': path.stat().st_size}, sha256(path))
    assert found.licence == 'unknown'


def test_an_official_name_states_kind_version_range_and_licence(
        save_checkpoint: Callable[..., Path], tiny: EncoderSpec) -> None:
    pytest.importorskip('torch')
    vitb = replace(tiny, name='vitb', licence='CC-BY-NC-4.0')
    path = save_checkpoint('depth_anything_v2_metric_vkitti_vitb.pth')
    found = inspect(path, (vitb,))
    assert (found.encoder, found.kind, found.model_version, found.max_depth_m, found.licence) == (
        'vitb', 'metric', 'v2', 80.0, 'CC-BY-NC-4.0')
    assert found.origins['max_depth_m'] == 'the file name'
    other = inspect(path, (tiny,))
    assert other.encoder == 'tiny' and other.kind is None


def test_a_hugging_face_folder_is_read_with_its_config(
        hub_folder: Path, table: tuple[EncoderSpec, ...]) -> None:
    found = inspect(hub_folder, table)
    assert found.what == 'folder of a hub repository, Hugging Face layout'
    assert (found.encoder, found.kind, found.model_version, found.max_depth_m) == (
        'tiny', 'metric', 'v2', 20.0)
    assert found.origins['kind'] == 'config.json'
    assert found.parameters == 1370 * 48 + 5 * 48
    assert found.precision['f16'] == pytest.approx(480 / (480 + 4 * 1370 * 48))
    assert found.sha256 == sha256(hub_folder / 'model.safetensors')


def test_the_record_of_a_download_states_the_licence(
        hub_folder: Path, table: tuple[EncoderSpec, ...]) -> None:
    files = {'model.safetensors': sha256(hub_folder / 'model.safetensors')}
    write_record(hub_folder, DownloadRecord('somebody/field-depth', 'c0ffee', files, 'MIT',
                                            '2026-01-01'))
    found = inspect(hub_folder, table)
    assert (found.source_name, found.licence) == ('somebody/field-depth', 'MIT')
    assert found.origins['licence'] == 'the record of the download'


def test_a_safetensors_file_alone_is_recognised_by_its_tensors(
        hub_folder: Path, table: tuple[EncoderSpec, ...]) -> None:
    found = inspect(hub_folder / 'model.safetensors', table)
    assert (found.what, found.encoder, found.kind) == (
        'safetensors, Hugging Face layout', 'tiny', None)


@pytest.mark.parametrize(('spoil', 'message'), [
    (lambda content: content[:-1000], 'it is truncated, damaged or not a safetensors .*; down'),
    (lambda content: content[:100], 'damaged or not a safetensors file'),
    (lambda content: b'', 'damaged or not a safetensors file'),
    (lambda content: b'\x02\0\0\0\0\0\0\0[]', 'damaged or not a safetensors file'),
    (lambda content: b'\x02\0\0\0\0\0\0\0{}', 'not a Depth Anything checkpoint')])
def test_a_damaged_safetensors_file_is_named(
        hub_folder: Path, spoil: Callable[[bytes], bytes], message: str) -> None:
    path = hub_folder / 'model.safetensors'
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(CheckpointError, match=message):
        inspect(path)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), 'w')


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    pytest.importorskip('torch')
    (tmp_path / 'evil.pth').write_bytes(pickle.dumps(Bomb(tmp_path / 'ran'), protocol=2))
    with pytest.raises(CheckpointError, match='it holds code .*, which is never run here'):
        inspect(tmp_path / 'evil.pth')
    assert not (tmp_path / 'ran').exists()


def test_another_network_is_named_with_what_it_holds(tmp_path: Path) -> None:
    torch = pytest.importorskip('torch')
    torch.save({'conv1.weight': torch.zeros(8, 3, 7, 7)}, tmp_path / 'resnet.pth')
    with pytest.raises(CheckpointError, match='not a Depth Anything .*starts with conv1.weight'):
        inspect(tmp_path / 'resnet.pth')


def test_an_ir_says_what_its_metadata_and_its_constants_say(make_ir: Callable[..., Path]) -> None:
    quantization = Quantization('mixed', ('/blocks.0',), 32, 8, 0.01, 0.02, 0.996)
    path = make_ir(kind='metric', max_depth_m=20.0, quantization=quantization)
    found = inspect(path)
    assert (found.what, found.encoder, found.kind, found.max_depth_m) == (
        'OpenVINO IR', 'vits', 'metric', 20.0)
    assert found.origins['licence'] == 'the metadata of the IR'
    assert (found.input_name, found.input_shape) == ('image', (0, 3, 0, 0))
    assert found.quantization == quantization
    assert found.self_check is not None and found.self_check.size_hw == (196, 252)
    assert (found.source_sha256, found.converter_version) == ('0' * 64, '0.1.0')
    assert (found.parameters, found.precision) == (9, {'f32': 1.0})
    assert set(found.files) == {'tiny.xml', 'tiny.bin'}


def test_an_ir_of_one_size_with_weights_of_several_types_is_measured(tmp_path: Path) -> None:
    ov = pytest.importorskip('openvino')
    from openvino import opset13 as op
    image = op.parameter([1, 3, 14, 28], np.float32, name='x')
    half = op.convert(op.constant(np.zeros((1, 3, 14, 28), np.float16)), 'f32')
    whole = op.convert(op.constant(np.zeros((1, 3, 14, 28), np.int8)), 'f32')
    result = op.add(op.add(image, half), whole)
    ov.save_model(ov.Model([result], [image]), tmp_path / 'mine.xml', compress_to_fp16=False)
    found = inspect(tmp_path / 'mine.xml')
    assert (found.input_name, found.input_shape) == ('x', (1, 3, 14, 28))
    assert found.precision == {'f16': pytest.approx(2 / 3), 'i8': pytest.approx(1 / 3)}
    assert (found.encoder, found.kind, found.self_check) == (None, None, None)
    for suffix in ('.xml', '.bin'):
        (tmp_path / f'mine{suffix}').rename(tmp_path / f'depth_anything_v2_vits{suffix}')
    named = inspect(tmp_path / 'depth_anything_v2_vits.xml')
    assert (named.encoder, named.origins['kind']) == ('vits', 'the file name')


@pytest.mark.parametrize(('name', 'content', 'message'), [
    ('tiny.bin', b'1234', r'it is truncated: 4 bytes of \d+'),
    ('tiny.xml', b'<net>', 'truncated or not XML'),
    ('tiny.xml', b'<svg/>', r'not an OpenVINO IR \(its root is <svg>\)'),
    ('tiny.bin', None, 'there is no such file')])
def test_a_damaged_ir_is_named(
        make_ir: Callable[..., Path], name: str, content: bytes | None, message: str) -> None:
    path = make_ir()
    file = path.with_name(name)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        inspect(path)


def test_an_ir_beside_the_weights_of_another_model_is_named(tmp_path: Path) -> None:
    from depth_anything_ros.convert.export import save_ir
    import openvino
    from tiny import write_tiny_ir

    model = openvino.Core().read_model(write_tiny_ir(tmp_path))
    save_ir(model, tmp_path / 'mine.xml', TINY_INFO)
    assert inspect(tmp_path / 'mine.xml').encoder == 'vits'
    weights = tmp_path / 'mine.bin'
    weights.write_bytes(bytes(len(weights.read_bytes())))
    with pytest.raises(ModelError, match='mine.bin: its content is not what mine.xml was written'):
        inspect(tmp_path / 'mine.xml')


def test_metadata_of_an_ir_that_cannot_be_read_is_named(make_ir: Callable[..., Path]) -> None:
    path = make_ir()
    path.write_text(path.read_text().replace('&quot;relative&quot;', '&quot;round&quot;'))
    with pytest.raises(ModelError, match="metadata is unusable: kind is 'round'"):
        inspect(path)


def write_onnx(path: Path, metadata: bool = False, external: bool = False) -> Path:
    onnx = pytest.importorskip('onnx')
    from depth_anything_ros.convert.sources.onnx_files import metadata_props
    helper = onnx.helper
    weights = onnx.numpy_helper.from_array(np.ones((3, 1, 1), np.float16), 'weights')
    shape = onnx.numpy_helper.from_array(np.array([1, 14, 14], np.int64), 'shape')
    given = helper.make_tensor_value_info('image', onnx.TensorProto.FLOAT, ['n', 3, 14, 28])
    out = helper.make_tensor_value_info('depth', onnx.TensorProto.FLOAT, None)
    nodes = [helper.make_node('Cast', ['weights'], ['cast'], to=onnx.TensorProto.FLOAT),
             helper.make_node('Mul', ['image', 'cast'], ['depth'])]
    model = helper.make_model(helper.make_graph(nodes, 'g', [given], [out], [weights, shape]),
                              opset_imports=[helper.make_opsetid('', 18)])
    if metadata:
        helper.set_model_props(model, metadata_props(TINY_INFO))
    onnx.save(model, path, save_as_external_data=external, location='weights.data',
              size_threshold=0)
    return path


@pytest.mark.parametrize('external', [True, False])
def test_an_onnx_file_says_what_its_metadata_says(tmp_path: Path, external: bool) -> None:
    found = inspect(write_onnx(tmp_path / 'mine.onnx', metadata=True, external=external))
    assert (found.what, found.encoder, found.kind) == ('ONNX, opset 18', 'vits', 'relative')
    assert found.origins['kind'] == 'the metadata of the ONNX file'
    assert (found.input_name, found.input_shape) == ('image', (0, 3, 14, 28))
    assert (found.parameters, found.precision) == (3, {'f16': 1.0})
    assert ('weights.data' in found.files) == external


@pytest.mark.parametrize(('name', 'expected'), [
    ('depth_anything_v2_vitb_indoor_dynamic.onnx', ('vitb', 'metric', 20.0)),
    ('mine.onnx', (None, None, None))])
def test_a_foreign_onnx_file_says_what_its_name_says(
        tmp_path: Path, name: str, expected: tuple[Any, ...]) -> None:
    found = inspect(write_onnx(tmp_path / name))
    assert (found.encoder, found.kind, found.max_depth_m) == expected


def test_an_onnx_file_without_its_weights_or_without_a_graph_is_named(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / 'mine.onnx', external=True)
    (tmp_path / 'weights.data').unlink()
    with pytest.raises(CheckpointError, match='weights.data: .* missing'):
        inspect(path)
    path.write_bytes(b'text')
    with pytest.raises(CheckpointError, match='not an ONNX file'):
        inspect(path)


def place_weights(path: Path, **entry: str) -> Path:
    """Change where an ONNX file says that its first weights are."""
    onnx = pytest.importorskip('onnx')
    model = onnx.load(path, load_external_data=False)
    for one in model.graph.initializer[0].external_data:
        one.value = entry.get(one.key, one.value)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize('location', [
    '../secret.data', '/etc/hostname', 'a/../../secret.data', '..\\secret.data', 'C:\\x', '', '.'])
def test_an_onnx_file_with_weights_outside_its_folder_is_refused(
        tmp_path: Path, location: str) -> None:
    (tmp_path / 'secret.data').write_bytes(bytes(1000))
    (tmp_path / 'models').mkdir()
    path = place_weights(write_onnx(tmp_path / 'models' / 'mine.onnx', external=True),
                         location=location)
    with pytest.raises(CheckpointError, match='which is outside its folder; export it again'):
        inspect(path)


@pytest.mark.parametrize('entry', [{'offset': 'x'}, {'length': '-5'}, {'offset': '1.5'}])
def test_an_onnx_file_with_an_unreadable_place_of_weights_is_refused(
        tmp_path: Path, entry: dict[str, str]) -> None:
    path = place_weights(write_onnx(tmp_path / 'mine.onnx', external=True), **entry)
    with pytest.raises(CheckpointError, match='not an ONNX file'):
        inspect(path)


def test_weights_in_a_graph_inside_a_node_are_found(tmp_path: Path) -> None:
    onnx = pytest.importorskip('onnx')
    path = write_onnx(tmp_path / 'mine.onnx', external=True)
    model = onnx.load(path, load_external_data=False)
    inner = onnx.helper.make_graph([], 'inner', [], [], [])
    inner.initializer.add().CopyFrom(model.graph.initializer[0])
    inner.initializer[0].external_data[0].value = '../secret.data'
    model.graph.node.append(onnx.helper.make_node(
        'If', ['image'], ['either'], then_branch=inner, else_branch=inner))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match='secret.data.*outside its folder'):
        inspect(path)


def test_an_onnx_file_with_weights_of_an_unknown_type_is_described(tmp_path: Path) -> None:
    onnx = pytest.importorskip('onnx')
    path = write_onnx(tmp_path / 'mine.onnx')
    model = onnx.load(path)
    model.graph.initializer[0].data_type = 999
    path.write_bytes(model.SerializeToString())
    assert inspect(path).precision == {}


@pytest.mark.parametrize('attribute', ['size', 'element_type', 'shape', 'offset'])
def test_an_ir_with_an_incomplete_constant_is_named(
        make_ir: Callable[..., Path], attribute: str) -> None:
    path = make_ir()
    head, data = path.read_text().split('type="Const"', 1)
    path.write_text(f'{head}type="Const"' + re.sub(f' {attribute}="[^"]*"', '', data, count=1))
    with pytest.raises(ModelError, match=f'its constant .* has no {attribute}'):
        inspect(path)


def test_a_path_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match='there is no such file'):
        inspect(tmp_path / 'none.xml')


def test_only_pickles_need_torch(hub_folder: Path, make_ir: Callable[..., Path],
                                 tmp_path: Path) -> None:
    (tmp_path / 'any.pth').write_text('text')
    code = ("import sys; sys.modules['torch'] = None\n"
            'from depth_anything_ros.convert.main import main\n'
            'from depth_anything_ros.networks.models import EncoderSpec\n'
            "tiny = EncoderSpec('tiny', 48, 5, 3, 16, (8, 12, 16, 24), (0, 1, 2, 4), 'MIT')\n"
            'sys.exit(main(sys.argv[1:], (tiny,)))')
    pytest.importorskip('typer')
    run = subprocess.run(
        [sys.executable, '-c', code, 'inspect', '--json', hub_folder, make_ir(),
         write_onnx(tmp_path / 'mine.onnx'), tmp_path / 'any.pth'],
        cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert run.stderr == ('error: reading any.pth needs torch, which is not installed: '
                          "pip install 'depth_anything_ros[convert]', in a virtual environment\n")
    found = json.loads(run.stdout)
    assert [one.get('what', one.get('error', ''))[:7] for one in found] == [
        'folder ', 'OpenVIN', 'ONNX, o', 'reading']
