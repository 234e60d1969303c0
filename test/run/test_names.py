"""Names of outputs: those of the reference tools, each used once."""

from pathlib import Path

from depth_anything_ros.errors import ImageError
from depth_anything_ros.run.tasks import check_bag_target, check_inputs_stay, unique_stems
import pytest


def test_a_name_is_the_stem_of_the_input() -> None:
    assert unique_stems(['a/one.jpg', 'b/two.tar.png', 'three']) == ['one', 'two.tar', 'three']


def test_inputs_of_one_stem_get_their_folders_in_front() -> None:
    assert unique_stems(['a/x.jpg', 'b/c/x.jpg', 'y.jpg', '/data/x.png', '../z/x.png']) == [
        'a_x', 'b_c_x', 'y', 'data_x', 'z_x']


@pytest.mark.parametrize(('names', 'shared'), [
    (['a/x.jpg', 'a/x.png'], 'a_x'), (['a/x.jpg', 'b/x.jpg', 'a_x.jpg'], 'a_x')])
def test_two_inputs_that_still_share_a_name_are_both_named(
        names: list[str], shared: str) -> None:
    with pytest.raises(ImageError) as error:
        unique_stems(names)
    assert f'{names[0]} and {names[-1]} would both be written as {shared}' in str(error.value)


def test_an_output_never_replaces_its_input(tmp_path: Path) -> None:
    photo = tmp_path / 'photo.png'
    check_inputs_stay([photo], [tmp_path / 'out' / 'photo.png'])
    with pytest.raises(ImageError, match='would replace its input .*photo.png'):
        check_inputs_stay([photo], [tmp_path / 'out' / '..' / 'photo.png'])


def test_an_output_never_replaces_a_folder_with_an_input(tmp_path: Path) -> None:
    check_inputs_stay([tmp_path / 'drive_depth2' / 'drive'], [tmp_path / 'drive_depth'])
    for place in (tmp_path, 'memory://bucket'):
        with pytest.raises(ImageError, match='would replace its input .*drive_depth/drive;'):
            check_inputs_stay([f'{place}/drive_depth/drive'], [f'{place}/drive_depth'])


@pytest.mark.parametrize(('files', 'may_replace', 'sentence'), [
    ([], False, 'out exists already; add --force'),
    (['metadata.yaml', '0.mcap'], False, 'out exists already; add --force'),
    (['0.mcap', 'metadata.yaml', 'notes.txt'], True, 'out holds notes.txt, so it is not only a'),
    (['metadata.yaml', '0.db3', 'other/0.db3'], True, 'out holds other/0.db3, so it is not only'),
    (['0.mcap'], True, 'out holds no metadata.yaml, so it is not only a bag')])
def test_a_bag_replaces_only_a_bag(files: list[str], may_replace: bool, sentence: str) -> None:
    check_bag_target('out', ['metadata.yaml', '0.mcap', '1.db3.zstd', '2.db3-shm'], True)
    check_bag_target('out', [], True)
    with pytest.raises(ImageError, match=sentence):
        check_bag_target('out', files, may_replace)
