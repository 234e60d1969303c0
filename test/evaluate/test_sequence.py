"""Scores over time of models whose output can be computed by hand, on made sequences."""

from collections.abc import Callable, Sequence
from dataclasses import replace
import json
import math
from pathlib import Path
import time

import cv2
from depth_anything_ros.errors import DatasetError, ImageError
from depth_anything_ros.evaluate.gallery import Gallery
from depth_anything_ros.evaluate.main import main
from depth_anything_ros.evaluate.predictions import ModelOptions
from depth_anything_ros.evaluate.rgbd import evaluate_rgbd
from depth_anything_ros.evaluate.sequence import (
    evaluate_sequence, MEASURED, OFF, SEQUENCE_HEADINGS, STABILIZED)
from depth_anything_ros.evaluate.sequence_folder import (
    CameraSequence, open_sequence, read_sequence_config)
from depth_anything_ros.media.rgbd_folder import open_folder
from depth_anything_ros.vision.depth import DepthRange
import numpy as np
import pytest
from tiny import weighted_sum
from yaml_aliases import NESTED

pytest.importorskip('typer')
pytest.importorskip('yaml')

F32 = ModelOptions(precision='f32')
# A multiple of 14 whose short side is the tiny model's input size: nothing is resized.
HW = (112, 154)
YAML = ('color: rgb_*.png\ndepth: depth_*.png\ndepth_scale: 10000\nmax_depth: 6\n'
        'camera: [100.0, 100.0, 76.5, 55.5]\n')


def save(folder: Path, number: int, image: np.ndarray, depth_m: np.ndarray) -> None:
    """Write a frame in tenths of millimetres."""
    cv2.imwrite(str(folder / f'rgb_{number}.png'), image)
    cv2.imwrite(str(folder / f'depth_{number}.png'), np.round(depth_m * 10000).astype(np.uint16))


def save_poses(folder: Path, ahead_m: Sequence[float]) -> None:
    """Write the poses of a camera that has moved so far along its optical axis."""
    lines = [f'{number} 0 0 {z} 0 0 0 1' for number, z in enumerate(ahead_m)]
    (folder / 'poses.txt').write_text('# made\n' + '\n'.join(lines) + '\n')


def opened(folder: Path, every: int = 1, most: int = 0) -> CameraSequence:
    """Return the sequence in a folder."""
    (folder / 'data.yaml').write_text(YAML)
    return open_sequence(folder, read_sequence_config(folder / 'data.yaml'), every, most)


def grey(level: int) -> np.ndarray:
    """Return a picture whose only colour is a level of red, for which the model outputs it."""
    image = np.zeros((*HW, 3), np.uint8)
    image[..., 2] = level
    return image


def drive_to_a_wall(folder: Path, depths_m: Sequence[float], levels: Sequence[int]) -> None:
    """Write frames of a wall at these depths, which the model sees in these levels of red."""
    for number, (depth_m, level) in enumerate(zip(depths_m, levels)):
        save(folder, number, grey(level), np.full(HW, depth_m))
    save_poses(folder, [depths_m[0] - depth_m for depth_m in depths_m])


def test_exact_relative_depth_has_no_error(tmp_path: Path, tiny_ir: Path) -> None:
    levels = [60, 80, 100, 130]
    drive_to_a_wall(tmp_path, [1 / (0.8 * level / 255 + 0.05) for level in levels], levels)
    found = evaluate_sequence(tiny_ir, opened(tmp_path), F32)
    for scores in (found.mean, found.groups[MEASURED]):
        assert max(scores.abs_rel, scores.frame_abs_rel, scores.tae, scores.scale_step) < 5e-4
        assert (scores.delta1, scores.frame_delta1) == (1.0, 1.0)
        assert scores.scale == pytest.approx(1.0, abs=5e-4)
    assert [one.name for one in found.images] == [f'rgb_{number}.png' for number in range(4)]
    assert math.isnan(found.images[0].scores.tae) and 'one scale and shift' in found.protocol


def test_a_known_drift_of_the_scale_is_a_known_number(
        tmp_path: Path, make_ir: Callable[..., Path]) -> None:
    """Metres of the model grow by 3 % per frame, compared with the truth."""
    levels, growth = [200, 190, 180, 170, 160], 1.03
    seen_m = [level / 255 for level in levels]
    true_m = [seen / growth ** number for number, seen in enumerate(seen_m)]
    drive_to_a_wall(tmp_path, true_m, levels)
    found = evaluate_sequence(make_ir(kind='metric', max_depth_m=20.0), opened(tmp_path), F32)
    assert [one.scores.scale for one in found.images] == pytest.approx(
        [growth ** number for number in range(5)], rel=5e-4)
    assert found.mean.scale_step == pytest.approx(math.log(growth), rel=0.02)
    assert found.worst.scale == pytest.approx(growth ** 4, rel=1e-3)
    for name in ('tae', 'scale_step'):
        first, *others = [getattr(one.scores, name) for one in found.images]
        assert math.isnan(first) and getattr(found.worst, name) == max(others)
    assert found.mean.abs_rel == pytest.approx(
        np.mean([growth ** number - 1 for number in range(5)]), rel=0.01)
    assert found.mean.frame_abs_rel < 1e-3 and 'without alignment' in found.protocol
    errors = []
    for number in range(4):
        moved_m = true_m[number] - true_m[number + 1]
        errors += [abs(seen_m[number] - moved_m - seen_m[number + 1]) / seen_m[number + 1],
                   abs(seen_m[number + 1] + moved_m - seen_m[number]) / seen_m[number]]
    assert found.mean.tae == pytest.approx(np.mean(errors), rel=0.01)
    assert found.groups[MEASURED].tae < 1e-3


def test_metres_by_the_focal_length_of_the_camera_need_no_fit(
        tmp_path: Path, make_ir: Callable[..., Path]) -> None:
    """The camera has a focal length of 100 px, and its metres here are 10 % more than true."""
    levels = [60, 80, 100, 130]
    drive_to_a_wall(tmp_path, [100 / 300 / (level / 255) / 1.1 for level in levels], levels)
    found = evaluate_sequence(make_ir(focal_px=300.0, has_shift=False), opened(tmp_path), F32)
    assert [one.scores.scale for one in found.images] == pytest.approx([1.1] * 4, rel=5e-3)
    assert found.mean.frame_abs_rel < 1e-3
    assert 'without alignment' in found.protocol
    assert found.protocol.endswith('; metres by the focal length')


@pytest.mark.parametrize('input_size', [0, 56])
def test_what_a_model_sees_at_infinity_counts_as_the_farthest_depth(
        input_size: int, tmp_path: Path, make_ir: Callable[..., Path]) -> None:
    """The inverse depth is negative; the wall is at 5 m, and up to 6 m are scored."""
    drive_to_a_wall(tmp_path, [5.0] * 3, [100] * 3)
    model = make_ir(focal_px=300.0, has_shift=False, gain=-1.0)
    found = evaluate_sequence(model, opened(tmp_path), ModelOptions(input_size, precision='f32'))
    assert found.mean.abs_rel == pytest.approx(0.2)


@pytest.mark.parametrize('gain', [0.1, -1.0, 20.0])
def test_a_frame_has_the_scores_that_its_image_has_alone(
        gain: float, tmp_path: Path, make_ir: Callable[..., Path]) -> None:
    """Metres outside the range, in which they are clipped, are scored too."""
    levels = [60, 80, 100, 130]
    drive_to_a_wall(tmp_path, [level / 60 for level in levels], levels)
    sequence, model = opened(tmp_path), make_ir(kind='metric', max_depth_m=20.0, gain=gain)
    limits = DepthRange(0.5, 6.0)
    sequence = replace(sequence, config=replace(sequence.config, images=replace(
        sequence.config.images, limits=limits)))
    found = evaluate_sequence(model, sequence, F32)
    alone = evaluate_rgbd(model, open_folder(tmp_path, sequence.config.images), F32)
    for name in ('abs_rel', 'delta1'):
        assert [getattr(one.scores, name) for one in found.images] == pytest.approx(
            [getattr(one.scores, name) for one in alone.images])
    assert 'clipped to the range' in found.protocol


@pytest.mark.parametrize('kind', ['relative', 'metric'])
def test_stabilization_lowers_the_error_of_a_flickering_model(
        tmp_path: Path, make_ir: Callable[..., Path], kind: str) -> None:
    """The camera stands still, and the scale of the model jumps by a fifth."""
    coarse = np.random.default_rng(3).uniform(60, 230, (4, 5, 3)).astype(np.float32)
    image = cv2.resize(coarse, HW[::-1], interpolation=cv2.INTER_LINEAR)
    for number in range(6):
        seen = np.round(image * (0.8 if number % 2 else 1.0)).astype(np.uint8)
        depth = weighted_sum(image)
        save(tmp_path, number, seen, 1 / (0.2 * depth) if kind == 'relative' else depth)
    save_poses(tmp_path, [0.0] * 6)
    found = evaluate_sequence(make_ir(kind=kind, max_depth_m=20.0 if kind == 'metric' else None),
                              opened(tmp_path), F32)
    off, on = found.groups[OFF], found.groups[STABILIZED]
    assert off == found.mean and off.tae > 0.1 and off.scale_step > 0.1
    assert on.tae < 0.2 * off.tae and on.scale_step < 0.2 * off.scale_step
    assert len(found.stabilized) == 6
    if kind == 'relative':
        assert on.abs_rel < 0.3 * off.abs_rel


def test_a_frame_that_cannot_be_read_breaks_the_chain_of_neighbours(
        tmp_path: Path, tiny_ir: Path) -> None:
    levels = [60, 80, 100, 120, 140]
    drive_to_a_wall(tmp_path, [1 / (0.8 * level / 255 + 0.05) for level in levels], levels)
    (tmp_path / 'rgb_2.png').write_bytes(b'damaged')
    cv2.imwrite(str(tmp_path / 'rgb_4.png'), grey(140)[:, :100])
    found = evaluate_sequence(tiny_ir, opened(tmp_path), F32)
    assert [one.name for one in found.failed] == ['rgb_2.png', 'rgb_4.png']
    assert '100x112' in found.failed[1].reason
    assert [math.isnan(one.scores.tae) for one in found.images] == [True, False, True]
    for number in (0, 1):
        (tmp_path / f'rgb_{number}.png').write_bytes(b'damaged')
    with pytest.raises(ImageError, match='a sequence needs two; rgb_0.png: '):
        evaluate_sequence(tiny_ir, opened(tmp_path), F32)


def test_poses_that_never_see_the_same_are_refused(tmp_path: Path, tiny_ir: Path) -> None:
    levels = [60, 80, 100]
    drive_to_a_wall(tmp_path, [2.0, 1.9, 1.8], levels)
    save_poses(tmp_path, [0.0, 50.0, 100.0])
    with pytest.raises(DatasetError, match='no two frames that follow each other overlap'):
        evaluate_sequence(tiny_ir, opened(tmp_path), F32)


def test_the_picture_shows_the_worst_and_the_best_frames(tmp_path: Path, tiny_ir: Path) -> None:
    levels = [60, 80, 100]
    drive_to_a_wall(tmp_path, [2.0, 1.5, 1.3], levels)
    gallery = Gallery(SEQUENCE_HEADINGS, count=1)
    found = evaluate_sequence(tiny_ir, opened(tmp_path), F32, gallery=gallery)
    worst = max(found.images, key=lambda one: one.scores.abs_rel)
    assert gallery.kept()[0].name == worst.name
    assert all(('TAE' in case.caption) == (case.name != 'rgb_0.png') for case in gallery.kept())
    assert gallery.sheet().shape[1] == 1470


def test_every_nth_frame_in_the_order_of_the_numbers(tmp_path: Path) -> None:
    for number in range(12):
        save(tmp_path, number, grey(9), np.ones(HW))
    save_poses(tmp_path, range(11))
    found = opened(tmp_path, every=2, most=5)
    assert [one.pair.key for one in found.frames] == ['0', '2', '4', '6', '8']
    assert [one.pose[2, 3] for one in found.frames] == [0, 2, 4, 6, 8]
    assert found.unmatched == ('rgb_11.png',)


def test_a_pose_is_found_by_number_and_by_the_nearest_time(tmp_path: Path) -> None:
    for name in ('00007', '00008', '1305.10', '1306.20'):
        cv2.imwrite(str(tmp_path / f'rgb_{name}.png'), grey(9))
        cv2.imwrite(str(tmp_path / f'depth_{name}.png'), np.full(HW, 9999, np.uint16))
    (tmp_path / 'poses.txt').write_text(
        '# time tx ty tz qx qy qz qw\n7 1 0 0 0 0 0 1\n8 2 0 0 0 0.6 0 0.8\n\n'
        '1305.085 3 0 0 0 0 0 2\n1305.11 4 0 0 0 0 0 1\n1306.25 5 0 0 0 0 0 1\n')
    found = opened(tmp_path)
    assert [(one.pair.key, one.pose[0, 3]) for one in found.frames] == [
        ('00007', 1), ('00008', 2), ('1305.10', 4)]
    assert found.unmatched == ('rgb_1306.20.png',)
    np.testing.assert_allclose(found.frames[1].pose[:3, :3], [
        [0.28, 0, 0.96], [0, 1, 0], [-0.96, 0, 0.28]], atol=1e-12)


def test_thousands_of_poses_are_searched_at_once(tmp_path: Path) -> None:
    """Motion capture has ten poses for each image."""
    for number in range(300):
        for kind in ('rgb', 'depth'):
            (tmp_path / f'{kind}_{1000 + number / 10:.3f}.png').touch()
    (tmp_path / 'poses.txt').write_text(
        ''.join(f'{1000.001 + number / 100:.4f} {number} 0 0 0 0 0 1\n'
                for number in range(20000)))
    started = time.process_time()
    frames = opened(tmp_path).frames
    assert [one.pose[0, 3] for one in frames] == [*range(0, 3000, 10)]
    assert time.process_time() - started < 5.0


@pytest.mark.parametrize(('text', 'problem'), [
    ('0 0 0 0 0 0 1\n', "line 1 is '0 0 0 0 0 0 1'"), ('0 0 0 0 0 0 0 0\n', 'line 1 is'),
    ('\n0 0 0 nan 0 0 0 1\n', 'line 2 is'),
    ('0 0 0 0 1e308 1e308 1e308 1\n', 'line 1 is .*the quaternion is not a rotation'),
    ('0 0 0 0 0 0 0 1\n', '1 frames have an image'),
    ('', '0 frames have an image')])
def test_wrong_poses_are_named(tmp_path: Path, text: str, problem: str) -> None:
    drive_to_a_wall(tmp_path, [2.0, 1.9], [60, 80])
    (tmp_path / 'poses.txt').write_text(text)
    with pytest.raises(DatasetError, match=problem) as error:
        opened(tmp_path)
    assert 'name tx ty tz qx qy qz qw' in str(error.value)


def test_missing_poses_are_named(tmp_path: Path) -> None:
    drive_to_a_wall(tmp_path, [2.0, 1.9], [60, 80])
    (tmp_path / 'poses.txt').unlink()
    with pytest.raises(DatasetError, match=r'poses\.txt: it cannot be read'):
        opened(tmp_path)


@pytest.mark.parametrize(('line', 'problem'), [
    ('camera: [1, 2, 3]', 'fx, fy, cx, cy'), ('camera: 5', 'fx, fy, cx, cy'),
    ('camera: [0, 1, 2, 3]', 'not calibrated'), ('', 'camera is None'),
    ('camera: [9, 9, 1, 1]\nposes: ../p.txt', 'below the folder'),
    (f'camera: [9, 9, 1, 1]\nposes: {NESTED}', 'poses is nested; it must be a file'),
    ('camera: [9, 9, 1, 1]\nposse: p.txt', 'posse is not one of the keys .*, camera, poses')])
def test_a_wrong_key_is_named(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / 'data.yaml'
    path.write_text(YAML.replace('camera: [100.0, 100.0, 76.5, 55.5]', line))
    with pytest.raises(DatasetError, match=problem):
        read_sequence_config(path)


def test_the_program_prints_tables_and_writes_json_markdown_and_a_picture(
        tmp_path: Path, tiny_ir: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('COLUMNS', '120')
    levels = [60, 80, 100, 130]
    drive_to_a_wall(tmp_path, [1 / (0.8 * level / 255 + 0.05) for level in levels], levels)
    opened(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(['sequence', str(tiny_ir), '.', '--config', 'data.yaml', '--frames', '3',
                 '--json', 'a.json', '--markdown', 'a.md', '--picture', 'a.png']) == 0
    out = capsys.readouterr().out
    for part in ('TAE', 'scale step', 'frame AbsRel', OFF, STABILIZED, MEASURED):
        assert part in out
    found = json.loads((tmp_path / 'a.json').read_text())
    assert found['images'][0]['tae'] is None and found['images'][1]['tae'] < 1e-2
    assert [len(found[name]) for name in ('images', 'stabilized')] == [3, 3]
    assert set(found['groups']) == {OFF, STABILIZED, MEASURED}
    assert f'| {STABILIZED} |' in (tmp_path / 'a.md').read_text()
    assert cv2.imread(str(tmp_path / 'a.png')) is not None
