"""
The parameter files for navigation: valid for the node, and suitable for Nav2's costmaps.

What Nav2 does with a cloud is repeated from ObservationBuffer::bufferCloud, VoxelLayer and
ObstacleLayer of nav2_costmap_2d (Humble to Rolling).
"""

from collections.abc import Iterator
import json
import math
from pathlib import Path
from typing import Any

from depth_anything_ros.errors import SettingsError
from depth_anything_ros.parameters import Settings, SPECS
import numpy as np
import pytest

yaml = pytest.importorskip('yaml')
CONFIG = Path(__file__).resolve().parents[2] / 'config'
CAMERA_HEIGHT, CAMERA_PITCH = 0.45, 0.1
VOXEL_BITS = 16
SLOWEST_HZ = 5.0
WHOLE_NUMBERS = {'width', 'height', 'z_voxels', 'mark_threshold', 'unknown_threshold'}


@pytest.fixture(scope='module')
def navigation() -> dict[str, Any]:
    """Return the node's parameters for navigation."""
    content = yaml.safe_load((CONFIG / 'navigation.yaml').read_text())
    assert list(content) == ['/**'], 'the file must work for any namespace and node name'
    return content['/**']['ros__parameters']


@pytest.fixture(scope='module')
def settings(navigation) -> Settings:
    """Return the settings of a robot with a known camera height and pitch."""
    return Settings.from_mapping(
        {**navigation, 'camera_height': CAMERA_HEIGHT, 'camera_pitch': CAMERA_PITCH})


def _costmap(which: str) -> dict[str, Any]:
    content = yaml.safe_load((CONFIG / 'nav2_costmap.yaml').read_text())
    return content[which][which]['ros__parameters']


LAYERS = {'voxel': _costmap('local_costmap')['voxel_layer'],
          'obstacle': _costmap('global_costmap')['obstacle_layer']}
SOURCES = {f'{kind} {name}': layer[name] for kind, layer in LAYERS.items()
           for name in layer['observation_sources'].split()}


def test_every_parameter_exists_and_differs_from_its_default(navigation) -> None:
    defaults = {spec.name: spec.default for spec in SPECS}
    assert {name: value for name, value in navigation.items()
            if defaults[name] != value} == navigation


def test_metres_need_the_height_of_the_camera(navigation, settings) -> None:
    assert settings.alignment.source == 'ground'
    with pytest.raises(SettingsError, match='camera_height'):
        Settings.from_mapping(navigation)


def test_every_plugin_of_a_costmap_is_declared() -> None:
    for costmap in (_costmap('local_costmap'), _costmap('global_costmap')):
        for name in costmap['plugins']:
            assert costmap[name]['plugin'].startswith('nav2_costmap_2d::')
    for layer in LAYERS.values():
        assert {name for name, value in layer.items() if isinstance(value, dict)} == set(
            layer['observation_sources'].split())


def _numbers(values: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _numbers(value)
        elif type(value) in (int, float):
            yield name, value


def test_numbers_have_the_type_that_rclcpp_insists_on() -> None:
    content = yaml.safe_load((CONFIG / 'nav2_costmap.yaml').read_text())
    for name, value in _numbers(content):
        assert type(value) is (int if name in WHOLE_NUMBERS else float), name


@pytest.mark.parametrize('source', SOURCES.values(), ids=SOURCES)
def test_a_source_uses_the_cloud_of_the_node(source: dict[str, Any]) -> None:
    assert source['topic'] == '/depth_anything/points'
    assert source['data_type'] == 'PointCloud2'
    assert 'sensor_frame' not in source, 'rays must begin at the frame of the cloud'
    assert 'inf_is_valid' not in source, 'Nav2 warns of it for a cloud'


@pytest.mark.parametrize('source', SOURCES.values(), ids=SOURCES)
def test_a_late_cloud_is_kept_and_a_missing_one_is_noticed(source: dict[str, Any]) -> None:
    assert source['observation_persistence'] == 0.0, 'compared with the age of the image'
    assert 2 / SLOWEST_HZ < source['expected_update_rate'] < 10 / SLOWEST_HZ, 'seconds, not Hz'


@pytest.mark.parametrize('layer', LAYERS.values(), ids=LAYERS)
def test_each_layer_marks_and_clears(layer: dict[str, Any]) -> None:
    sources = [layer[name] for name in layer['observation_sources'].split()]
    assert [source['marking'] for source in sources].count(True) == 1
    assert [source['clearing'] for source in sources].count(True) == 1
    for source in sources:
        assert source['max_obstacle_height'] > source['min_obstacle_height']
        assert source['marking'] or source['clearing']


def test_voxels_reach_from_the_floor_to_the_highest_obstacle_and_above_the_camera() -> None:
    layer = LAYERS['voxel']
    top = layer['origin_z'] + layer['z_voxels'] * layer['z_resolution']
    assert 0 < layer['z_voxels'] <= VOXEL_BITS
    assert top >= layer['max_obstacle_height'] >= layer['points_mark']['max_obstacle_height']
    assert top > CAMERA_HEIGHT
    assert layer['mark_threshold'] < layer['z_voxels']


def _marking(layer: dict[str, Any]) -> dict[str, Any]:
    return next(layer[name] for name in layer['observation_sources'].split()
                if layer[name]['marking'])


def _clearing(layer: dict[str, Any]) -> dict[str, Any]:
    return next(layer[name] for name in layer['observation_sources'].split()
                if layer[name]['clearing'])


@pytest.mark.parametrize('layer', LAYERS.values(), ids=LAYERS)
def test_ranges_of_node_and_costmap_fit(layer: dict[str, Any], settings: Settings) -> None:
    mark, clear = _marking(layer), _clearing(layer)
    assert mark['obstacle_min_range'] <= settings.points_min < mark['obstacle_max_range']
    assert mark['obstacle_max_range'] < settings.points_max < settings.points_clearing
    assert settings.points_clearing <= clear['raytrace_max_range']
    # ObstacleLayer measures ranges along the floor, where a high point is nearer than its depth.
    along_floor = math.sqrt(settings.points_clearing ** 2 - mark['max_obstacle_height'] ** 2)
    assert along_floor > mark['obstacle_max_range']


def test_the_node_keeps_the_points_that_nav2_wants(settings: Settings) -> None:
    assert settings.points_height_min < 0 < settings.points_height_max, 'the floor must clear'
    for source in SOURCES.values():
        if source['marking']:
            assert settings.points_height_min < source['min_obstacle_height']
            assert settings.points_height_max >= source['max_obstacle_height']
    assert settings.points_voxel == _costmap('local_costmap')['resolution']


def _scene(settings: Settings, wall_m: float, bump_m: float = 0.0) -> np.ndarray:
    """
    Return a cloud [N, 3] over a floor before a wall, z up, of a camera at the origin of x and y.

    Depth beyond points_max is put at points_clearing, as the node does; ``bump_m`` is the error of
    the floor's height. Every tenth point is NaN.
    """
    rows, columns = np.mgrid[-1:1:60j, -1:1:80j]
    right, down = columns * 0.6, rows * 0.45
    forward = np.cos(CAMERA_PITCH) - down * np.sin(CAMERA_PITCH)
    falling = np.sin(CAMERA_PITCH) + down * np.cos(CAMERA_PITCH)
    with np.errstate(divide='ignore'):
        floor = np.where(falling > 0, (CAMERA_HEIGHT - bump_m) / falling, np.inf)
        depth = np.minimum(floor, np.where(forward > 0, wall_m / forward, np.inf))
    depth = np.where(depth > settings.points_max, settings.points_clearing, depth)
    points = np.stack((depth * forward, -depth * right, CAMERA_HEIGHT - depth * falling), -1)
    points = points.reshape(-1, 3)
    points[::10] = np.nan
    return points


def _buffered(source: dict[str, Any], points: np.ndarray) -> np.ndarray:
    """Return the points that ObservationBuffer keeps; comparisons with NaN are false."""
    height = points[:, 2]
    return points[(height <= source['max_obstacle_height'])
                  & (height >= source['min_obstacle_height'])]


def _marked(layer: dict[str, Any], points: np.ndarray) -> np.ndarray:
    """Return the points that make an obstacle."""
    source = _marking(layer)
    points = _buffered(source, points)
    points = points[points[:, 2] <= layer['max_obstacle_height']]
    axes = 3 if 'z_voxels' in layer else 2
    distance = np.linalg.norm((points - [0, 0, CAMERA_HEIGHT])[:, :axes], axis=1)
    return points[(distance < source['obstacle_max_range'])
                  & (distance >= source['obstacle_min_range'])]


@pytest.mark.parametrize('layer', LAYERS.values(), ids=LAYERS)
def test_a_wall_is_an_obstacle_and_the_floor_before_it_is_none(
        layer: dict[str, Any], settings: Settings) -> None:
    marked = _marked(layer, _scene(settings, wall_m=2.0, bump_m=0.05))
    assert len(marked) > 100
    assert np.allclose(marked[:, 0], 2.0)


@pytest.mark.parametrize('layer', LAYERS.values(), ids=LAYERS)
def test_open_space_marks_nothing_and_clears_as_far_as_obstacles_are_marked(
        layer: dict[str, Any], settings: Settings) -> None:
    points = _scene(settings, wall_m=50.0)
    assert len(_marked(layer, points)) == 0
    cleared = _buffered(_clearing(layer), points)
    assert cleared[:, 0].max() > _marking(layer)['obstacle_max_range']


def test_the_floor_clears_in_the_voxel_layer_only(settings: Settings) -> None:
    points = _scene(settings, wall_m=50.0)
    floor = points[np.abs(points[:, 2]) < 1e-6]
    assert len(floor) > 100
    assert len(_buffered(_clearing(LAYERS['voxel']), floor)) == len(floor)
    assert len(_buffered(_clearing(LAYERS['obstacle']), floor)) == 0


def test_the_foxglove_layout_shows_topics_and_services_that_exist() -> None:
    content = json.loads((CONFIG / 'foxglove.json').read_text())
    panels = content['configById']

    def placed(part: Any) -> list[str]:
        return [part] if isinstance(part, str) else [
            *placed(part['first']), *placed(part['second'])]

    assert sorted(placed(content['layout'])) == sorted(panels)
    page = (CONFIG.parent / 'docs' / 'nodes.md').read_text()
    names = [*panels['3D!cloud']['topics'], *(
        value for panel in panels.values() for key, value in (
            *panel.items(), *panel.get('imageMode', {}).items())
        if key in ('imageTopic', 'topicToRender', 'serviceName'))]
    assert len(names) == 10
    for name in set(names) - {'/image', '/depth_anything/change_state'}:
        assert f"`{name.replace('/depth_anything/', '~/')}`" in page
    for name, transition in (('activate', 3), ('deactivate', 4)):
        request = json.loads(panels[f'CallService!{name}']['requestPayload'])
        assert request == {'transition': {'id': transition}}
