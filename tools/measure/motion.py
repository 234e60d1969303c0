"""
Measure metres from motion on two image sequences with true poses; write docs/figures/motion.json.

``python -m tools.measure.motion`` needs ../shared/images/sequence and moving. ``--model`` measures
another IR than the model of this package, and ``--dry-run`` writes no file. It takes a minute
and a half on two idle cores. docs/images/motion_cloud.jpg is drawn with it. The figures
``motion_dds_*`` are those of the model of the package in a node process.

Noise changes every pose: the rotation between two poses is off by the given angle (rms), and the
distance by the given share in a random direction, constant over ten images, as a slipping wheel
would. An error of 20 ms means poses that are this much too old.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
import statistics
import sys
import time

import cv2
from depth_anything_ros.alignment.fit import check_fit, Fit
from depth_anything_ros.alignment.motion import MotionSamples, MotionTracker
from depth_anything_ros.alignment.motion_fit import MotionFitter
from depth_anything_ros.alignment.tracker import AlignmentTracker
from depth_anything_ros.api import load_model
from depth_anything_ros.arrays import F32, F64
from depth_anything_ros.errors import AlignmentError, DepthAnythingError
from depth_anything_ros.parameters import AlignmentSettings
from depth_anything_ros.vision.accuracy import align_relative, score_depth
from depth_anything_ros.vision.depth import remove_flying_pixels
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np
from tools.measure.figures import requote_pages, ROOT, rounded, write_figures
from tools.measure.motion_clips import (
    Clip, LIMITS, read_clip, STRIDE, WRONG_SCALE)
from tools.measure.motion_dds import dds_figures
from tools.measure.navigation_cloud import EDGE_FILTER, write_clouds
from tools.shared_data import IMAGES

COMMAND = 'python -m tools.measure.motion'
Figures = dict[str, float]

# The network computes every third image.
_NTH_DEPTH, _STRETCH = 3, 10
_OFFSET_S = 0.02
_PICTURE, _PICTURE_IMAGE = ROOT / 'docs' / 'images' / 'motion_cloud.jpg', 69
# Name of the noise, its share of the distance and its angle [degrees].
_NOISES = {'': (0.0, 0.0), '_2pct': (0.02, 0.1), '_5pct': (0.05, 0.3)}


@dataclass
class Result:
    """
    What a run gave.

    Scores of the depth after the average of the fits and after each fit alone, the median of z /
    true z of each image after the average, after a dense fit to the truth and of the points, and
    counts of images.
    """

    absrel: list[float]
    absrel_alone: list[float]
    dense: list[float]
    dense_alone: list[float]
    scales: list[float]
    scales_dense: list[float]
    points: list[float]
    refused: int = 0
    fitted: int = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; return 0, or 1 with a sentence if data is missing."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument('--model', type=Path, help='IR; default: the model of this package')
    parser.add_argument('--dry-run', action='store_true', help='write no file')
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    try:
        clips = [read_clip(IMAGES / 'sequence', 1000.0, (481.2, 480.0, 319.5, 239.5), 30.0),
                 read_clip(IMAGES / 'moving', 500.0, (320.0, 320.0, 320.0, 240.0), 8.0)]
        maps = depth_maps(clips, options.model)
        figures = motion_figures(clips, maps)
        figures |= dds_figures(clips, [noisy_poses(clip.poses, *_NOISES['_2pct'], 1)
                                       for clip in clips])
    except (DepthAnythingError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    figures = rounded(figures)
    for name, value in figures.items():
        print(f'{name:40} {value:g}')
    if not options.dry_run:
        command = COMMAND + (f' --model {options.model.name}' if options.model else '')
        print(f'wrote {write_figures("motion", command, figures)} and the pages that quote it')
        print(f'wrote {motion_picture(clips[0], maps[clips[0].name])}')
        requote_pages()
    return 0


def depth_maps(clips: Sequence[Clip], model: Path | None) -> dict[str, list[F32]]:
    """Return the inverse depth of every third image of each clip, by the name of the clip."""
    with load_model(model) as depth_model:
        return {clip.name: [depth_model.infer(image, output_size='native')
                            for image in clip.images[::_NTH_DEPTH]] for clip in clips}


def motion_picture(clip: Clip, maps: Sequence[F32]) -> Path:
    """Write the cloud of an image in metres from motion beside the true one, from the side."""
    motion, poses = MotionTracker(), noisy_poses(clip.poses, *_NOISES['_2pct'], 1)
    for number in range(_PICTURE_IMAGE + 1):
        samples = motion.add(clip.images[number], clip.camera, poses[number],
                             float(clip.stamps_s[number]))
    inverse_depth = maps[_PICTURE_IMAGE // _NTH_DEPTH]
    fit = MotionFitter().fit(inverse_depth, samples, True).fit
    found_m = _metres(resize_depth(inverse_depth, clip.camera.size_hw), fit.scale, fit.shift)
    return write_clouds(_PICTURE, clip.images[_PICTURE_IMAGE],
                        [(remove_flying_pixels(found_m, EDGE_FILTER), 'metres from motion'),
                         (clip.depths_m[_PICTURE_IMAGE], 'true')])


def motion_figures(clips: Sequence[Clip], maps: Mapping[str, Sequence[F32]]) -> Figures:
    """Return all figures, as the module describes."""
    figures: Figures = {}
    clean: list[Result] = []
    for suffix, (share, degrees) in _NOISES.items():
        results = [measure(clip, maps[clip.name], noisy_poses(clip.poses, share, degrees, 1))
                   for clip in clips]
        clean = clean or results
        figures |= _accuracy(clips, results, suffix)
        if suffix == '_2pct':
            figures |= _scale(results)
    offset = [measure(clip, maps[clip.name], _late_poses(clip)) for clip in clips]
    figures |= _accuracy(clips, offset, '_20ms')
    refused, fitted = (sum(getattr(result, name) for result in clean)
                       for name in ('refused', 'fitted'))
    figures['motion_frames_refused_wrongly'] = refused / (refused + fitted)
    figures['motion_ms_per_frame'] = statistics.mean(map(_cpu_ms, clips))
    return figures | _special_figures(clips[0])


def measure(clip: Clip, maps: Sequence[F32], poses: F64) -> Result:
    """Track all images with ``poses``, fit every third one to its points and score it."""
    result = Result([], [], [], [], [], [], [])
    settings = AlignmentSettings(source='motion')
    average, motion, fitter = AlignmentTracker(settings), MotionTracker(), MotionFitter()
    for number, image in enumerate(clip.images):
        stamp_s = float(clip.stamps_s[number])
        samples = motion.add(image, clip.camera, poses[number], stamp_s)
        if samples.usable:
            result.points.append(_point_ratio(samples, clip.depths_m[number]))
        if number % _NTH_DEPTH:
            continue
        inverse_depth, fit = maps[number // _NTH_DEPTH], None
        try:
            fit = fitter.fit(inverse_depth, samples, True).fit
            check_fit(fit, settings)
            average.add(fit, stamp_s)
        except AlignmentError as error:
            fit = None
            average.reject(str(error), stamp_s)
        # The first images cannot have a baseline.
        if number >= 2 * _NTH_DEPTH:
            result.fitted += fit is not None
            result.refused += fit is None
        _score(result, inverse_depth, clip.depths_m[number], average, fit, stamp_s)
    return result


def _score(result: Result, inverse_depth: F32, depth_m: F32, average: AlignmentTracker,
           fit: Fit | None, stamp_s: float) -> None:
    truth_m = np.ascontiguousarray(depth_m[::STRIDE, ::STRIDE])
    full = resize_depth(inverse_depth, (depth_m.shape[0], depth_m.shape[1]))
    full = np.ascontiguousarray(full[::STRIDE, ::STRIDE])
    dense_m = align_relative(full, truth_m, LIMITS)
    dense = score_depth(dense_m, truth_m, LIMITS).abs_rel
    if fit is not None:
        found_m = _metres(full, fit.scale, fit.shift)
        result.absrel_alone.append(score_depth(found_m, truth_m, LIMITS).abs_rel)
        result.dense_alone.append(dense)
    now = average.at(stamp_s)
    if now.usable:
        found_m = _metres(full, now.scale, now.shift)
        result.absrel.append(score_depth(found_m, truth_m, LIMITS).abs_rel)
        result.dense.append(dense)
        result.scales.append(float(np.nanmedian(found_m / truth_m)))
        result.scales_dense.append(float(np.nanmedian(dense_m / truth_m)))


def _metres(full: F32, scale: float, shift: float) -> F32:
    disparity = np.maximum(full * scale + shift, 1 / LIMITS.maximum_m)
    depth_m: F32 = (1 / disparity).astype(np.float32)
    return depth_m


def _point_ratio(samples: MotionSamples, depth_m: F32) -> float:
    """Return the median of z / true z over the points."""
    columns, rows = np.rint(samples.pixels).astype(int).T
    return float(np.nanmedian(1 / (samples.inverse_z * depth_m[rows, columns])))


def _accuracy(clips: Sequence[Clip], results: Sequence[Result], suffix: str) -> Figures:
    """Return the excess over a dense fit, on average over the clips and of each."""
    figures: Figures = {}
    for kind, end in (('', ''), ('_alone', '_alone')):
        excess = [statistics.mean(getattr(result, f'absrel{end}'))
                  / statistics.mean(getattr(result, f'dense{end}')) - 1 for result in results]
        figures[f'motion_excess_absrel{suffix}{kind}'] = statistics.mean(excess)
        figures |= {f'motion_excess_absrel{suffix}{kind}_{clip.name}': value
                    for clip, value in zip(clips, excess)}
    if not suffix:
        figures |= {f'motion_dense_absrel_{clip.name}': statistics.mean(result.dense)
                    for clip, result in zip(clips, results)}
    off = [abs(ratio - 1) for result in results for ratio in result.points]
    figures[f'motion_points_error{suffix}'] = statistics.mean(off)
    figures[f'motion_wrong_points_frames{suffix}'] = statistics.mean(
        error > WRONG_SCALE for error in off)
    return figures


def _scale(results: Sequence[Result]) -> Figures:
    scales, dense = ([scale for result in results for scale in getattr(result, name)]
                     for name in ('scales', 'scales_dense'))
    points = [ratio for result in results for ratio in result.points]
    return {'motion_scale_error': abs(statistics.median(scales) - 1),
            'motion_points_scale_error': abs(statistics.median(points) - 1),
            'motion_wrong_scale_frames': _wrong(scales),
            'motion_wrong_scale_frames_dense': _wrong(dense)}


def _wrong(scales: Sequence[float]) -> float:
    return statistics.mean(abs(scale - 1) > WRONG_SCALE for scale in scales)


def noisy_poses(poses: F64, share: float, degrees: float, seed: int) -> F64:
    """Return poses [N, 4, 4] with an error of distance and rotation, as the module describes."""
    rng = np.random.default_rng(seed)
    found, place, error = poses.copy(), poses[0, :3, 3].copy(), np.zeros(3)
    for number in range(len(poses)):
        axis = rng.normal(size=3)
        angle = np.radians(degrees) / np.sqrt(2) * rng.normal()
        found[number, :3, :3] = poses[number, :3, :3] @ cv2.Rodrigues(
            angle * axis / np.linalg.norm(axis))[0]
        if number:
            if (number - 1) % _STRETCH == 0:
                error = rng.normal(size=3) * share / np.sqrt(3)
            step = poses[number, :3, 3] - poses[number - 1, :3, 3]
            place = place + step + np.linalg.norm(step) * error
        found[number, :3, 3] = place
    return found


def _late_poses(clip: Clip) -> F64:
    """Return the poses of 20 ms before each image, interpolated."""
    found = clip.poses.copy()
    share = _OFFSET_S / (clip.stamps_s[1] - clip.stamps_s[0])
    for number in range(1, len(found)):
        before, after = clip.poses[number - 1], clip.poses[number]
        turn = cv2.Rodrigues(after[:3, :3].T @ before[:3, :3])[0]
        found[number, :3, :3] = after[:3, :3] @ cv2.Rodrigues(share * turn)[0]
        found[number, :3, 3] = after[:3, 3] + share * (before[:3, 3] - after[:3, 3])
    return found


def _cpu_ms(clip: Clip) -> float:
    """Return the CPU time of an image, with one thread."""
    motion, start_s = MotionTracker(), time.process_time()
    for image, pose, stamp_s in zip(clip.images, clip.poses, clip.stamps_s):
        motion.add(image, clip.camera, pose, float(stamp_s))
    return 1e3 * (time.process_time() - start_s) / len(clip.images)


def _special_figures(clip: Clip) -> Figures:
    """
    Return figures of single ways of moving, made of the first image of a clip.

    The odometry has noise of 5 % and 0.3 degrees. Straight ahead is measured on the image as a
    poster 2 m away; the moving object is a part of the last image, pasted into the clip.
    """
    still = np.tile(np.eye(4), (40, 1, 1))
    turned = np.stack([_turn(0.6 * number) for number in range(40)])
    ahead = np.stack([_ahead(0.03 * number) for number in range(25)])
    figures: Figures = {}
    for name, standing in (('still', still), ('rotation', turned)):
        found = list(_poster(clip, standing))
        figures[f'motion_{name}_frames_with_points'] = statistics.mean(
            samples.usable for samples in found)
    off = [float((2.0 - pose[2, 3]) * np.median(samples.inverse_z)) - 1
           for samples, pose in zip(_poster(clip, ahead), ahead) if samples.usable]
    figures['motion_ahead_error'] = statistics.mean(map(abs, off))
    return figures | _object_figures(clip)


def _poster(clip: Clip, poses: F64) -> Iterator[MotionSamples]:
    """Yield the samples of a camera in front of the first image, a poster 2 m away."""
    camera, motion = clip.camera, MotionTracker()
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    rng = np.random.default_rng(0)
    noisy = noisy_poses(poses, 0.05, 0.3, 0)
    for number, pose in enumerate(poses):
        world = np.linalg.inv(pose)
        plane = world[:3, :3] + np.outer(world[:3, 3], (0, 0, 0.5))
        image = cv2.warpPerspective(clip.images[0], matrix @ plane @ np.linalg.inv(matrix),
                                    camera.size_hw[::-1], borderMode=cv2.BORDER_REFLECT)
        seen = np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)
        yield motion.add(seen, camera, noisy[number], number / 30)


def _object_figures(clip: Clip) -> Figures:
    """Return the error of the scale and the share of points on an object that moves."""
    motion, errors, on_object, points = MotionTracker(), [], 0, 0
    part = clip.images[-1][100:300, 200:400]
    for number in range(min(60, len(clip.images))):
        left, top = 20 + 6 * number, 80 + 3 * number
        image = clip.images[number].copy()
        height, width = min(200, image.shape[0] - top), min(200, image.shape[1] - left)
        image[top:top + height, left:left + width] = part[:height, :width]
        samples = motion.add(image, clip.camera, clip.poses[number], float(clip.stamps_s[number]))
        if samples.usable:
            inside = ((samples.pixels > (left + 5, top + 5))
                      & (samples.pixels < (left + width - 5, top + height - 5))).all(axis=1)
            on_object += int(np.count_nonzero(inside))
            points += len(samples.pixels)
            errors.append(abs(_point_ratio(samples, clip.depths_m[number]) - 1))
    return {'motion_object_error': statistics.mean(errors),
            'motion_object_points': on_object / points}


def _turn(degrees: float) -> F64:
    found: F64 = np.eye(4)
    found[:3, :3] = cv2.Rodrigues(np.radians([0.0, degrees, 0.0]))[0]
    return found


def _ahead(metres: float) -> F64:
    found: F64 = np.eye(4)
    found[2, 3] = metres
    return found


if __name__ == '__main__':
    sys.exit(main())
