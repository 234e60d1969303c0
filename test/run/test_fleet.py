"""``depth_anything_run --ray``: the files of the plain run, made by two workers."""

from collections.abc import Callable
import os
from pathlib import Path
import signal
import sys
import threading
import time
from typing import Any

from bags import RAW, raw_image, write_bag
import cv2
from depth_anything_ros.cli.signals import StopRequest
from depth_anything_ros.errors import ImageError
from depth_anything_ros.fleet import storage
from depth_anything_ros.fleet.worker import Reports
from depth_anything_ros.inference.ir import read_ir_files
from depth_anything_ros.media.video import VideoFile
from depth_anything_ros.model_info import ModelInfo
from depth_anything_ros.run import fleet_job
from depth_anything_ros.run.fleet_files import facts_of, find_files, find_missing, open_places
from depth_anything_ros.run.fleet_worker import OpenRunWorker, Picture, Recording
from depth_anything_ros.run.main import main
from depth_anything_ros.run.tasks import RunOptions
import numpy as np
import pytest
from ray_cluster import kill_a_worker, when
from tiny import TINY_INFO

pytest.importorskip('typer')
pytest.importorskip('rich')

NOISE = np.random.default_rng(0).integers(0, 256, (112, 140, 3), np.uint8)


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let relative paths lead into the test's folder."""
    monkeypatch.chdir(tmp_path)


def write_photos(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f'{number:04}.png'), np.roll(NOISE, number, axis=1))


def write_video(path: Path, count: int) -> None:
    video = VideoFile(path, 20)
    for number in range(count):
        video.write(np.roll(NOISE, number))
    video.close()


def written(folder: str) -> dict[str, bytes]:
    """Return the files of a folder, without hidden ones, by their relative names."""
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(Path(folder).rglob('*')) if path.is_file()
            and not any(part.startswith('.') for part in path.relative_to(folder).parts)}


def count(folder: str) -> int:
    return len(list(Path(folder).glob('*.png')))


def test_a_killed_worker_loses_no_file(
        ray_cluster: Any, tmp_path: Path, make_ir: Callable[..., Path],
        capsys: pytest.CaptureFixture[str]) -> None:
    write_photos(tmp_path / 'photos', 80)
    (tmp_path / 'photos' / 'broken.png').write_bytes(b'no picture')
    model = str(make_ir(slow_layers=6))
    assert main([model, '--input', 'photos', '--outdir', 'plain', '--precision', 'f32']) == 1
    with when(lambda: count('fleet') > 20, kill_a_worker) as killed:
        status = main([model, '--input', 'photos', '--outdir', 'fleet', '--precision', 'f32',
                       '--ray', ray_cluster.address])
    out, err = capsys.readouterr()
    assert killed.is_set()
    assert status == 1 and err.count('error: broken.png: OpenCV cannot decode') == 2
    assert out.splitlines()[1].startswith('80 images in') and ', 1 failed, written to' in out
    assert 'warning: ' in err and ': a worker ended (' in err
    assert written('fleet') == written('plain')
    assert os.listdir('fleet/.depth_anything_run') == ['run.json']


def test_an_interrupted_run_continues(
        ray_cluster: Any, tmp_path: Path, make_ir: Callable[..., Path],
        capsys: pytest.CaptureFixture[str]) -> None:
    write_photos(tmp_path / 'photos', 100)
    model = str(make_ir(slow_layers=10))
    command = [model, '--input', 'photos', '--outdir', 'fleet', '--ray', ray_cluster.address]
    with when(lambda: count('fleet') > 20, lambda: os.kill(os.getpid(), signal.SIGINT)):
        assert main(command) == 130
    first = {name: os.stat(Path('fleet', name)).st_mtime_ns for name in written('fleet')}
    assert 20 < len(first) < 100
    assert all(cv2.imread(f'fleet/{name}') is not None for name in first)
    out, _ = capsys.readouterr()
    assert out.startswith(f'interrupted: {len(first)} images in')
    assert out.endswith('run the same command again to continue\n')
    assert main(command) == 0
    out, _ = capsys.readouterr()
    assert out.startswith(f'{100 - len(first)} images in') and f'{len(first)} done before' in out
    assert count('fleet') == 100
    assert first == {name: os.stat(Path('fleet', name)).st_mtime_ns for name in first}
    assert main(command) == 0
    assert capsys.readouterr().out.startswith('0 images in')


def test_recordings_become_what_the_plain_run_makes_of_them(
        ray_cluster: Any, tmp_path: Path, tiny_ir: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('rosbags.rosbag2')
    drives = tmp_path / 'drives'
    drives.mkdir()
    write_video(drives / 'clip.mp4', 5)
    for name in ('drive_24.05.01', 'drive_24.05.02'):
        write_bag(drives / name, [
            ('/camera/image_raw', RAW, 100 * number, raw_image(number, NOISE))
            for number in range(1, 4)])
    (drives / 'broken.mp4').write_bytes(b'no video')
    command = [str(tiny_ir), '--input', 'drives', '--precision', 'f32']
    assert main([*command, '--outdir', 'plain']) == 1
    fleet = [*command, '--outdir', 'fleet', '--ray', ray_cluster.address]
    assert main(fleet) == 1
    out, err = capsys.readouterr()
    assert 'broken.mp4 is damaged' in err.splitlines()[-1]
    assert list(written('fleet')) == list(written('plain'))
    assert {name.split('/')[0] for name in written('fleet')} == {
        'clip.mp4', 'drive_24.05.01_depth', 'drive_24.05.02_depth'}
    write_video(drives / 'broken.mp4', 2)
    assert main(fleet) == 0
    assert capsys.readouterr().out.startswith('2 images in')


def test_storage_that_the_machines_do_not_see_is_named(
        ray_cluster: Any, tmp_path: Path, tiny_ir: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    write_photos(tmp_path / 'photos', 2)
    assert main([str(tiny_ir), '--input', 'photos', '--outdir', 'memory://here/out', '--ray',
                 ray_cluster.address]) == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith(
        'it does not see the folder memory://here/out of this program; mount the shared storage '
        'there')


def test_without_the_option_nothing_of_it_is_loaded(
        tmp_path: Path, tiny_ir: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    write_photos(tmp_path / 'photos', 1)
    for name in ('ray', 'fsspec', 'depth_anything_ros.fleet.dispatch'):
        monkeypatch.setitem(sys.modules, name, None)
    assert main([str(tiny_ir), '--input', 'photos']) == 0
    assert main([str(tiny_ir), '--input', 's3://bucket/photos']) == 1
    err = capsys.readouterr().err
    assert 's3://bucket/photos is a URL' in err and '--ray reads object stores' in err


@pytest.fixture
def bucket() -> str:
    """Return a folder of an object store in the memory of this process."""
    fsspec = pytest.importorskip('fsspec')
    system = fsspec.filesystem('memory')
    if system.exists('/'):
        system.rm('/', recursive=True)
    for name in ('a/1.png', 'b/1.png', 'b/2.JPG', 'notes.yaml', 'out/old.png', '.hidden/3.png'):
        system.makedirs(f'/bucket/{name.rpartition("/")[0]}', exist_ok=True)
        system.pipe_file(f'/bucket/{name}', b'x')
    return 'memory://bucket'


def find(source: str, outdir: str, **options: Any) -> list[Any]:
    return list(find_files(RunOptions(Path('m.xml'), source, **options), outdir, info()).files)


def test_a_url_of_a_file_is_its_path(
        tmp_path: Path, tiny_ir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results that lie among the images are no images of the next run either."""
    write_photos(tmp_path / 'photos', 3)
    write_photos(tmp_path / 'photos' / 'out', 1)
    found: list[Any] = []
    monkeypatch.setattr(fleet_job, '_compute', lambda missing, *rest: (
        found.extend(missing.files), StopRequest())[1])
    url = f'file://{tmp_path}/photos'
    assert main([str(tiny_ir), '--ray', 'auto', '--input', url, '--outdir', f'{url}/out']) == 0
    assert [file.place for file in found] == [
        f'{tmp_path}/photos/{number:04}.png' for number in range(3)]


def info() -> ModelInfo:
    return TINY_INFO


def test_objects_are_found_like_files(bucket: str, tmp_path: Path) -> None:
    pictures = find(bucket, f'{bucket}/out')
    assert [(file.name, file.place, file.target) for file in pictures] == [
        ('a/1.png', f'{bucket}/a/1.png', 'a_1.png'), ('b/1.png', f'{bucket}/b/1.png', 'b_1.png'),
        ('b/2.JPG', f'{bucket}/b/2.JPG', '2.png')]
    assert [file.target for file in find(f'{bucket}/b/2.JPG', 'x', file_format='npy')] == ['2.npy']
    (tmp_path / 'list.txt').write_text(f'# 2\n  # images\n{bucket}/b/2.JPG\n\n{bucket}/a/1.png\n')
    assert [file.place for file in find('list.txt', 'x')] == [
        f'{bucket}/b/2.JPG', f'{bucket}/a/1.png']
    import fsspec
    system = fsspec.filesystem('memory')
    for name in ('clip.mp4', 'drive_1.5/metadata.yaml', 'drive_1.5/0.mcap', 'single.mcap'):
        system.pipe_file(f'/tapes/{name}', b'x')
    assert [(file.place, file.stem) for file in find('memory://tapes', 'x')] == [
        ('memory://tapes/clip.mp4', 'clip'), ('memory://tapes/drive_1.5', 'drive_1.5'),
        ('memory://tapes/single.mcap', 'single')]
    assert [file.stem for file in find('memory://tapes/drive_1.5', 'x')] == ['drive_1.5']
    with pytest.raises(ImageError, match='memory://nothing holds no image, video or bag'):
        find('memory://nothing', 'x')
    (tmp_path / 'list.txt').write_text(f'{bucket}/b/2.JPG\nmemory://tapes/clip.mp4\n')
    with pytest.raises(ImageError, match='names pictures and recordings; make a list of each'):
        find('list.txt', 'x')


def test_the_time_of_a_bag_is_that_of_its_newest_file(
        monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f'{number:06}.mp4': 1.0 for number in range(30_000)}
    files |= {'drive/metadata.yaml': 2.0, 'drive/deep/0.mcap': 3.0, 'driver.mcap': 9.0}
    monkeypatch.setattr(storage, 'is_file', lambda place: False)
    monkeypatch.setattr(storage, 'list_files', lambda place: files)
    begin = time.monotonic()
    work = find_files(RunOptions(Path('m.xml'), 's3://tapes'), 'out', info())
    assert work.changed_s['s3://tapes/drive'] == 3.0
    assert work.changed_s['s3://tapes/000007.mp4'] == 1.0
    assert len(work.changed_s) == 30_002 and time.monotonic() - begin < 30.0


def test_results_of_other_options_or_of_older_files_are_made_again(tmp_path: Path) -> None:
    write_photos(tmp_path / 'photos', 3)

    def missing(digest: str = 'm', **changes: Any) -> list[str]:
        options = RunOptions(Path('m.xml'), 'photos', outdir=Path('out'), **changes)
        places, facts = open_places(options, 'out'), facts_of(options, digest)
        found = find_missing(find_files(options, 'out', info()), places, options, facts)
        if not found.continues:
            storage.write(places.facts, facts)
        return [file.name for file in found.files]

    def compute(*numbers: int) -> None:
        for number in numbers:
            (tmp_path / 'out' / f'{number:04}.png').write_bytes(b'x')

    every = ['0000.png', '0001.png', '0002.png']
    assert missing() == every
    compute(0, 2)
    assert missing() == ['0001.png']
    os.utime('photos/0002.png', (4e9, 4e9))
    assert missing() == ['0001.png', '0002.png']
    os.utime('photos/0002.png', (1, 1))
    assert missing(color_map='gray') == every
    assert missing(color_map='gray') == every
    compute(0)
    assert missing('other') == every
    with pytest.raises(ImageError, match='would replace its input .*photos/0000.png'):
        options = RunOptions(Path('m.xml'), 'photos', outdir=Path('elsewhere'))
        find_missing(find_files(options, 'photos', info()), open_places(options, 'photos'),
                     options, b'')


def test_a_worker_reads_and_writes_an_object_store(bucket: str, tmp_path: Path,
                                                   tiny_ir: Path) -> None:
    import fsspec
    system = fsspec.filesystem('memory')
    write_video(tmp_path / 'clip.mp4', 3)
    for name, content in (('1.png', cv2.imencode('.png', NOISE)[1].tobytes()),
                          ('2.png', b'no picture'),
                          ('clip.mp4', (tmp_path / 'clip.mp4').read_bytes()),
                          ('broken.mp4', b'no video')):
        system.pipe_file(f'/bucket/in/{name}', content)
    options = RunOptions(tiny_ir, f'{bucket}/in', precision='f32')
    places, reports = open_places(options, f'{bucket}/results'), Reports()
    with storage.witnessed(f'{bucket}/results') as witness:
        worker = OpenRunWorker(options, read_ir_files(tiny_ir), None, places, witness)(print, 1)
        worker.run([Picture(name, f'{bucket}/in/{name}', name) for name in ('1.png', '2.png')]
                   + [Recording(f'{bucket}/in/{stem}.mp4', stem) for stem in ('clip', 'broken')],
                   reports, threading.Event())
    results = dict(reports.collected().results)
    assert list(storage.list_files(f'{bucket}/results')) == ['1.png', 'clip.mp4']
    assert (results[0], results[1].name, results[2].done) == (None, '2.png', 3)
    assert results[3].failed[0].reason.startswith(f'{bucket}/in/broken.mp4 is damaged')
    assert b'"results": ["clip.mp4"]' in storage.read(f'{places.done}/clip.json')
    found = storage.read(f'{bucket}/results/1.png')
    cv2.imwrite('1.png', NOISE)
    assert main([str(tiny_ir), '--input', '1.png', '--precision', 'f32']) == 0
    assert Path('vis_depth/1.png').read_bytes() == found
