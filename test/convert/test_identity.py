"""Kind, version and range come from names, records, metadata or options and are never guessed."""

from collections.abc import Callable
from pathlib import Path

from depth_anything_ros.convert.inspect.inspect import inspect
from depth_anything_ros.convert.sources.identity import (
    checkpoint_evidence, Evidence, from_record, ModelIdentity, Overrides, resolve_identity)
from depth_anything_ros.convert.sources.records import (
    DistillationRecord, DownloadRecord, sha256_of, write_distillation_record, write_record)
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.networks.models import EncoderSpec, forbids_commercial_use, MODELS
import pytest

SPECS = {spec.name: spec for spec in MODELS}
DIGEST = '1' * 64


def identity_of(path: Path, spec: EncoderSpec, overrides: Overrides | None = None,
                config: Evidence | None = None) -> ModelIdentity:
    digests = (sha256_of([path]),) if path.is_file() else (DIGEST,)
    evidence = checkpoint_evidence(path, digests, spec, config)
    return resolve_identity(path, spec, evidence, overrides).require_complete()


def by_name(name: str, encoder: str = 'vits', overrides: Overrides | None = None,
            config: Evidence | None = None) -> ModelIdentity:
    return identity_of(Path(name), SPECS[encoder], overrides, config)


@pytest.mark.parametrize(('name', 'encoder', 'expected'), [
    ('depth_anything_v2_vits.pth', 'vits', ('relative', 'v2', None, 'Apache-2.0')),
    ('depth_anything_v2_vitb.pth', 'vitb', ('relative', 'v2', None, 'CC-BY-NC-4.0')),
    ('depth_anything_v2_vitl.pth', 'vitl', ('relative', 'v2', None, 'CC-BY-NC-4.0')),
    ('depth_anything_v2_vitg.pth', 'vitg', ('relative', 'v2', None, 'unknown')),
    ('depth_anything_v2_metric_hypersim_vits.pth', 'vits', ('metric', 'v2', 20, 'Apache-2.0')),
    ('depth_anything_v2_metric_vkitti_vits.pth', 'vits', ('metric', 'v2', 80, 'Apache-2.0')),
    ('depth_anything_v2_metric_vkitti_vitl.pth', 'vitl', ('metric', 'v2', 80, 'CC-BY-NC-4.0')),
    ('depth_anything_vits14.pth', 'vits', ('relative', 'v1', None, 'Apache-2.0')),
    ('depth_anything_vitl14.pth', 'vitl', ('relative', 'v1', None, 'Apache-2.0')),
    ('depth_anything_vitt.pth', 'vitt', ('relative', 'v2', None, 'unknown')),
    ('depth_anything_tiny.pth', 'tiny', ('relative', 'v2', None, 'unknown')),
    ('depth_anything_v2_vitl_fp16.safetensors', 'vitl', ('relative', 'v2', None, 'CC-BY-NC-4.0')),
    ('Depth-Anything-V2-Metric-Outdoor-Base-hf', 'vitb', ('metric', 'v2', 80, 'CC-BY-NC-4.0')),
    ('depth-anything-large-hf', 'vitl', ('relative', 'v1', None, 'Apache-2.0'))])
def test_official_names_state_everything(
        name: str, encoder: str, expected: tuple[object, ...]) -> None:
    found = by_name(name, encoder)
    assert (found.kind, found.model_version, found.max_depth_m, found.licence) == expected
    assert found.source_name == name
    assert f'kind: {expected[0]}, from the file name' in found.origins


@pytest.mark.parametrize('name', [
    'mine.pth', 'depth_anything_v2_vits_refit.pth', 'depth_anything_v2_vits.pth.bak',
    'my_depth_anything_v2_vits.pth', 'depth_anything_vits.pth', 'pytorch_model.bin'])
def test_any_other_name_asks_for_what_is_missing(name: str) -> None:
    with pytest.raises(CheckpointError, match='its kind is unknown.*add --kind relative or --kin'):
        by_name(name)
    with pytest.raises(CheckpointError, match='model version.*add --model-version v1 or'):
        by_name(name, overrides=Overrides('relative'))
    with pytest.raises(CheckpointError, match='max depth.*add --max-depth METRES'):
        by_name(name, overrides=Overrides('metric', 'v2'))
    found = by_name(name, overrides=Overrides('metric', 'v2', 12.5))
    assert (found.kind, found.model_version, found.max_depth_m) == ('metric', 'v2', 12.5)
    assert found.licence == 'unknown' and found.source_name == name


def test_options_win_over_the_name_and_the_contradiction_is_reported() -> None:
    found = by_name('depth_anything_v2_metric_vkitti_vits.pth',
                    overrides=Overrides('metric', 'v1', 100))
    assert (found.model_version, found.max_depth_m) == ('v1', 100)
    assert 'model version: v1, from --model-version, although the file name says v2' in (
        found.origins)
    assert 'max depth in metres: 100, from --max-depth, although the file name says 80.0' in (
        found.origins)
    assert 'kind: metric, from the file name' not in found.origins
    other = by_name('depth_anything_v2_vits.pth', overrides=Overrides('metric', None, 20.0))
    assert 'kind: metric, from --kind, although the file name says relative' in other.origins


def test_a_name_of_another_encoder_is_not_relied_on() -> None:
    with pytest.raises(CheckpointError, match='its kind is unknown'):
        by_name('depth_anything_v2_vitb.pth', 'vits')
    found = by_name('depth_anything_v2_vitb.pth', 'vits', overrides=Overrides('relative', 'v2'))
    assert found.licence == 'unknown'
    assert 'file name: it describes vitb, so it is ignored' in found.origins


def test_max_depth_must_fit_the_kind_and_be_a_length() -> None:
    with pytest.raises(CheckpointError, match='--max-depth belongs to metric models'):
        by_name('depth_anything_v2_vits.pth', overrides=Overrides(max_depth_m=20.0))
    for value in (0.0, -1.0, float('nan'), float('inf')):
        with pytest.raises(CheckpointError, match='give a positive number of metres'):
            by_name('mine.pth', overrides=Overrides('metric', 'v2', value))


def test_a_licence_that_forbids_commercial_use_is_reported() -> None:
    assert any('forbids commercial use' in line
               for line in by_name('depth_anything_v2_vitl.pth', 'vitl').origins)
    assert any('vitl are under CC-BY-NC-4.0' in line for line in by_name(
        'mine.pth', 'vitl', overrides=Overrides('relative', 'v2')).origins)


@pytest.mark.parametrize(('licence', 'forbidden'), [
    ('CC-BY-NC-4.0', True), ('cc-by-nc-sa-4.0', True), ('CC-BY-NC', True), ('Apache-2.0', False),
    ('NCSA', False), ('BSD-NCX', False), ('unknown', False)])
def test_licences_that_forbid_commercial_use_are_known(licence: str, forbidden: bool) -> None:
    assert forbids_commercial_use(licence) == forbidden


def test_config_json_wins_over_the_name() -> None:
    config = Evidence('config.json', 'Depth-Anything-V2-Small-hf', 'vits', 'metric', 'v1', 5.0)
    found = by_name('folder', config=config)
    assert (found.kind, found.model_version, found.max_depth_m) == ('metric', 'v1', 5.0)
    assert 'kind: metric, from config.json, although the file name says relative' in found.origins
    assert found.licence == 'Apache-2.0'


def test_a_config_json_of_another_encoder_is_not_relied_on() -> None:
    config = Evidence('config.json', 'mine', 'vitb', 'relative', 'v2')
    with pytest.raises(CheckpointError, match='its kind is unknown'):
        by_name('mine', config=config)


def test_a_download_record_states_the_licence_where_nothing_else_does(tmp_path: Path) -> None:
    for name, expected in (('mine.pth', ('MIT', 'me/my-depth')),
                           ('depth_anything_v2_vits.pth',
                            ('Apache-2.0', 'depth_anything_v2_vits.pth'))):
        path = tmp_path / name
        path.write_bytes(b'weights')
        write_record(path, DownloadRecord('me/my-depth', 'c0ffee', {name: sha256_of([path])},
                                          'MIT', '2026-01-01'))
        found = identity_of(path, SPECS['vits'], Overrides('relative', 'v2'))
        assert (found.licence, found.source_name) == expected


def test_the_record_of_shards_is_valid_for_all_of_them_only(tmp_path: Path) -> None:
    record = DownloadRecord('me/my-depth', 'c0ffee', {'a': 'a' * 64, 'b': 'b' * 64}, 'MIT', '')
    write_record(tmp_path, record)
    for digests, found in ((('a' * 64, 'b' * 64), (from_record(tmp_path, record),)),
                           (('a' * 64, DIGEST), ())):
        assert checkpoint_evidence(tmp_path, digests, SPECS['vits'], None) == found


def test_an_encoder_that_the_tensors_contradict_is_refused() -> None:
    name = 'depth_anything_v2_vits.pth'
    assert by_name(name, overrides=Overrides(encoder='vits')).encoder == 'vits'
    with pytest.raises(CheckpointError, match='are those of vits, not of vitb; leave out --enc'):
        by_name(name, overrides=Overrides(encoder='vitb'))


def distilled(path: Path, student: str) -> None:
    """Write a checkpoint without tensors, and its record."""
    path.write_bytes(b'weights')
    write_distillation_record(path, DistillationRecord(
        student, 'my-teacher', '0' * 64, 'MIT', 90, 10, 0, {}, 0.9, sha256_of([path])))


def test_the_record_of_a_distillation_states_everything(tmp_path: Path) -> None:
    path = tmp_path / 'mine.pth'
    distilled(path, 'vitt')
    found = identity_of(path, SPECS['vitt'])
    assert (found.kind, found.model_version, found.licence) == ('relative', 'v2', 'MIT')
    assert found.source_name == 'mine.pth, distilled from my-teacher'
    assert 'kind: relative, from the record of the distillation' in found.origins


def test_the_record_of_another_file_or_student_is_not_relied_on(tmp_path: Path) -> None:
    path = tmp_path / 'mine.pth'
    distilled(path, 'tiny')
    with pytest.raises(CheckpointError, match='its kind is unknown'):
        identity_of(path, SPECS['vitt'])
    distilled(path, 'vitt')
    path.write_bytes(b'other weights')
    with pytest.raises(CheckpointError, match='its kind is unknown'):
        identity_of(path, SPECS['vitt'])


@pytest.mark.parametrize('stale', ['download', 'distillation'])
def test_inspect_and_convert_agree_on_a_stale_record(
        save_checkpoint: Callable[..., Path], table: tuple[EncoderSpec, ...], stale: str) -> None:
    """The record was made for another file that had the same name."""
    pytest.importorskip('torch')
    from depth_anything_ros.convert.sources.load_network import load_network
    path = save_checkpoint('mine.pth')
    for digest, licence in ((sha256_of([path]), 'MIT'), (DIGEST, 'unknown')):
        if stale == 'download':
            write_record(path, DownloadRecord('somebody/field-depth', 'c0ffee',
                                              {'mine.pth': digest}, 'MIT', '2026-01-01'))
        else:
            write_distillation_record(path, DistillationRecord(
                'tiny', 'my-teacher', '0' * 64, 'MIT', 90, 10, 0, {}, 0.9, digest))
        found = inspect(path, table)
        used = load_network(path, Overrides('relative', 'v2'), table).identity
        assert found.licence == used.licence == licence
        assert (found.source_name or 'mine.pth') == used.source_name
        assert (used.source_name == 'mine.pth') == (licence == 'unknown')
