"""Folders of -hf repositories: every tensor and what config.json says, or a reason why not."""

from collections.abc import Callable
import hashlib
import json
from pathlib import Path
import shutil
from typing import Any

from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.networks.models import EncoderSpec
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('transformers')
safetensors = pytest.importorskip('safetensors.torch')

from depth_anything_ros.convert.sources.checkpoints import read_checkpoint  # noqa: E402, I100
from depth_anything_ros.convert.sources.identity import ModelIdentity, Overrides  # noqa: E402
from depth_anything_ros.convert.sources.load_network import load_network  # noqa: E402
from tools.transformers_parity import random_model  # noqa: E402

Table = tuple[EncoderSpec, ...]
WEIGHTS, INDEX = 'model.safetensors', 'model.safetensors.index.json'


@pytest.fixture(scope='module')
def saved(tmp_path_factory: pytest.TempPathFactory, tiny: EncoderSpec) -> dict[str, Path]:
    """Return folders of the same weights, in one file and in shards."""
    folder, model = tmp_path_factory.mktemp('hub'), random_model(tiny)
    model.save_pretrained(folder / 'one')
    model.save_pretrained(folder / 'shards', max_shard_size='200KB')
    return {name: folder / name for name in ('one', 'shards')}


@pytest.fixture
def folder(tmp_path: Path, saved: dict[str, Path]) -> Path:
    """Return a folder to spoil."""
    return Path(shutil.copytree(saved['one'], tmp_path / 'mine'))


@pytest.fixture
def shards(tmp_path: Path, saved: dict[str, Path]) -> Path:
    """Return a folder with shards to spoil."""
    return Path(shutil.copytree(saved['shards'], tmp_path / 'mine'))


def change_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def change_weights(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    weights = safetensors.load_file(path)
    change(weights)
    safetensors.save_file(weights, path)


def identity_of(folder: Path, table: Table, overrides: Overrides | None = None) -> ModelIdentity:
    return load_network(folder, overrides or Overrides(), table).identity


def test_one_file_shards_and_a_pickle_give_the_same_official_weights(
        saved: dict[str, Path], folder: Path, table: Table, tiny: EncoderSpec,
        make_weights: Callable[..., dict[str, Any]]) -> None:
    torch.save(safetensors.load_file(folder / WEIGHTS), folder / 'pytorch_model.bin')
    (folder / WEIGHTS).unlink()
    one, *others = [read_checkpoint(path, table)
                    for path in (saved['one'], saved['shards'], folder)]
    assert one.layout == 'huggingface'
    assert one.state_dict.keys() == make_weights(tiny).keys()
    for other in others:
        assert other.state_dict.keys() == one.state_dict.keys()
        assert all(torch.equal(other.state_dict[key], one.state_dict[key])
                   for key in one.state_dict)


def test_the_sha256_is_that_of_the_weights_and_for_shards_of_their_digests(
        saved: dict[str, Path], table: Table) -> None:
    found = read_checkpoint(saved['one'], table).sha256
    assert found == hashlib.sha256((saved['one'] / WEIGHTS).read_bytes()).hexdigest()
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest()
                     for path in saved['shards'].glob('*.safetensors'))
    assert len(digests) > 2
    expected = hashlib.sha256('\n'.join([*digests, '']).encode()).hexdigest()
    assert read_checkpoint(saved['shards'], table).sha256 == expected


def test_config_json_states_kind_version_and_range(folder: Path, table: Table) -> None:
    identity = identity_of(folder, table)
    assert (identity.encoder, identity.kind, identity.model_version) == ('tiny', 'relative', 'v2')
    assert 'model version: v2, from config.json' in identity.origins
    assert identity.source_name == 'mine'

    def metric_v1(config: dict[str, Any]) -> None:
        config.update(depth_estimation_type='metric', max_depth=80)
        config['backbone_config'].update(out_indices=None)
        config['backbone_config'].update(out_features=['stage2', 'stage3', 'stage4', 'stage5'])

    change_json(folder / 'config.json', metric_v1)
    identity = identity_of(folder, table)
    assert (identity.kind, identity.model_version, identity.max_depth_m) == ('metric', 'v1', 80)
    identity = identity_of(folder, table, Overrides('relative'))
    assert 'kind: relative, from --kind, although config.json says metric' in identity.origins


def test_facts_missing_from_config_json_need_options(folder: Path, table: Table) -> None:
    change_json(folder / 'config.json', lambda config: config['backbone_config'].update(
        out_indices=None, out_features=None))
    with pytest.raises(CheckpointError, match='model version.*add --model-version'):
        identity_of(folder, table)
    assert identity_of(folder, table, Overrides(None, 'v1')).model_version == 'v1'


def test_a_config_of_the_official_code_states_neither_kind_nor_version(
        tmp_path: Path, table: Table, tiny: EncoderSpec,
        make_weights: Callable[..., dict[str, Any]]) -> None:
    folder = tmp_path / 'mine'
    folder.mkdir()
    torch.save(make_weights(tiny), folder / 'pytorch_model.bin')
    (folder / 'config.json').write_text(json.dumps({'encoder': 'tiny', 'features': 16}))
    checkpoint = read_checkpoint(folder, table)
    assert checkpoint.layout == 'official'
    with pytest.raises(CheckpointError, match='its kind is unknown'):
        identity_of(folder, table)


@pytest.mark.parametrize('layout', ['huggingface', 'official'])
def test_a_safetensors_file_alone_is_read_in_either_layout(
        tmp_path: Path, folder: Path, table: Table, layout: str) -> None:
    official = read_checkpoint(folder, table).state_dict
    path = tmp_path / 'mine.safetensors'
    weights = safetensors.load_file(folder / WEIGHTS) if layout == 'huggingface' else {
        key: value.to(torch.bfloat16) for key, value in official.items()}
    safetensors.save_file(weights, path, metadata={'format': 'pt', 'made_by': 'me'})
    checkpoint = read_checkpoint(path, table)
    assert (checkpoint.layout, checkpoint.config) == (layout, None)
    assert checkpoint.state_dict.keys() == official.keys()
    with pytest.raises(CheckpointError, match='its kind is unknown'):
        load_network(path, Overrides(), table)
    assert load_network(path, Overrides('relative', 'v2'), table).identity.encoder == 'tiny'


@pytest.mark.parametrize(('parts', 'expected'), [
    (('models--me--my-depth', 'snapshots', '0123'), 'me/my-depth'),
    (('my-depth',), 'my-depth')])
def test_the_source_is_named_as_the_hub_does(
        tmp_path: Path, saved: dict[str, Path], table: Table, parts: tuple[str, ...],
        expected: str) -> None:
    folder = shutil.copytree(saved['one'], tmp_path.joinpath(*parts))
    assert identity_of(Path(folder), table).source_name == expected


@pytest.mark.parametrize(('change', 'message'), [
    (lambda config: config.update(model_type='dpt'), 'it describes a model of type dpt'),
    (lambda config: config['backbone_config'].update(hidden_size=50),
     '50 wide and 5 blocks deep, known are tiny 48x5'),
    (lambda config: config['backbone_config'].update(num_attention_heads=6),
     'num_attention_heads is 6 instead of 3'),
    (lambda config: config['backbone_config'].update(out_indices=[1, 2, 4, 5]),
     r'its head reads the blocks \(0, 1, 3, 4\) \(from 0\), V1 reads \(1, 2, 3, 4\) and V2'),
    (lambda config: config['backbone_config'].update(out_indices=['a']), r"out_.* is \['a'\]"),
    (lambda config: config['backbone_config'].update(out_indices=5), 'out_.* is 5'),
    (lambda config: config['backbone_config'].update(out_indices=None, out_features=[None]),
     r'out_.* is \[None\]'),
    (lambda config: config.update(backbone_config=['a']), 'a value of another kind'),
    (lambda config: config.update(depth_estimation_type='metric', max_depth='far'),
     'a value of another kind')])
def test_a_config_of_another_network_is_refused(
        folder: Path, table: Table, change: Callable[[dict[str, Any]], Any],
        message: str) -> None:
    change_json(folder / 'config.json', change)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(folder, table)


@pytest.mark.parametrize(('name', 'content', 'message'), [
    ('config.json', None, 'the folder has no config.json; give'),
    ('config.json', '{', 'config.json: it is damaged or not JSON'),
    ('config.json', '[' * 100_000, 'config.json: it is damaged or not JSON'),
    ('config.json', '[]', 'config.json: it is JSON, but not an object'),
    (WEIGHTS, None, 'the folder has no weights .model.safetensors or pytorch_model.bin.')])
def test_a_file_that_is_missing_or_damaged_is_named(
        folder: Path, table: Table, name: str, content: str | None, message: str) -> None:
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(folder, table)


@pytest.mark.parametrize('share', [0.0, 0.001, 0.5, 0.999])
def test_truncated_weights_are_refused(folder: Path, table: Table, share: float) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:int(share * len(content))])
    with pytest.raises(CheckpointError, match='model.safetensors: .*download it again'):
        read_checkpoint(folder, table)


@pytest.mark.parametrize(('change', 'message'), [
    (lambda weights: weights.update({'neck.extra.bias': torch.zeros(1)}),
     'unexpected: neck.extra.bias'),
    (lambda weights: weights.pop('backbone.encoder.layer.2.attention.attention.key.weight'),
     'missing: the part k of pretrained.blocks.2.attn.qkv.weight'),
    (lambda weights: weights.pop('neck.fusion_stage.layers.3.projection.bias'),
     'missing: depth_head.scratch.refinenet1.out_conv.bias')])
def test_tensors_that_are_left_over_or_missing_are_named(
        folder: Path, table: Table, change: Callable[[dict[str, Any]], Any],
        message: str) -> None:
    change_weights(folder / WEIGHTS, change)
    with pytest.raises(CheckpointError, match=message):
        load_network(folder, Overrides(), table)


def test_shards_that_are_missing_or_differ_from_the_index_are_named(
        shards: Path, table: Table) -> None:
    places = json.loads((shards / INDEX).read_text())['weight_map']
    tensor, shard = next(iter(places.items()))
    change_weights(shards / shard, lambda weights: weights.pop(tensor))
    with pytest.raises(CheckpointError, match=f'{shard}: it has no tensor {tensor}, which the'):
        read_checkpoint(shards, table)
    change_json(shards / INDEX, lambda index: index['weight_map'].pop(tensor))
    change_weights(shards / shard, lambda weights: weights.update({tensor: torch.zeros(1)}))
    with pytest.raises(CheckpointError, match=f'it has a tensor {tensor} that the index'):
        read_checkpoint(shards, table)
    (shards / shard).unlink()
    with pytest.raises(CheckpointError, match=f'{shard}: this shard of the weights is missing'):
        read_checkpoint(shards, table)


def test_an_index_cannot_reach_outside_its_folder(shards: Path, table: Table) -> None:
    change_json(shards / INDEX, lambda index: index['weight_map'].update(a='../mine/a'))
    with pytest.raises(CheckpointError, match='it names ../mine/a, which is outside the folder'):
        read_checkpoint(shards, table)
    (shards / INDEX).write_text('{}')
    with pytest.raises(CheckpointError, match='it has no weight_map'):
        read_checkpoint(shards, table)
