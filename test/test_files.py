"""Files and folders appear whole or not at all."""

import errno
import os
from pathlib import Path

from depth_anything_ros.files import make_folder, atomic_file, atomic_folder
import pytest


def test_a_file_replaces_an_older_one_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / 'depth.png'
    path.write_text('old')
    with atomic_file(path) as staged:
        staged.write_text('new')
        assert path.read_text() == 'old'
        assert staged.suffix == '.png' and staged.name.startswith('.')
    assert path.read_text() == 'new'
    assert os.listdir(tmp_path) == ['depth.png']


@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt])
def test_whatever_goes_wrong_leaves_nothing_behind(
        tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), atomic_file(tmp_path / 'depth.png') as staged:
        staged.write_text('half')
        raise error
    with pytest.raises(error), atomic_folder(tmp_path / 'bag') as staged:
        staged.mkdir()
        (staged / 'half').write_text('half')
        raise error
    assert not list(tmp_path.iterdir())


def test_a_block_that_writes_nothing_makes_no_file(tmp_path: Path) -> None:
    with atomic_file(tmp_path / 'video.mp4'):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_replaces_an_older_one_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / 'bag'
    for content in ('old', 'new'):
        with atomic_folder(path) as staged:
            assert staged.name == 'bag' and not staged.exists()
            staged.mkdir()
            (staged / content).write_text(content)
            assert content == 'old' or (path / 'old').exists()
    assert os.listdir(tmp_path) == ['bag'] and os.listdir(path) == ['new']


def test_new_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / 'usual').write_text('')
    with atomic_file(tmp_path / 'depth.npy') as staged:
        staged.write_text('')
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r'depth.png cannot be written \(No space left on device\); '
                       'free some space or choose another folder'), \
            atomic_file(tmp_path / 'depth.png'):
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
