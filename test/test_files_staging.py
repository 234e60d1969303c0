"""An IR has its name only when it is complete; nothing else stays behind."""

import os
from pathlib import Path

from depth_anything_ros.errors import CheckpointError
from depth_anything_ros.files import check_target, publish, staged
import pytest


def write_ir(folder: Path, text: str) -> Path:
    (folder / 'model.bin').write_text(text)
    (folder / 'model.xml').write_text(text)
    return folder / 'model.xml'


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_publish_moves_both_files_and_replaces_older_ones(tmp_path: Path) -> None:
    target = tmp_path / 'depth.xml'
    for text in ('old', 'new'):
        with staged(target, 0) as folder:
            publish(write_ir(folder, text), target)
        assert contents(tmp_path) == {'depth.xml': text, 'depth.bin': text}


@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt, SystemExit])
def test_whatever_goes_wrong_nothing_stays(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / 'models' / 'depth.xml'
    with pytest.raises(error), staged(target, 0) as folder:
        write_ir(folder, 'half')
        assert not target.exists()
        raise error
    assert not list(tmp_path.iterdir())


def test_a_failed_conversion_leaves_the_older_ir_alone(tmp_path: Path) -> None:
    target = tmp_path / 'depth.xml'
    target.write_text('old')
    with pytest.raises(RuntimeError), staged(target, 0) as folder:
        write_ir(folder, 'new')
        raise RuntimeError
    assert contents(tmp_path) == {'depth.xml': 'old'}


def test_weights_do_not_stay_without_their_xml(tmp_path: Path) -> None:
    target = tmp_path / 'depth.xml'
    with pytest.raises(OSError), staged(target, 0) as folder:
        xml = write_ir(folder, 'new')
        xml.unlink()
        publish(xml, target)
    assert not list(tmp_path.iterdir())


def test_too_little_space_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r'needs 1\d* MB and \d+ MB are free; free some'), \
            staged(tmp_path / 'depth.xml', 10 ** 18):
        raise AssertionError
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(CheckpointError, match='file/models: the folder cannot be written'), \
            staged(tmp_path / 'file' / 'models' / 'depth.xml', 0):
        raise AssertionError


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_a_folder_without_write_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CheckpointError, match='cannot be written .Permission denied.; choose'), \
            staged(tmp_path / 'depth.xml', 0):
        raise AssertionError


def test_an_existing_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / 'depth.bin').write_text('old')
    with pytest.raises(CheckpointError, match='depth.bin: the file exists already; add --force'):
        check_target(tmp_path / 'depth.xml', overwrite=False)
    check_target(tmp_path / 'depth.xml', overwrite=True)


def test_names_that_cannot_be_an_ir_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match='ends in .xml; write -o .*depth.xml'):
        check_target(tmp_path / 'depth.onnx', overwrite=True)
    (tmp_path / 'depth.xml').mkdir()
    with pytest.raises(CheckpointError, match='there is a folder of that name'):
        check_target(tmp_path / 'depth.xml', overwrite=True)
