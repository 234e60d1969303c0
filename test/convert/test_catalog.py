"""Names of published checkpoints: what they stand for, and what is close to a wrong one."""

from depth_anything_ros.convert.hub.catalog import published
from depth_anything_ros.convert.hub.download import find_checkpoint
from depth_anything_ros.errors import CheckpointError
import pytest

DEFAULT_REPOSITORY = 'depth-anything/Depth-Anything-V2-Small'
FILE = 'depth_anything_v2_vits.pth'


@pytest.mark.parametrize(('name', 'repository', 'saved_as', 'licence'), [
    ('vits', DEFAULT_REPOSITORY, FILE, 'Apache-2.0'),
    ('vitl', 'depth-anything/Depth-Anything-V2-Large', 'depth_anything_v2_vitl.pth',
     'CC-BY-NC-4.0'),
    ('metric-vkitti-vitb', 'depth-anything/Depth-Anything-V2-Metric-VKITTI-Base',
     'depth_anything_v2_metric_vkitti_vitb.pth', 'CC-BY-NC-4.0'),
    ('metric-hypersim-vits-hf', 'depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf',
     'Depth-Anything-V2-Metric-Indoor-Small-hf', 'Apache-2.0'),
    ('v1-vitl', 'LiheYoung/depth_anything_vitl14', 'depth_anything_vitl14.pth', 'Apache-2.0'),
    ('v1-vitb-hf', 'LiheYoung/depth-anything-base-hf', 'depth-anything-base-hf', 'Apache-2.0')])
def test_a_short_name_and_a_hub_id_stand_for_the_same_checkpoint(
        name: str, repository: str, saved_as: str, licence: str) -> None:
    found = find_checkpoint(name)
    assert find_checkpoint(repository) == found
    assert (found.repository, found.saved_as, found.licence) == (repository, saved_as, licence)
    assert found.non_commercial == (licence == 'CC-BY-NC-4.0')


def test_no_name_and_no_place_stands_for_two_checkpoints() -> None:
    rows = published()
    assert len(rows) == 26
    for values in ([row.name for row in rows], [row.repository for row in rows],
                   [row.saved_as for row in rows]):
        assert len(set(values)) == len(rows)


@pytest.mark.parametrize(('name', 'message'), [
    ('metric-hypersim-vitss', 'choose one of metric-hypersim-vits,'),
    ('giant', 'choose one of vits, .*v1-vitl, da3-mono, da3-metric, or a hub id'),
    ('vitg', 'vitg was announced and never published')])
def test_an_unknown_name_is_answered_with_the_nearest_ones(name: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        find_checkpoint(name)
