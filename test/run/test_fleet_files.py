"""Which files a run on a fleet computes: those of the plain run, under the same names."""

from collections.abc import Iterator
import os
from pathlib import Path
from typing import Any

from bags import RAW, raw_image, write_bag
import cv2
from depth_anything_ros.errors import ImageError
from depth_anything_ros.fleet import storage
from depth_anything_ros.media.video import VideoFile
from depth_anything_ros.run.fleet_files import (
    facts_of, find_files, find_missing, Missing, open_places, Work)
from depth_anything_ros.run.fleet_worker import Recording
from depth_anything_ros.run.tasks import make_tasks, RunOptions
import numpy as np
import pytest
from tiny import TINY_INFO

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let relative paths lead into the test's folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def store() -> Iterator[Any]:
    """Yield the empty object store memory:// of this process."""
    fsspec = pytest.importorskip('fsspec')
    system = fsspec.filesystem('memory')
    if system.exists('/'):
        system.rm('/', recursive=True)
    yield system


def write_video(name: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    video = VideoFile(Path(name), 20)
    video.write(NOISE)
    video.close()


def write_picture(name: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(name, NOISE)


def write_drive(name: str) -> Path:
    pytest.importorskip('rosbags.rosbag2')
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    return write_bag(Path(name), [('/camera/image_raw', RAW, 1, raw_image(0, NOISE))])


def options(source: str, outdir: str, **others: Any) -> RunOptions:
    return RunOptions(Path('m.xml'), source, outdir=Path(outdir), **others)


def find(source: str, outdir: str, **others: Any) -> Work:
    return find_files(options(source, outdir, **others), outdir, TINY_INFO)


def missing(source: str, outdir: str, **others: Any) -> Missing:
    """Return what a run has to compute, and note its facts as the run does."""
    given = options(source, outdir, **others)
    places, facts = open_places(given, outdir), facts_of(given, 'digest')
    found = find_missing(find(source, outdir, **others), places, given, facts)
    if not found.continues:
        storage.write(places.facts, facts)
    return found


def recordings(work: Work | Missing) -> list[str]:
    return [file.stem for file in work.files if isinstance(file, Recording)]


@pytest.mark.parametrize(('source', 'outdir', 'file_format'), [
    ('v', '.', 'png8'), ('v', 'v', 'npy'), ('v', 'out', 'png8'), ('v', 'v/out', 'png8'),
    ('v/x.mp4', 'v', 'npy'), ('drive.mcap', 'out', 'png8'), ('recs', 'recs', 'png8'),
    ('latest', 'out', 'png8')])
def test_every_layout_of_the_plain_run_gives_its_names(
        source: str, outdir: str, file_format: Any) -> None:
    for name in ('v/x.mp4', 'v/a/y.mp4', 'v/b/y.mp4', 'v/out/old.mp4'):
        write_video(name)
    for name in ('plain', 'recs/other'):
        write_drive(name)
    os.rename('plain', 'drive.mcap')
    os.rename('recs/other', 'recs/other.bag')
    os.symlink('drive.mcap', 'latest')
    given = options(source, outdir, file_format=file_format)
    plain = [Path(str(task.target)).name if task.target else Path(
        task.frame_pattern).name for task in make_tasks(given)]
    stems = recordings(missing(source, outdir, file_format=file_format))
    endings = ('.mp4', '_depth', '_{:06d}.npy')
    assert len(stems) == len(plain)
    for stem, name in zip(stems, plain):
        assert name in [f'{stem}{ending}' for ending in endings]


def test_a_link_to_the_input_is_the_input() -> None:
    write_video('v/x.mp4')
    os.symlink('v', 'link')
    with pytest.raises(ImageError, match='would replace its input .*v/x.mp4'):
        missing('v', 'link')
    assert recordings(missing('v', 'link', file_format='npy')) == ['x']


def test_another_input_is_computed_and_the_same_one_is_not() -> None:
    for name in ('left', 'right'):
        write_picture(f'{name}/0.png')
    os.symlink('left', 'latest')

    def compute(source: str) -> int:
        count = len(missing(source, 'out').files)
        Path('out/0.png').write_bytes(b'x')
        return count

    assert [compute(source) for source in ('left', 'left', 'right', 'right')] == [1, 0, 1, 0]
    assert compute('latest') == 1 and compute('left') == 0
    os.remove('latest')
    os.symlink('right', 'latest')
    assert compute('latest') == 1
    for name in ('left', 'right'):
        Path('list.txt').write_text(f'{name}/0.png\n')
        assert [compute('list.txt') for _ in range(2)] == [1, 0]


@pytest.mark.parametrize('force', [False, True])
def test_a_folder_with_more_than_a_bag_is_never_replaced(force: bool) -> None:
    write_drive('in/drive')
    write_drive('out/drive_depth')
    Path('out/drive_depth/notes.txt').write_text('mine')
    with pytest.raises(ImageError, match='holds notes.txt' if force else 'add --force'):
        missing('in', 'out', force=force)
    write_drive('drive_depth/drive')
    with pytest.raises(ImageError, match='would replace its input .*drive_depth/drive'):
        missing('drive_depth/drive', '.', force=force)


def test_a_single_bag_that_is_done_is_not_refused() -> None:
    write_drive('drive')
    assert recordings(missing('drive', 'out')) == ['drive']
    write_drive('out/drive_depth')
    places = open_places(options('drive', 'out'), 'out')
    storage.write(f'{places.done}/drive.json', b'{"images": 1, "results": ["drive_depth"]}')
    assert missing('drive', 'out') == Missing([], 1, True)


def test_an_object_store_has_the_same_rules(store: Any) -> None:
    for name in ('drives/x.mp4', 'drives/day.mcap/metadata.yaml', 'drives/day.mcap/0.db3',
                 'drives/out/x.mp4'):
        store.pipe_file(f'/b/{name}', b'x')
    assert recordings(find('memory://b/drives', 'memory://b')) == ['day.mcap', 'out_x', 'x']
    assert recordings(find('memory://b/drives', 'memory://b/drives/out')) == ['day.mcap', 'x']
    store.pipe_file('/b/day.mcap_depth/notes.txt', b'mine')
    with pytest.raises(ImageError, match='memory://b/day.mcap_depth holds notes.txt'):
        missing('memory://b/drives', 'memory://b', force=True)


def test_what_is_left_out_of_a_folder_is_said_wherever_it_is(store: Any) -> None:
    write_picture('photos/a.png')
    for name in ('b.heic', 'clip.mp4', 'drive/metadata.yaml', 'drive/0.mcap', 'out/old.mp4'):
        Path('photos', name).parent.mkdir(exist_ok=True)
        Path('photos', name).write_bytes(b'')
    for path in Path('photos').rglob('*.*'):
        store.pipe_file(f'/b/{path}', b'x')
    for root in ('.', 'memory://b'):
        work = find(f'{root}/photos', f'{root}/photos/out')
        assert [file.place.rpartition('/')[2] for file in work.files] == ['a.png']
        assert sorted(file.name for file in work.left_out) == ['b.heic', 'clip.mp4', 'drive']


def test_a_list_is_read_in_every_place_like_a_local_one(store: Any) -> None:
    lines = '# frames\r\n1305031102.175304 rgb/1.png\r\nmemory://c/2.png\r\n'
    write_picture('folder/rgb/1.png')
    for encoding in ('utf-8-sig', 'utf-16'):
        store.pipe_file('/b/list.txt', lines.encode(encoding))
        Path('folder/list.txt').write_bytes(lines.encode(encoding))
        for folder in ('memory://b', 'folder'):
            assert [file.place for file in find(f'{folder}/list.txt', 'out').files] == [
                storage.whole(f'{folder}/rgb/1.png'), 'memory://c/2.png']
    store.pipe_file('/b/list.txt', b'drive.mcap/\nother.mcap\n')
    assert list(find('memory://b/list.txt', 'out').files) == [
        Recording('memory://b/drive.mcap', 'drive.mcap'),
        Recording('memory://b/other.mcap', 'other')]
    for content, sentence in ((b'# nothing\n', 'is empty; write one path a line'),
                              (b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\0', 'is not a text file')):
        store.pipe_file('/b/list.txt', content)
        with pytest.raises(ImageError, match=f'memory://b/list.txt {sentence}'):
            find('memory://b/list.txt', 'out')
