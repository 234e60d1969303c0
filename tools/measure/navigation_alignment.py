"""Accuracy of the alignment: by sparse points on real images, by the ground on made rooms."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
import statistics
import time

import cv2
from depth_anything_ros.alignment.fit import fit_alignment
from depth_anything_ros.alignment.ground import fit_ground
from depth_anything_ros.alignment.references import samples_from_depth
from depth_anything_ros.alignment.tracker import AlignmentTracker
from depth_anything_ros.arrays import F32, F64, U8
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.media.rgbd_folder import open_folder, read_truth, RgbdConfig
from depth_anything_ros.parameters import AlignmentSettings
from depth_anything_ros.vision.accuracy import align_relative, score_depth
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.depth import DepthRange
from depth_anything_ros.vision.geometry import Intrinsics
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np
import numpy.typing as npt

FLOOR_CAMERA = Intrinsics(270.0, 270.0, 167.5, 125.5, (252, 336))
_FARTHEST_M, _WALL_HEIGHT_M = 20.0, 3.0
DepthOf = Callable[[U8], F32]

_LIMITS = DepthRange(0.1, 10.0)
_POINTS, _SEEDS, _EVERY_NTH = 200, 3, 10
_KINDS = ('absrel', 'absrel_40', 'absrel_surface')
_WRONG_DEPTHS_M, _SURFACE_FACTOR = (0.3, 10.0), 1.5
_FLOOR_SEEDS, _FLOOR_NOISE, _FLOOR_SHIFT, _FLOOR_COUNTS_M = 5, 0.03, 0.3, 4.0
# Heights of the camera [m], each with the pitches [degrees] that leave floor in the view.
_MOUNTS = {0.3: (0, 10, 25), 0.6: (0, 10, 25), 1.0: (5, 15, 30), 1.5: (5, 15, 30)}


@dataclass(frozen=True)
class Room:
    """
    A made room: the pose of the camera, boxes, and a wall at ``wall_m`` (0: none).

    The camera is ``height_m`` above the floor, ``pitch_rad`` below the horizon and ``roll_rad``
    clockwise. The inverse depth of the model is (1/z - ``shift``) / ``scale``, with a relative
    error of ``noise``.
    """

    height_m: float
    pitch_rad: float = 0.0
    roll_rad: float = 0.0
    scale: float = 0.25
    shift: float = 0.0
    noise: float = 0.0
    boxes: int = 4
    wall_m: float = 6.0


@dataclass(frozen=True)
class FloorView:
    """Inverse depth of the model, true 1/z [1/m] and whether a pixel is floor, each [H, W]."""

    inverse_depth: F32
    inverse_z: F64
    floor: npt.NDArray[np.bool_]


def floor_view(room: Room, seed: int) -> FloorView:
    """Return the view of FLOOR_CAMERA; boxes, noise and smooth errors depend on ``seed``."""
    rng = np.random.default_rng(seed)
    ahead, down, right = _level_rays(room)
    inverse_z = np.maximum(down / room.height_m, 0.0)
    floor = inverse_z > 0
    uprights = [(room.wall_m, -np.inf, np.inf, _WALL_HEIGHT_M)] if room.wall_m else []
    for _ in range(room.boxes):
        distance_m, width_m, top_m = rng.uniform((1.0, 0.2, 0.2), (5.0, 0.8, 1.0))
        left_m = rng.uniform(-0.7, 0.6) * distance_m
        uprights.append((distance_m, left_m, left_m + width_m, top_m))
    for distance_m, left_m, right_m, top_m in uprights:
        nearer = ahead / distance_m
        z = 1 / np.maximum(nearer, 1e-9)
        hit = ((nearer > inverse_z) & (right * z > left_m) & (right * z < right_m)
               & (down * z > room.height_m - top_m))
        inverse_z = np.where(hit, nearer, inverse_z)
        floor = floor & ~hit
    inverse_z = np.maximum(inverse_z, 1 / _FARTHEST_M)
    width, height = FLOOR_CAMERA.size_hw[::-1]
    smooth = cv2.resize(rng.normal(0, 1, (6, 8)), (width, height), interpolation=cv2.INTER_CUBIC)
    errors = 1 + room.noise * (0.7 * smooth + rng.normal(0, 1, inverse_z.shape))
    d = (inverse_z * errors - room.shift) / room.scale
    return FloorView(d.astype(np.float32), inverse_z, floor)


def _level_rays(room: Room) -> tuple[F64, F64, F64]:
    """Return the rays (x, y, 1) in a level frame: ahead, down and right, each [H, W]."""
    rows, columns = np.indices(FLOOR_CAMERA.size_hw, np.float64)
    x = (columns - FLOOR_CAMERA.cx) / FLOOR_CAMERA.fx
    y = (rows - FLOOR_CAMERA.cy) / FLOOR_CAMERA.fy
    cos, sin = np.cos(room.roll_rad), np.sin(room.roll_rad)
    x, y = cos * x - sin * y, sin * x + cos * y
    cos, sin = np.cos(room.pitch_rad), np.sin(room.pitch_rad)
    return cos - sin * y, cos * y + sin, x


def alignment_figures(images: Path, depth_of: DepthOf) -> dict[str, float]:
    """
    Return the figures ``alignment_*`` and ``ground_*`` and print the result of each image.

    ``images`` has the folders rgbd and sequence; every tenth frame of the sequence is used.
    ``depth_of`` returns the inverse depth [H, W] of a BGR image at the network size. The excess is
    the mean AbsRel after a fit to 200 points over that after least squares on all pixels, minus 1:
    with 20 % and 40 % of the points at random depths, and with 30 % of them, neighbours, 1.5 times
    too far. The cost is the time of samples, fit and tracker with dense depth, as a share of the
    time of ``depth_of``.
    """
    scores: dict[str, list[float]] = {kind: [] for kind in ('dense', *_KINDS)}
    model_s, fit_s = [], []
    tracker = AlignmentTracker(AlignmentSettings(source='depth'))
    for number, (name, image_bgr, truth_m) in enumerate(_frames(images)):
        started_s = time.perf_counter()
        inverse_depth = depth_of(image_bgr)
        computed_s = time.perf_counter()
        tracker.add(fit_alignment(samples_from_depth(inverse_depth, truth_m, _LIMITS), True),
                    number / 10)
        tracker.at(number / 10)
        fit_s.append(time.perf_counter() - computed_s)
        model_s.append(computed_s - started_s)
        full = resize_depth(inverse_depth, (truth_m.shape[0], truth_m.shape[1]))
        scores['dense'].append(_abs_rel(align_relative(full, truth_m, _LIMITS), truth_m))
        for kind in _KINDS:
            scores[kind].append(statistics.mean(
                _sparse_abs_rel(inverse_depth, full, truth_m, kind, seed)
                for seed in range(_SEEDS)))
        print(f'{name}: AbsRel dense {scores["dense"][-1]:.4f}, by {_POINTS} points '
              f'{scores["absrel"][-1]:.4f}', flush=True)
    mean = {kind: statistics.mean(found) for kind, found in scores.items()}
    figures = {f'alignment_excess_{kind}': mean[kind] / mean['dense'] - 1 for kind in _KINDS}
    figures['alignment_cost_share'] = statistics.median(fit_s) / statistics.median(model_s)
    figures |= ground_figures()
    for figure, value in figures.items():
        print(f'{figure}: {value:.4f}', flush=True)
    return figures


def ground_figures() -> dict[str, float]:
    """Return the mean AbsRel up to 4 m on made floors, with and without a tilt of 2 degrees."""
    return {'ground_absrel_tilt_0': _ground_abs_rel(0.0, True),
            'ground_absrel_tilt_2_scale_shift': _ground_abs_rel(2.0, True),
            'ground_absrel_tilt_2_scale': _ground_abs_rel(2.0, False)}


def _frames(images: Path) -> Iterator[tuple[str, U8, F32]]:
    """Yield name, image and measured depth [m], NaN where it is invalid."""
    for folder, suffix, step in (('rgbd', 'png', 1), ('sequence', 'jpg', _EVERY_NTH)):
        config = RgbdConfig(f'rgb_*.{suffix}', 'depth_*.png', 1000.0, _LIMITS)
        for pair in open_folder(images / folder, config).pairs[::step]:
            picture = read_picture(pair.color)
            image_bgr = to_bgr(picture)
            yield f'{folder}/{pair.name}', image_bgr, read_truth(pair, config, image_bgr.shape[:2])


def _sparse_abs_rel(inverse_depth: F32, full: F32, truth_m: F32, kind: str, seed: int) -> float:
    """Return AbsRel after the fit to points, some of them wrong; ``kind`` is one of _KINDS."""
    rng = np.random.default_rng(seed)
    places = rng.choice(np.flatnonzero(np.isfinite(truth_m)), _POINTS, replace=False)
    depth_m = truth_m.ravel()[places]
    if kind == 'absrel_surface':
        rows, columns = np.divmod(places, truth_m.shape[1])
        side_by_side = np.argsort(np.hypot(rows - rows[0], columns - columns[0]))
        depth_m[side_by_side[:round(0.3 * _POINTS)]] *= _SURFACE_FACTOR
    else:
        wrong = round((0.4 if kind == 'absrel_40' else 0.2) * _POINTS)
        depth_m[:wrong] = rng.uniform(*_WRONG_DEPTHS_M, wrong)
    reference_m: F32 = np.full_like(truth_m, np.nan)
    reference_m.ravel()[places] = depth_m
    fit = fit_alignment(samples_from_depth(inverse_depth, reference_m, _LIMITS), True)
    disparity = np.maximum(full * fit.scale + fit.shift, 1 / _LIMITS.maximum_m)
    return _abs_rel((1 / disparity).astype(np.float32), truth_m)


def _abs_rel(found_m: F32, truth_m: F32) -> float:
    return score_depth(found_m, truth_m, _LIMITS).abs_rel


def _ground_abs_rel(tilt_deg: float, with_shift: bool) -> float:
    """Return the mean AbsRel over rooms, both signs of the tilt, and a roll of the same angle."""
    tilt = np.radians(tilt_deg)
    errors = []
    for height_m, pitches_deg in _MOUNTS.items():
        for pitch in np.radians(pitches_deg):
            for off in (tilt, -tilt):
                for seed in range(_FLOOR_SEEDS):
                    room = Room(height_m, pitch + off, tilt, noise=_FLOOR_NOISE,
                                shift=_FLOOR_SHIFT if with_shift else 0.0)
                    view = floor_view(room, seed)
                    fit = fit_ground(view.inverse_depth, FLOOR_CAMERA, height_m, pitch,
                                     with_shift)
                    counts = view.floor & (view.inverse_z > 1 / _FLOOR_COUNTS_M)
                    found = fit.scale * view.inverse_depth[counts] + fit.shift
                    farthest = 1 / _LIMITS.maximum_m
                    errors.append(float(np.mean(np.abs(
                        view.inverse_z[counts] / np.maximum(found, farthest) - 1))))
    return statistics.mean(errors)
