"""Files on paths and in object stores, and what is said where they cannot be reached."""

from collections.abc import Iterator
import os
from pathlib import Path
import time

from depth_anything_ros.errors import FleetError, ImageError
from depth_anything_ros.fleet import storage
import pytest

pytest.importorskip('fsspec')


@pytest.fixture(params=['path', 'file', 'memory'])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return a folder: a path, its URL, and one in the memory of this process."""
    if request.param == 'memory':
        yield f'memory://{tmp_path.name}/drives'
        import fsspec
        fsspec.filesystem('memory').rm('/', recursive=True)
    else:
        yield f'{"file://" if request.param == "file" else ""}{tmp_path / "drives"}'


def test_files_are_written_listed_and_read(place: str) -> None:
    before_s = time.time()
    assert storage.list_files(place) == {} and storage.read(f'{place}/a.txt') is None
    for name in ('a.txt', 'deep/b.txt', '.hidden/c.txt', 'deep/.d.txt'):
        storage.write(f'{place}/{name}', name.encode())
    found = storage.list_files(place)
    assert list(found) == ['a.txt', 'deep/b.txt']
    assert all(before_s - 5 < time_s < time.time() + 5 for time_s in found.values())
    assert storage.read(f'{place}/deep/b.txt') == b'deep/b.txt'
    assert storage.is_file(f'{place}/a.txt') and not storage.is_file(f'{place}/deep')
    assert storage.exists(f'{place}/deep') and not storage.exists(f'{place}/other')
    assert storage.changed_s(f'{place}/a.txt') == found['a.txt']
    assert storage.changed_s(place) == max(found.values())
    assert storage.changed_s(f'{place}/other') is None


def test_a_file_or_folder_is_published_and_fetched(place: str, tmp_path: Path) -> None:
    storage.write(f'{place}/here.txt', b'')
    for content in ('first', 'second'):
        folder = tmp_path / 'bag'
        folder.mkdir()
        (folder / f'{content}.db3').write_text(content)
        (tmp_path / 'one.txt').write_text(content)
        storage.publish(folder, f'{place}/bag')
        storage.publish(tmp_path / 'one.txt', f'{place}/one.txt')
        assert not folder.exists() and not (tmp_path / 'one.txt').exists()
    copies = tmp_path / 'copies'
    copies.mkdir()
    bag = storage.fetch(f'{place}/bag', copies)
    assert {file.name: file.read_text() for file in bag.iterdir()} == {'second.db3': 'second'}
    assert bag.name == 'bag'
    assert storage.fetch(f'{place}/one.txt', copies).read_text() == 'second'


def test_a_missing_object_is_an_error_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match='there is no file or folder memory://nothing/x.png'):
        storage.fetch('memory://nothing/x.png', tmp_path)


def test_a_witness_tells_whether_a_folder_is_the_same(place: str) -> None:
    with storage.witnessed(place) as witness:
        witness.check()
        storage.remove(witness.place)
        with pytest.raises(FleetError, match='does not see the folder .*drives of this program; '
                           'mount the shared storage there'):
            witness.check()
    with storage.witnessed(place) as witness:
        pass
    assert not storage.exists(witness.place)


@pytest.mark.parametrize(('url', 'sentence'), [
    ('nosuch://bucket/x', 'cannot be reached .*nosuch'),
    ('http://127.0.0.1:9/x', 'http://127.0.0.1:9/x cannot be reached')])
def test_a_url_that_cannot_be_reached_is_named(url: str, sentence: str) -> None:
    with pytest.raises(OSError, match=sentence):
        storage.read(url)


def test_places_mean_the_same_in_any_folder(tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.whole('a/../b') == str(tmp_path / 'b')
    assert storage.whole('file:///data/x') == '/data/x'
    assert storage.whole('s3://bucket/x/') == 's3://bucket/x'
    assert storage.local_path('s3://bucket/x') is None
    assert os.fspath(storage.local_path('c:/x') or '') == str(tmp_path / 'c:/x')
