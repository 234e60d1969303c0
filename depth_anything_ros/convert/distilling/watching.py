"""A look at images that a student does not learn from."""

from collections.abc import Sequence
from statistics import fmean

from depth_anything_ros.convert.distilling.label_cache import Labelled
from depth_anything_ros.convert.network.family import Network
from depth_anything_ros.vision.rank_correlation import rank_correlation as correlate
from depth_anything_ros.vision.transforms import (
    network_size, normalize, resize_depth, resize_for_network)
import torch


def rank_correlation(network: Network, images: Sequence[Labelled],
                     input_size: int | None = None) -> float:
    """
    Return the mean rank correlation of a network with the labels of at least one image.

    The network is ready for inference, ``input_size`` its short side, usually its own. Compared
    is every second pixel of its size in both directions.
    """
    return fmean(_one(network, image, input_size or network.input.size) for image in images)


def _one(network: Network, image: Labelled, input_size: int) -> float:
    picture, label = image.read()
    taken = network.input
    size_hw = network_size(label.shape, input_size, taken.multiple)
    tensor = normalize(resize_for_network(picture, size_hw), taken.mean_rgb, taken.std_rgb)
    with torch.inference_mode():
        depth = network(torch.from_numpy(tensor))[0].numpy()
    return correlate(depth[::2, ::2], resize_depth(label, size_hw)[::2, ::2])
