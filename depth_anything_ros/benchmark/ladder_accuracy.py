"""The accuracy of the configurations of mode ``ladder``: rank, measured depth, flicker."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import statistics

from depth_anything_ros.arrays import F32
from depth_anything_ros.benchmark.ladder_steps import Config
from depth_anything_ros.errors import DatasetError, ImageError
from depth_anything_ros.evaluate.predictions import open_model, Prediction
from depth_anything_ros.evaluate.results import Failure, score_files
from depth_anything_ros.evaluate.rgbd import evaluate_rgbd
from depth_anything_ros.evaluate.sequence import evaluate_sequence, MEASURED
from depth_anything_ros.evaluate.sequence_folder import (
    CameraSequence, open_sequence, read_sequence_config)
from depth_anything_ros.media.pictures import read_picture
from depth_anything_ros.media.rgbd_folder import (
    open_folder, read_config, read_truth, RgbdConfig, RgbdDataset, RgbdPair)
from depth_anything_ros.model_info import Kind
from depth_anything_ros.vision.accuracy import DepthScores
from depth_anything_ros.vision.agreement import rank_correlation
from depth_anything_ros.vision.color_image import to_bgr
from depth_anything_ros.vision.depth import (
    DepthRange, MetricCorrection, model_inverse_depth)
from depth_anything_ros.vision.transforms import resize_depth
import numpy as np

_DESCRIPTION = 'dataset.yaml'
# Ranks of every second pixel of a row and a column are those of all within the noise.
_STRIDE = 2


@dataclass(frozen=True)
class Data:
    """What configurations are scored on; every file of it was readable."""

    pictures: tuple[Path, ...]
    rgbd: RgbdDataset | None
    sequence: CameraSequence | None


@dataclass(frozen=True)
class Accuracy:
    """
    The scores of one configuration.

    ``rank`` is the mean rank correlation with the reference, ``truth`` the scores on measured
    depth, ``flicker`` the temporal alignment error on a sequence and ``least_flicker`` that of the
    measured depth itself; None without data.
    """

    rank: float
    truth: DepthScores | None
    flicker: float | None
    least_flicker: float | None


@dataclass(frozen=True)
class Reference:
    """The inverse depth [h, w] of each file by its name, at the network size of ``config``."""

    config: Config
    files: tuple[Path, ...]
    maps: Mapping[str, F32]


def open_data(pictures: Sequence[Path], rgbd: Path | None, sequence: Path | None) -> Data:
    """
    Return the data of the folders; DatasetError or ImageError names a file that cannot be used.

    All files are read once: all configurations need the same ones, so a file that failed with
    each of them would be found late and look like a fault of the models.
    """
    data = Data(tuple(pictures), None if rgbd is None else open_truth(rgbd),
                None if sequence is None else open_motion(sequence))
    for file in data.pictures:
        _require_readable(file)
    if data.rgbd is not None:
        _require_pairs(data.rgbd.pairs, data.rgbd.config)
    if data.sequence is not None:
        _require_pairs((frame.pair for frame in data.sequence.frames),
                       data.sequence.config.images)
    return data


def open_truth(folder: Path) -> RgbdDataset:
    """
    Return the RGB-D data of a folder, described by its dataset.yaml.

    Without that file: rgb_*.png and depth_*.png in millimetres, valid from 0.1 to 10 m.
    DatasetError if there are none.
    """
    described = folder / _DESCRIPTION
    return open_folder(folder, read_config(described) if described.is_file() else RgbdConfig(
        'rgb_*.png', 'depth_*.png', 1000.0, DepthRange(0.1, 10.0)))


def open_motion(folder: Path) -> CameraSequence:
    """Return the sequence of a folder, described by its dataset.yaml; DatasetError without it."""
    described = folder / _DESCRIPTION
    if folder.is_dir() and not described.is_file():
        raise DatasetError(folder, f'it has no {_DESCRIPTION}, which names the files and the '
                           'camera', 'docs/evaluating.md shows a complete one for a sequence')
    if not folder.is_dir():
        raise DatasetError(folder, 'there is no such folder', 'name the folder of the images')
    return open_sequence(folder, read_sequence_config(described))


def make_reference(config: Config, files: Sequence[Path]) -> Reference:
    """Compute the depth that others are compared with; ImageError names a file that fails."""
    with open_model(config.model, config.options) as depth_model:
        kind = depth_model.info.kind
        maps, failed = score_files(depth_model, files, [str(file) for file in files],
                                   lambda index, found: _inverse(found.depth, kind))
    _require_all(failed)
    return Reference(config, tuple(files), {one.name: one.scores for one in maps})


def score_config(config: Config, reference: Reference, data: Data) -> Accuracy:
    """Return all scores of a configuration; ModelError, DeviceError or ImageError if it fails."""
    truth = None if data.rgbd is None else score_on(data.rgbd, config)
    flicker = least = None
    if data.sequence is not None:
        found = evaluate_sequence(config.model, data.sequence, config.options)
        _require_all(found.failed)
        flicker, least = found.mean.tae, found.groups[MEASURED].tae
    return Accuracy(rank_to(reference, config), truth, flicker, least)


def rank_to(reference: Reference, config: Config) -> float:
    """
    Return the mean rank correlation with the reference, both at the size of each image.

    Depth in metres is compared as inverse depth, and a pixel without depth counts as infinitely
    far, so that models of different kinds can be compared.
    """
    files = reference.files
    with open_model(config.model, config.options) as depth_model:
        kind = depth_model.info.kind

        def score(index: int, prediction: Prediction) -> float:
            image_hw = prediction.image_bgr.shape[:2]
            found, expected = (resize_depth(depth, image_hw)[::_STRIDE, ::_STRIDE] for depth in (
                _inverse(prediction.depth, kind), reference.maps[str(files[index])]))
            return rank_correlation(found, expected)

        images, failed = score_files(depth_model, files, [str(file) for file in files], score)
    _require_all(failed)
    return statistics.fmean(one.scores for one in images)


def score_on(dataset: RgbdDataset, config: Config) -> DepthScores:
    """Return the mean scores on measured depth; ImageError names a file that fails."""
    found = evaluate_rgbd(config.model, dataset, config.options)
    _require_all(found.failed)
    return found.mean


def _inverse(depth: F32, kind: Kind) -> F32:
    inverse = model_inverse_depth(depth, kind, MetricCorrection())
    return np.nan_to_num(inverse, nan=0.0, posinf=0.0, neginf=0.0)


def _require_pairs(pairs: Iterable[RgbdPair], config: RgbdConfig) -> None:
    for pair in pairs:
        _require_readable(pair.color, partial(read_truth, pair, config))


def _require_readable(file: Path, read_depth: Callable[[tuple[int, int]], object] | None = None
                      ) -> None:
    try:
        image_bgr = to_bgr(read_picture(file))
        if read_depth is not None:
            read_depth((image_bgr.shape[0], image_bgr.shape[1]))
    except ImageError as error:
        raise ImageError(f'{file}: {error}; remove it from the folder') from error


def _require_all(failed: Sequence[Failure]) -> None:
    """Raise ImageError if an image failed: all configurations need the same images."""
    if failed:
        raise ImageError(f'{failed[0].name}: {failed[0].reason}')
