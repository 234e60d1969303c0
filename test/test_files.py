"""Files, folders and models appear complete or not at all."""

import errno
from functools import partial
import os
from pathlib import Path
from typing import Any

from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.files import (
    atomic_path, check_target, expand_home, make_folder, publish_model, staging_folder)
import pytest


def test_the_home_folder_is_filled_in_or_named_when_there_is_none(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('HOME', str(tmp_path))
    assert expand_home('~/models') == tmp_path / 'models'
    assert expand_home(Path('/models/~')) == Path('/models/~')
    with pytest.raises(OSError, match='the home folder of ~nosuchuser is unknown; write the'):
        expand_home('~nosuchuser/models')


def test_a_file_replaces_an_older_one_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / 'depth.png'
    path.write_text('old')
    with atomic_path(path) as staged:
        staged.write_text('new')
        assert path.read_text() == 'old'
        assert staged.suffix == '.png' and staged.parent.name.startswith('.')
    assert path.read_text() == 'new'
    assert os.listdir(tmp_path) == ['depth.png']


@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt])
def test_whatever_goes_wrong_leaves_nothing_behind(
        tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), atomic_path(tmp_path / 'depth.png') as staged:
        staged.write_text('half')
        raise error
    with pytest.raises(error), atomic_path(tmp_path / 'bag') as staged:
        staged.mkdir()
        (staged / 'half').write_text('half')
        raise error
    assert not list(tmp_path.iterdir())


def test_an_error_that_is_a_sentence_already_is_not_changed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match='^the codec is missing$'), \
            atomic_path(tmp_path / 'video.mp4'):
        raise OSError('the codec is missing')


def test_a_block_that_writes_nothing_makes_no_file(tmp_path: Path) -> None:
    with atomic_path(tmp_path / 'video.mp4'):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_replaces_an_older_one_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / 'bag'
    for content in ('old', 'new'):
        with atomic_path(path) as staged:
            assert staged.name == 'bag' and not staged.exists()
            staged.mkdir()
            (staged / content).write_text(content)
            assert content == 'old' or (path / 'old').exists()
    assert os.listdir(tmp_path) == ['bag'] and os.listdir(path) == ['new']


@pytest.mark.parametrize('error', [OSError(errno.ENOSPC, 'full'), KeyboardInterrupt()])
def test_an_older_folder_stays_if_the_new_one_cannot_take_its_place(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    path, replace = tmp_path / 'bag', os.replace
    path.mkdir()
    (path / 'mine').write_text('mine')

    def fail_at_last(source: Path, target: Path) -> None:
        if source.parent != tmp_path and source.name == 'bag':
            raise error
        replace(source, target)

    monkeypatch.setattr(os, 'replace', fail_at_last)
    with pytest.raises(type(error)), atomic_path(path) as staged:
        staged.mkdir()
    assert os.listdir(tmp_path) == ['bag'] and os.listdir(path) == ['mine']


def test_a_file_never_replaces_a_folder(tmp_path: Path) -> None:
    (tmp_path / 'depth.png').mkdir()
    (tmp_path / 'depth.png' / 'mine').write_text('mine')
    with pytest.raises(OSError, match='depth.png cannot be written .Is a directory.'), \
            atomic_path(tmp_path / 'depth.png') as staged:
        staged.write_text('new')
    assert os.listdir(tmp_path) == ['depth.png'] and os.listdir(tmp_path / 'depth.png') == ['mine']


def test_new_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / 'usual').write_text('')
    with atomic_path(tmp_path / 'depth.npy') as staged:
        staged.write_text('')
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r'depth.png cannot be written \(No space left on device\); '
                       'free some space or choose another folder'), \
            atomic_path(tmp_path / 'depth.png'):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not list(tmp_path.iterdir())


def test_a_folder_is_made_or_what_stands_in_its_way_is_named(tmp_path: Path) -> None:
    make_folder(tmp_path / 'a' / 'b')
    make_folder(tmp_path / 'a' / 'b')
    assert not list((tmp_path / 'a' / 'b').iterdir())
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='file/below cannot be written'):
        make_folder(tmp_path / 'file' / 'below')


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_a_folder_without_permission_is_named_at_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match='cannot be written .Permission denied'):
        make_folder(tmp_path)


def write_ir(folder: Path, text: str) -> Path:
    (folder / 'model.bin').write_text(text)
    (folder / 'model.xml').write_text(text)
    return folder / 'model.xml'


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_publish_moves_both_files_and_replaces_older_ones(tmp_path: Path) -> None:
    target = tmp_path / 'depth.xml'
    for text in ('old', 'new'):
        with staging_folder(target, 0) as folder:
            publish_model(write_ir(folder, text), target)
        assert contents(tmp_path) == {'depth.xml': text, 'depth.bin': text}


@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt, SystemExit])
def test_whatever_goes_wrong_nothing_stays(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / 'models' / 'depth.xml'
    with pytest.raises(error), staging_folder(target, 0) as folder:
        write_ir(folder, 'half')
        assert not target.exists()
        raise error
    assert not list(tmp_path.iterdir())


def test_a_failed_conversion_leaves_the_older_ir_alone(tmp_path: Path) -> None:
    target = tmp_path / 'depth.xml'
    target.write_text('old')
    with pytest.raises(RuntimeError), staging_folder(target, 0) as folder:
        write_ir(folder, 'new')
        raise RuntimeError
    assert contents(tmp_path) == {'depth.xml': 'old'}


def test_weights_do_not_stay_without_their_xml(tmp_path: Path) -> None:
    target = tmp_path / 'depth.xml'
    with pytest.raises(OSError), staging_folder(target, 0) as folder:
        xml = write_ir(folder, 'new')
        xml.unlink()
        publish_model(xml, target)
    assert not list(tmp_path.iterdir())


def test_too_little_space_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r'needs 1\d* MB and \d+ MB are free; free some'), \
            staging_folder(tmp_path / 'depth.xml', 10 ** 18):
        raise AssertionError
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(CheckpointError, match='file/models: the folder cannot be written'), \
            staging_folder(tmp_path / 'file' / 'models' / 'depth.xml', 0):
        raise AssertionError


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_a_folder_without_write_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CheckpointError, match='cannot be written .Permission denied.; choose'), \
            staging_folder(tmp_path / 'depth.xml', 0):
        raise AssertionError


def test_an_existing_file_is_replaced_only_with_force(tmp_path: Path) -> None:
    (tmp_path / 'depth.bin').write_text('old')
    with pytest.raises(CheckpointError, match='depth.bin: the file exists already; add --force'):
        check_target(tmp_path / 'depth.xml', overwrite=False)
    check_target(tmp_path / 'depth.xml', overwrite=True)


@pytest.mark.parametrize('name', ['depth.xml', 'depth.bin'])
def test_a_source_is_not_replaced_even_with_force(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('mine')
    for overwrite in (False, True):
        with pytest.raises(CheckpointError, match=f'{name}: that is the source, .* another -o'):
            check_target(tmp_path / 'depth.xml', overwrite, is_source=(tmp_path / name).samefile)


def test_names_that_cannot_be_an_ir_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match='ends in .xml; write -o .*depth.xml'):
        check_target(tmp_path / 'depth.onnx', overwrite=True)
    for folder in (Path(''), Path('..'), Path('/'), tmp_path):
        with pytest.raises(CheckpointError, match=f'write -o {folder / "NAME.xml"}$'):
            check_target(folder, overwrite=True)
    (tmp_path / 'depth.xml').mkdir()
    with pytest.raises(CheckpointError, match='a folder has that name'):
        check_target(tmp_path / 'depth.xml', overwrite=True)


@pytest.mark.parametrize('make', [atomic_path, partial(staging_folder, needed_bytes=0)])
def test_a_signal_while_the_hidden_folder_is_made_leaves_none(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    mkdir = Path.mkdir

    def interrupted(path: Path, *arguments: Any, **options: Any) -> None:
        mkdir(path, *arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, 'mkdir', interrupted)
    with pytest.raises(KeyboardInterrupt), make(tmp_path / 'mine.xml'):
        pytest.fail('the block was entered')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('suffix', 'longest'), [('.xml', 251), ('.onnx', 245)])
def test_a_name_that_is_too_long_for_a_file_or_its_weights_is_refused(
        tmp_path: Path, suffix: str, longest: int) -> None:
    check_target(tmp_path / f'{"n" * longest}{suffix}', False, suffix)
    with pytest.raises(CheckpointError, match='its name is longer than 255 bytes; choose a shor'):
        check_target(tmp_path / f'{"n" * (longest + 1)}{suffix}', False, suffix)
    with pytest.raises(CheckpointError, match='its name is longer than 255 bytes'):
        check_target(tmp_path / f'{chr(228) * 200}{suffix}', False, suffix)


def test_a_device_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(OSError, match='pipe is a pipe or a device and cannot be replaced'), \
            atomic_path(tmp_path / 'pipe') as staged:
        staged.write_text('depth')
    assert os.listdir(tmp_path) == ['pipe'] and (tmp_path / 'pipe').is_fifo()
