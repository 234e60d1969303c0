"""Downloading from a hub, here a small server that answers like one."""

from collections.abc import Callable
import errno
import json
from pathlib import Path
import shutil
import subprocess
import sys

from depth_anything_ros.convert.hub import client as hub_client
from depth_anything_ros.convert.hub.download import fetch, find_checkpoint
from depth_anything_ros.convert.hub.resolve import name_of
from depth_anything_ros.convert.sources.records import (
    DownloadRecord, read_record, record_path, write_record)
from depth_anything_ros.errors import CheckpointError
from loopback_hub import COMMIT, etag_of, HubServer
import pytest

huggingface_hub = pytest.importorskip('huggingface_hub')

# The hub's client keeps what has come in pieces of 10 MB.
LARGE = bytes(range(256)) * (25 * 4096)
SMALL = b'the weights'
DEFAULT_REPOSITORY = 'depth-anything/Depth-Anything-V2-Small'
FILE = 'depth_anything_v2_vits.pth'
SMALL_HF = 'depth-anything/Depth-Anything-V2-Small-hf'


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the pauses that the hub's client makes between its tries."""
    monkeypatch.setattr('time.sleep', lambda seconds: None)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return a folder that is not there yet."""
    return tmp_path / 'models'


def download_checkpoint(name: str, folder: Path) -> Path:
    """Return the checkpoint of a short name or hub id, fetched into ``folder`` if need be."""
    return fetch(find_checkpoint(name), folder)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def commands(hub: HubServer, name: str) -> list[str]:
    return [command for command, file, _ in hub.requests if file == name]


def test_downloads_the_checkpoint_once_and_records_where_it_is_from(
        hub: HubServer, models: Path) -> None:
    hub.files[DEFAULT_REPOSITORY, FILE] = LARGE
    path = download_checkpoint('vits', models)
    assert path == models / FILE and path.read_bytes() == LARGE
    assert names_in(models) == [FILE, f'{FILE}.download.json']
    record = read_record(path)
    assert record is not None
    assert (record.repository, record.revision, record.licence) == (
        DEFAULT_REPOSITORY, COMMIT, 'Apache-2.0')
    assert record.files == {FILE: etag_of(FILE, LARGE)}
    assert len(record.date.split('-')) == 3
    assert download_checkpoint(DEFAULT_REPOSITORY, models) == path
    assert commands(hub, FILE).count('GET') == 1


def test_of_two_processes_one_downloads_and_the_other_waits(
        hub: HubServer, models: Path) -> None:
    hub.files[DEFAULT_REPOSITORY, FILE] = SMALL
    models.mkdir()
    lock = models / f'.{FILE}.lock'
    code = (f'import fcntl, pathlib, sys; lock = open({str(lock)!r}, "w")\n'
            'fcntl.lockf(lock, fcntl.LOCK_EX); print("locked", flush=True); sys.stdin.readline()\n'
            f'pathlib.Path({str(models / FILE)!r}).write_bytes({SMALL!r})\n'
            f'pathlib.Path({str(lock)!r}).unlink()')
    lines: list[str] = []
    with subprocess.Popen([sys.executable, '-c', code], text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdin and other.stdout.readline() == 'locked\n'

        def report(line: str) -> None:
            lines.append(line)
            if 'another process downloads it' in line:
                other.communicate('end\n', timeout=60)

        path = fetch(find_checkpoint('vits'), models, report=report)
    assert path.read_bytes() == SMALL and 'exists already and equals' in lines[-1]
    assert names_in(models) == [FILE, f'{FILE}.download.json']
    assert commands(hub, FILE).count('GET') == 0


def test_an_output_has_the_name_of_a_folder_also_from_inside(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'model.v2').mkdir()
    monkeypatch.chdir(tmp_path / 'model.v2')
    assert [name_of(Path(one)) for one in ('.', '../model.v2', 'mine.pth')] == [
        'model.v2', 'model.v2', 'mine']


def test_a_hugging_face_model_becomes_a_folder(hub: HubServer, models: Path) -> None:
    hub.files[SMALL_HF, 'config.json'] = b'{}'
    hub.files[SMALL_HF, 'model.safetensors'] = SMALL
    path = download_checkpoint('vits-hf', models)
    assert path == models / 'Depth-Anything-V2-Small-hf'
    assert names_in(path) == ['config.json', 'download.json', 'model.safetensors']
    assert names_in(models) == [path.name]
    record = read_record(path)
    assert record is not None and set(record.files) == {'config.json', 'model.safetensors'}
    download_checkpoint('vits-hf', models)
    assert commands(hub, 'model.safetensors').count('GET') == 1


def test_a_first_generation_checkpoint_gets_its_official_name(
        hub: HubServer, models: Path) -> None:
    hub.files['LiheYoung/depth_anything_vits14', 'pytorch_model.bin'] = SMALL
    path = download_checkpoint('v1-vits', models)
    assert (path.name, path.read_bytes()) == ('depth_anything_vits14.pth', SMALL)
    record = read_record(path)
    assert record is not None and list(record.files) == ['depth_anything_vits14.pth']


def test_the_shards_of_a_foreign_repository_are_found_through_the_hub(
        hub: HubServer, models: Path) -> None:
    shards = [f'model-0000{number}-of-00002.safetensors' for number in (1, 2)]
    for name in ('config.json', 'model.safetensors.index.json', *shards, 'README.md'):
        hub.files['somebody/field-depth', name] = SMALL
    hub.tags = ['depth-estimation', 'license:cc-by-nc-4.0']
    found = find_checkpoint('somebody/field-depth')
    assert (found.licence, found.non_commercial) == ('CC-BY-NC-4.0', True)
    path = fetch(found, models)
    assert names_in(path) == ['config.json', 'download.json', *shards,
                              'model.safetensors.index.json']


def test_a_foreign_repository_without_a_checkpoint_is_refused(hub: HubServer) -> None:
    hub.files['somebody/words', 'tokenizer.json'] = b'{}'
    with pytest.raises(CheckpointError, match='none of its files .*.tokenizer.json.; fetch'):
        find_checkpoint('somebody/words')


@pytest.mark.parametrize('name', [
    '../../evil.pth', '/tmp/evil.pth', 'a/../../evil.pth', '..\\evil.pth', 'C:\\evil.pth',
    './evil.pth', 'a//evil.pth', 'e\nvil.pth', 'C:evil.pth'])
def test_a_file_name_that_leads_out_of_the_repository_is_refused(
        hub: HubServer, name: str) -> None:
    hub.files['somebody/field-depth', name] = SMALL
    with pytest.raises(CheckpointError, match='which is no name inside a repository') as caught:
        find_checkpoint('somebody/field-depth')
    assert '\n' not in str(caught.value)


def test_a_checkpoint_in_a_subfolder_is_saved_under_its_own_name(
        hub: HubServer, models: Path) -> None:
    hub.files['somebody/field-depth', 'checkpoints/best/depth.pth'] = SMALL
    path = fetch(find_checkpoint('somebody/field-depth'), models)
    assert path == models / 'depth.pth' and path.read_bytes() == SMALL
    assert names_in(models) == ['depth.pth', 'depth.pth.download.json']
    assert fetch(find_checkpoint('somebody/field-depth'), models) == path
    assert commands(hub, 'checkpoints/best/depth.pth').count('GET') == 1


def test_a_checkpoint_in_a_subfolder_is_found_in_the_cache_of_the_hub(
        hub: HubServer, models: Path) -> None:
    name = 'checkpoints/depth.pth'
    hub.files['somebody/field-depth', name] = SMALL
    huggingface_hub.hf_hub_download('somebody/field-depth', name, endpoint=hub.address,
                                    token=False)
    checkpoint = find_checkpoint('somebody/field-depth')
    path = fetch(checkpoint, models, offline=True)
    record = read_record(path)
    assert path == models / 'depth.pth' and path.read_bytes() == SMALL
    assert record is not None and record.revision == COMMIT


@pytest.mark.parametrize('name', ['../evil', '/etc/hostname', 'a/b'])
def test_a_record_that_names_files_elsewhere_is_no_record(models: Path, name: str) -> None:
    models.mkdir()
    (models / FILE).write_bytes(SMALL)
    write_record(models / FILE, DownloadRecord('me/mine', COMMIT, {name: '0' * 64}, 'MIT', ''))
    assert read_record(models / FILE) is None


def test_a_repository_that_the_hub_lacks_is_answered_with_the_nearest_names(
        hub: HubServer) -> None:
    with pytest.raises(CheckpointError, match='for example, depth-anything/Depth-Anything-V2-Sm'):
        find_checkpoint('depth-anything/Depth-Anything-V2-Smal')


@pytest.mark.usefixtures('impatient')
def test_a_download_that_breaks_off_is_continued(hub: HubServer, models: Path) -> None:
    hub.files[DEFAULT_REPOSITORY, FILE] = LARGE
    hub.torn = 1
    assert download_checkpoint('vits', models).read_bytes() == LARGE
    first, second = [part for command, _, part in hub.requests if command == 'GET']
    assert first is None and second is not None and second.startswith('bytes=10')


@pytest.mark.usefixtures('impatient')
def test_a_download_that_never_ends_leaves_no_checkpoint_and_works_the_next_time(
        hub: HubServer, models: Path) -> None:
    hub.files[DEFAULT_REPOSITORY, FILE] = LARGE
    hub.torn = 10 ** 6
    with pytest.raises(CheckpointError, match='the download failed'):
        download_checkpoint('vits', models)
    assert not list(models.glob('*.pth'))
    hub.torn = 0
    assert download_checkpoint('vits', models).read_bytes() == LARGE
    assert names_in(models) == [FILE, f'{FILE}.download.json']


@pytest.mark.usefixtures('impatient')
def test_the_finished_files_of_a_folder_are_not_downloaded_again(
        hub: HubServer, models: Path) -> None:
    hub.files[SMALL_HF, 'config.json'] = b'{}'
    hub.files[SMALL_HF, 'model.safetensors'] = LARGE
    hub.torn_file, hub.torn = 'model.safetensors', 10 ** 6
    with pytest.raises(CheckpointError, match='the download failed'):
        download_checkpoint('vits-hf', models)
    assert names_in(models) == ['.Depth-Anything-V2-Small-hf.partial']
    hub.torn = 0
    hub.requests.clear()
    path = download_checkpoint('vits-hf', models)
    assert commands(hub, 'config.json') == ['HEAD']
    assert names_in(path) == ['config.json', 'download.json', 'model.safetensors']
    assert names_in(models) == [path.name]


@pytest.mark.parametrize('name', ['vits', 'vits-hf'])
def test_a_file_with_another_sha256_is_removed(hub: HubServer, models: Path, name: str) -> None:
    hub.files[DEFAULT_REPOSITORY, FILE] = SMALL
    hub.files[SMALL_HF, 'config.json'] = hub.files[SMALL_HF, 'model.safetensors'] = SMALL
    hub.etag = '0' * (64 if name == 'vits' else 40)
    with pytest.raises(CheckpointError, match='not have the sha256 that the hub names, and was'):
        download_checkpoint(name, models)
    assert not models.exists()


def test_a_file_of_the_same_name_that_is_something_else_is_left_alone(
        hub: HubServer, models: Path) -> None:
    hub.files[DEFAULT_REPOSITORY, FILE] = SMALL
    models.mkdir()
    (models / FILE).write_bytes(b'fine-tuned')
    with pytest.raises(CheckpointError, match='differs from .*Small on the hub; remove it or ch'):
        download_checkpoint('vits', models)
    assert (models / FILE).read_bytes() == b'fine-tuned'


def test_a_file_that_was_fetched_by_hand_is_recognised(hub: HubServer, models: Path) -> None:
    hub.files[DEFAULT_REPOSITORY, FILE] = SMALL
    models.mkdir()
    (models / FILE).write_bytes(SMALL)
    path = download_checkpoint('vits', models)
    assert commands(hub, FILE) == ['HEAD'] and read_record(path) is not None


def test_the_record_of_another_file_is_replaced(hub: HubServer, models: Path) -> None:
    hub.files[DEFAULT_REPOSITORY, FILE] = SMALL
    models.mkdir()
    (models / FILE).write_bytes(SMALL)
    write_record(models / FILE, DownloadRecord('me/mine', COMMIT, {FILE: '0' * 64}, 'MIT', ''))
    record = read_record(download_checkpoint('vits', models))
    assert record is not None and record.repository == DEFAULT_REPOSITORY


def test_too_little_space_is_said_before_anything_is_fetched(
        hub: HubServer, models: Path) -> None:
    hub.files[DEFAULT_REPOSITORY, FILE] = SMALL
    hub.stated_size = 10 ** 18
    with pytest.raises(CheckpointError, match=r'needs 1\d* MB and \d+ MB are free; free some'):
        download_checkpoint('vits', models)
    assert 'GET' not in commands(hub, FILE) and not models.exists()


def test_a_disk_that_fills_up_is_named(
        hub: HubServer, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> str:
        raise OSError(errno.ENOSPC, 'No space left on device')

    hub.files[DEFAULT_REPOSITORY, FILE] = SMALL
    monkeypatch.setattr('huggingface_hub.file_download.http_get', full)
    with pytest.raises(CheckpointError, match='the disk is full; free some space'):
        download_checkpoint('vits', models)
    assert not models.exists()


def test_a_folder_that_cannot_be_made_is_named(hub: HubServer, tmp_path: Path) -> None:
    hub.files[DEFAULT_REPOSITORY, FILE] = SMALL
    (tmp_path / 'file').write_text('')
    with pytest.raises(CheckpointError, match='file/models: the folder cannot be written'):
        download_checkpoint('vits', tmp_path / 'file' / 'models')


def test_a_file_that_the_hub_lacks_is_named_with_its_address(
        hub: HubServer, models: Path) -> None:
    with pytest.raises(CheckpointError, match='V2-Base/resolve/main/.*_vitb.pth: the hub does not '
                       'have this file.*fetch that file by hand and put it into .*models'):
        download_checkpoint('vitb', models)
    assert not models.exists()


def test_a_file_behind_terms_of_use_says_so(hub: HubServer, models: Path) -> None:
    hub.files[DEFAULT_REPOSITORY, FILE] = SMALL
    hub.gated = True
    with pytest.raises(CheckpointError, match='only to users who accepted its terms; accept them'):
        download_checkpoint('vits', models)
    assert not models.exists()


@pytest.mark.usefixtures('hub')
def test_a_proxy_that_does_not_answer_is_named(
        models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    with HubServer() as closed:
        monkeypatch.setenv('HTTP_PROXY', closed.address)
    monkeypatch.delenv('no_proxy', raising=False)
    monkeypatch.delenv('NO_PROXY', raising=False)
    monkeypatch.setenv('HF_ENDPOINT', 'http://hub.invalid')
    huggingface_hub.close_session()
    try:
        with pytest.raises(CheckpointError, match='check the network and its proxy') as caught:
            download_checkpoint('vits', models)
    finally:
        huggingface_hub.close_session()
    assert '\n' not in str(caught.value)


def test_a_server_that_is_no_hub_is_said_to_be_none(hub: HubServer, models: Path) -> None:
    hub.files[DEFAULT_REPOSITORY, FILE] = SMALL
    hub.etag = '"'
    with pytest.raises(CheckpointError, match='no Hugging Face hub.*; check HF_ENDPOINT'):
        download_checkpoint('vits', models)


@pytest.fixture
def unreachable(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point HF_ENDPOINT at a port where nobody answers."""
    with HubServer() as closed:
        monkeypatch.setenv('HF_ENDPOINT', closed.address)


@pytest.mark.usefixtures('unreachable')
def test_without_a_network_it_says_what_to_do(models: Path) -> None:
    with pytest.raises(CheckpointError, match='check the network and its proxy, or fetch that'):
        download_checkpoint('vits', models)
    with pytest.raises(CheckpointError, match='the hub did not describe it .*check the network'):
        download_checkpoint('somebody/something', models)


@pytest.mark.usefixtures('unreachable')
def test_without_a_network_the_file_in_the_folder_is_used(models: Path) -> None:
    models.mkdir()
    (models / FILE).write_bytes(SMALL)
    lines: list[str] = []
    assert fetch(find_checkpoint('vits'), models, report=lines.append) == models / FILE
    assert 'exists already; the hub was not contacted' in lines[0]
    assert 'is used, because' in lines[1]


@pytest.fixture
def cached(hub: HubServer, tmp_path: Path) -> Path:
    """Put both kinds of checkpoint into the hub's cache, as its client does."""
    for repository, name in ((DEFAULT_REPOSITORY, FILE), (SMALL_HF, 'config.json'),
                             (SMALL_HF, 'model.safetensors')):
        hub.files[repository, name] = SMALL
        huggingface_hub.hf_hub_download(repository, name, endpoint=hub.address, token=False)
    hub.requests.clear()
    return tmp_path / 'cache'


@pytest.mark.parametrize(('name', 'found'), [
    ('vits', FILE), ('vits-hf', 'Depth-Anything-V2-Small-hf/model.safetensors')])
@pytest.mark.parametrize('way', ['option', 'variable'])
@pytest.mark.usefixtures('cached')
def test_offline_the_cache_of_the_hub_is_used_and_the_network_is_not(
        hub: HubServer, models: Path, monkeypatch: pytest.MonkeyPatch, name: str, found: str,
        way: str) -> None:
    if way == 'variable':
        monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    lines: list[str] = []
    path = fetch(find_checkpoint(name), models, offline=way == 'option', report=lines.append)
    assert (models / found).read_bytes() == SMALL
    assert "from the hub's cache" in lines[0] and not hub.requests
    record = read_record(path)
    assert record is not None and record.revision == COMMIT


@pytest.mark.usefixtures('cached')
def test_what_is_in_the_cache_of_the_hub_is_not_downloaded_again(
        hub: HubServer, models: Path) -> None:
    assert download_checkpoint('vits', models).read_bytes() == SMALL
    assert 'GET' not in commands(hub, FILE)


def test_a_damaged_copy_in_the_cache_is_refused(cached: Path, models: Path) -> None:
    for blob in cached.rglob('blobs/*'):
        blob.write_bytes(b'damaged')
    with pytest.raises(CheckpointError, match='cache is damaged; remove it'):
        fetch(find_checkpoint('vits'), models, offline=True)
    assert not models.exists()


def test_offline_a_download_that_was_damaged_since_is_refused(
        hub: HubServer, models: Path) -> None:
    hub.files[DEFAULT_REPOSITORY, FILE] = SMALL
    download_checkpoint('vits', models).write_bytes(b'damaged')
    with pytest.raises(CheckpointError, match='its sha256 is not the one in the record'):
        fetch(find_checkpoint('vits'), models, offline=True)


def test_offline_and_nowhere_is_said(hub: HubServer, models: Path) -> None:
    with pytest.raises(CheckpointError, match='neither there nor in the hub.s cache, and the net'):
        fetch(find_checkpoint('vits'), models, offline=True)
    with pytest.raises(CheckpointError, match='unknown without the network; choose one of'):
        find_checkpoint('somebody/something', offline=True)
    assert not hub.requests and not models.exists()


@pytest.mark.parametrize('spoil', [
    lambda path: path.write_text('{'), lambda path: path.write_text('{"repository": "a"}'),
    lambda path: path.write_text(json.dumps([])), lambda path: path.unlink()])
def test_a_record_that_cannot_be_read_is_none(
        hub: HubServer, models: Path, spoil: Callable[[Path], None]) -> None:
    hub.files[DEFAULT_REPOSITORY, FILE] = SMALL
    path = download_checkpoint('vits', models)
    assert read_record(path) is not None
    spoil(record_path(path))
    assert read_record(path) is None


def test_a_record_travels_with_its_folder(hub: HubServer, models: Path, tmp_path: Path) -> None:
    for name in ('config.json', 'model.safetensors'):
        hub.files[SMALL_HF, name] = SMALL
    path = download_checkpoint('vits-hf', models)
    record = read_record(path)
    shutil.move(path, tmp_path / 'elsewhere')
    assert record is not None and read_record(tmp_path / 'elsewhere') == record


def test_a_variable_for_a_mirror_wins_and_needs_no_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HF_ENDPOINT', 'http://mirror/')
    assert hub_client.endpoint() == 'http://mirror'
    monkeypatch.delenv('HF_ENDPOINT')
    assert hub_client.endpoint() == 'https://huggingface.co'
