"""What a rung of the ladder loses: to the reference's depth, and to measured depth."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from depth_anything_ros.errors import ImageError
from depth_anything_ros.tools.benchmarking.ladder_rungs import Rung
from depth_anything_ros.tools.evaluation.predictions import (
    F32, open_engine, order_of_work, predict, Prediction)
from depth_anything_ros.tools.evaluation.results import Failure, mean_of, score_all
from depth_anything_ros.tools.evaluation.rgbd import evaluate_rgbd
from depth_anything_ros.tools.evaluation.rgbd_folder import (
    open_folder, read_config, RgbdConfig, RgbdDataset)
from depth_anything_ros.vision.agreement import Agreement, agreement
from depth_anything_ros.vision.midas_protocol import DepthRange
from depth_anything_ros.vision.scores import DepthScores
from depth_anything_ros.vision.transforms import resize_depth

_DESCRIPTION = 'dataset.yaml'


@dataclass(frozen=True)
class Reference:
    """The maps [H, W] that ``rung`` gives for each of ``files``, of its network's size."""

    rung: Rung
    files: tuple[Path, ...]
    maps: Mapping[str, F32]
    relative: bool


def make_reference(rung: Rung, files: Sequence[Path], relative: bool) -> Reference:
    """Compute the maps that others are compared with; ImageError names a file that fails."""
    names = [str(file) for file in files]
    with closing(open_engine(rung.model, rung.options)) as engine:
        order = order_of_work(engine, files)
        maps, failed = score_all(names, order, predict(engine, files, order),
                                 lambda index, seen: seen.depth)
    _require_all(failed)
    return Reference(rung, tuple(files), {one.name: one.scores for one in maps}, relative)


def lost_to(reference: Reference, rung: Rung) -> float:
    """
    Return the mean AbsRel to the reference after alignment, each map at its image's size.

    The reference loses nothing to itself. ImageError names a file that fails.
    """
    if rung == reference.rung:
        return 0.0
    files = reference.files

    def score(index: int, seen: Prediction) -> Agreement:
        found, expected = (resize_depth(depth, seen.image_bgr.shape[:2])
                           for depth in (seen.depth, reference.maps[str(files[index])]))
        return agreement(found, expected, reference.relative)

    with closing(open_engine(rung.model, rung.options)) as engine:
        order = order_of_work(engine, files)
        images, failed = score_all([str(file) for file in files], order,
                                   predict(engine, files, order), score)
    _require_all(failed)
    return mean_of(images).abs_rel


def open_truth(folder: Path) -> RgbdDataset:
    """
    Return an RGB-D folder as its dataset.yaml describes it.

    Without that file: rgb_*.png and depth_*.png in millimetres, of which 0.1 to 10 m count.
    DatasetError if there are none.
    """
    described = folder / _DESCRIPTION
    return open_folder(folder, read_config(described) if described.is_file() else RgbdConfig(
        'rgb_*.png', 'depth_*.png', 1000.0, DepthRange(0.1, 10.0)))


def score_on(dataset: RgbdDataset, rung: Rung) -> DepthScores:
    """Return the mean scores on measured depth; ImageError names a file that fails."""
    found = evaluate_rgbd(rung.model, dataset, rung.options)
    _require_all(found.failed)
    return found.mean


def _require_all(failed: Sequence[Failure]) -> None:
    """Refuse what would compare rungs over different images."""
    if failed:
        raise ImageError(f'{failed[0].name}: {failed[0].reason}; take it out of the folder')
