"""Kind, version and range come from the name, the sha256 or an option and are never guessed."""

from pathlib import Path

from depth_anything_ros.convert.sources.identity import (
    Evidence, ModelIdentity, Overrides, resolve_identity)
from depth_anything_ros.convert.sources.records import (
    DistillationRecord, sha256_of, write_distillation_record)
from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.networks.models import MODELS, NANO
import pytest

REFIT_SHA256 = '1e9260954ef8fd73180a3a0bd710e1aad0502aa2958ac258902b2260ca0f4304'
SPECS = {spec.name: spec for spec in MODELS}


def settle(name: str, encoder: str = 'vits', sha256: str = '', overrides: Overrides | None = None,
           evidence: Evidence | None = None, recorded: Evidence | None = None) -> ModelIdentity:
    return resolve_identity(Path(name), sha256, SPECS[encoder], overrides or Overrides(), evidence, recorded)


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
    ('depth_anything_v2_vitl_fp16.safetensors', 'vitl', ('relative', 'v2', None, 'CC-BY-NC-4.0')),
    ('Depth-Anything-V2-Metric-Outdoor-Base-hf', 'vitb', ('metric', 'v2', 80, 'CC-BY-NC-4.0')),
    ('depth-anything-large-hf', 'vitl', ('relative', 'v1', None, 'Apache-2.0'))])
def test_official_names_tell_everything(
        name: str, encoder: str, expected: tuple[object, ...]) -> None:
    found = settle(name, encoder)
    assert (found.kind, found.model_version, found.max_depth_m, found.licence) == expected
    assert found.source_name == name
    assert f'kind: {expected[0]}, from the file name' in found.origins


def test_a_known_sha256_tells_everything_whatever_the_name() -> None:
    found = settle('renamed.pth', sha256=REFIT_SHA256)
    assert (found.kind, found.model_version, found.licence) == ('relative', 'v2', 'Apache-2.0')
    assert found.source_name == 'DA-V2-Small with one refit layer'
    assert 'model version: v2, from the sha256' in found.origins


@pytest.mark.parametrize('name', [
    'mine.pth', 'depth_anything_v2_vits_refit.pth', 'depth_anything_v2_vits.pth.bak',
    'my_depth_anything_v2_vits.pth', 'depth_anything_vits.pth', 'pytorch_model.bin'])
def test_any_other_name_asks_for_what_is_missing(name: str) -> None:
    with pytest.raises(CheckpointError, match='tells the kind.*add --kind relative or --kind me'):
        settle(name)
    with pytest.raises(CheckpointError, match='model version.*add --model-version v1 or'):
        settle(name, overrides=Overrides('relative'))
    with pytest.raises(CheckpointError, match='max depth.*add --max-depth METRES'):
        settle(name, overrides=Overrides('metric', 'v2'))
    found = settle(name, overrides=Overrides('metric', 'v2', 12.5))
    assert (found.kind, found.model_version, found.max_depth_m) == ('metric', 'v2', 12.5)
    assert found.licence == 'unknown' and found.source_name == name


def test_options_win_over_the_name_and_the_contradiction_is_said() -> None:
    found = settle('depth_anything_v2_metric_vkitti_vits.pth', overrides=Overrides('metric', 'v1', 100))
    assert (found.model_version, found.max_depth_m) == ('v1', 100)
    assert 'model version: v1, as asked, although the file name says v2' in found.origins
    assert 'max depth in metres: 100, as asked, although the file name says 80.0' in found.origins
    assert 'kind: metric, from the file name' not in found.origins
    other = settle('depth_anything_v2_vits.pth', overrides=Overrides('metric', None, 20.0))
    assert 'kind: metric, as asked, although the file name says relative' in other.origins


def test_a_name_of_another_encoder_is_not_relied_on() -> None:
    with pytest.raises(CheckpointError, match='neither its name nor its sha256'):
        settle('depth_anything_v2_vitb.pth', 'vits')
    found = settle('depth_anything_v2_vitb.pth', 'vits', overrides=Overrides('relative', 'v2'))
    assert found.licence == 'unknown'
    assert 'file name: says vitb, so nothing is taken from it' in found.origins


def test_max_depth_must_fit_the_kind_and_be_a_length() -> None:
    with pytest.raises(CheckpointError, match='--max-depth belongs to metric models'):
        settle('depth_anything_v2_vits.pth', overrides=Overrides(max_depth_m=20.0))
    for value in (0.0, -1.0, float('nan'), float('inf')):
        with pytest.raises(CheckpointError, match='give a positive number of metres'):
            settle('mine.pth', overrides=Overrides('metric', 'v2', value))


def test_a_licence_that_forbids_commercial_use_is_said() -> None:
    assert any('forbids commercial use' in line
               for line in settle('depth_anything_v2_vitl.pth', 'vitl').origins)
    assert any('vitl are under CC-BY-NC-4.0' in line for line in settle(
        'mine.pth', 'vitl', overrides=Overrides('relative', 'v2')).origins)


def test_config_json_wins_over_the_name_and_the_sha256_over_both() -> None:
    evidence = Evidence('config.json', 'Depth-Anything-V2-Small-hf', 'vits', 'metric', 'v1', 5.0)
    found = settle('folder', evidence=evidence)
    assert (found.kind, found.model_version, found.max_depth_m) == ('metric', 'v1', 5.0)
    assert 'kind: metric, from config.json, although the file name says relative' in found.origins
    assert found.licence == 'Apache-2.0'
    found = settle('folder', sha256=REFIT_SHA256, evidence=evidence)
    assert 'model version: v2, from the sha256, although config.json says v1' in found.origins


def test_a_config_json_of_another_encoder_is_not_relied_on() -> None:
    evidence = Evidence('config.json', 'mine', 'vitb', 'relative', 'v2')
    with pytest.raises(CheckpointError, match='tells the kind'):
        settle('mine', evidence=evidence)


def test_a_download_tells_the_licence_where_nothing_else_does() -> None:
    recorded = Evidence('the record of the download', 'me/my-depth', licence='MIT')
    found = settle('mine.pth', overrides=Overrides('relative', 'v2'), recorded=recorded)
    assert (found.licence, found.source_name) == ('MIT', 'me/my-depth')
    found = settle('depth_anything_v2_vits.pth', recorded=recorded)
    assert (found.licence, found.source_name) == ('Apache-2.0', 'depth_anything_v2_vits.pth')


def test_an_encoder_that_the_tensors_contradict_is_refused() -> None:
    assert settle('depth_anything_v2_vits.pth', overrides=Overrides(encoder='vits')).encoder == 'vits'
    with pytest.raises(CheckpointError, match='are those of vits, not of vitb; leave out --enc'):
        settle('depth_anything_v2_vits.pth', overrides=Overrides(encoder='vitb'))


def distilled(path: Path, student: str) -> None:
    """Write a checkpoint without tensors, and its record."""
    path.write_bytes(b'weights')
    write_distillation_record(path, DistillationRecord(
        student, 'my-teacher', '0' * 64, 'MIT', 90, 10, 0, {}, 0.9, sha256_of([path])))


def test_the_record_of_a_distillation_tells_everything(tmp_path: Path) -> None:
    path = tmp_path / 'mine.pth'
    distilled(path, 'vitt')
    found = resolve_identity(path, '', SPECS['vitt'], Overrides())
    assert (found.kind, found.model_version, found.licence) == ('relative', 'v2', 'MIT')
    assert found.source_name == 'mine.pth, distilled from my-teacher'
    assert 'kind: relative, from the record of the distillation' in found.origins


def test_the_record_of_another_file_or_student_is_not_relied_on(tmp_path: Path) -> None:
    path = tmp_path / 'mine.pth'
    distilled(path, 'nano')
    with pytest.raises(CheckpointError, match='neither its name nor its sha256 tells the kind'):
        resolve_identity(path, '', SPECS['vitt'], Overrides())
    distilled(path, 'vitt')
    path.write_bytes(b'other weights')
    with pytest.raises(CheckpointError, match='neither its name nor its sha256 tells the kind'):
        resolve_identity(path, '', SPECS['vitt'], Overrides())


def test_nano_needs_no_options_and_takes_none_that_it_cannot_meet() -> None:
    found = resolve_identity(Path('mine.pth'), '', NANO, Overrides(encoder='nano'))
    assert (found.encoder, found.kind, found.model_version, found.licence) == (
        'nano', 'relative', 'v2', 'unknown')
    assert 'kind: relative, from the network' in found.origins
    for overrides in (Overrides('metric', max_depth_m=20.0), Overrides(model_version='v1')):
        with pytest.raises(CheckpointError, match='it is nano, which gives inverse depth'):
            resolve_identity(Path('mine.pth'), '', NANO, overrides)
