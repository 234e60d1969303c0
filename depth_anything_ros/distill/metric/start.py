"""The relative model that a training in metres begins as, and its fit to metres."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
import math
from pathlib import Path

from depth_anything_ros.alignment.fit import fit_alignment, Samples
from depth_anything_ros.convert.sources.graphs import read_graph
from depth_anything_ros.convert.sources.identity import Overrides
from depth_anything_ros.convert.sources.ir_weights import read_ir_weights
from depth_anything_ros.convert.sources.load_network import load_network
from depth_anything_ros.distill.metric.objective import canonical_inverse, MetricPair, MetricScale
from depth_anything_ros.distill.students import EvalRelu, Student
from depth_anything_ros.errors import AlignmentError, CheckpointError
from depth_anything_ros.model_info import Kind, ModelVersion
from depth_anything_ros.networks.depth_anything import build_network, DepthAnything
from depth_anything_ros.networks.dpt import FrameFit
from depth_anything_ros.networks.models import EncoderSpec, find_encoder, InputSpec, MODELS
from depth_anything_ros.vision.geometry import Intrinsics, mean_focal
from depth_anything_ros.vision.transforms import network_size
import numpy as np
import torch

_FIX = 'give a relative Depth Anything V1 or V2, such as models/depth_anything_tiny.xml'
# Pixels of each image that the fit uses.
_SAMPLES_PER_IMAGE = 200
_MOST_IMAGES = 200


@dataclass(frozen=True)
class Start:
    """A relative model: its network, ready to train, and what its record and the export need."""

    student: Student
    name: str
    licence: str
    model_version: ModelVersion


def open_start(path: Path, overrides: Overrides,
               table: tuple[EncoderSpec, ...] = MODELS) -> Start:
    """Return a checkpoint or IR as the start; CheckpointError or ModelError say why not."""
    if path.suffix == '.xml':
        info = read_graph(path).info
        if info is None:
            raise CheckpointError(path, 'it has no metadata', _FIX)
        _check_kind(path, info.kind, info.model_version, info.focal_px)
        spec = find_encoder(info.encoder, (*table, *MODELS))
        network = build_network(spec, info.model_version, None, read_ir_weights(path, table))
        name, licence, version = info.source_name, info.licence, info.model_version
    else:
        loaded = load_network(path, overrides, table)
        identity, network = loaded.identity, loaded.network
        _check_kind(path, identity.kind, identity.model_version, identity.output.focal_px)
        name, licence, version = identity.source_name, identity.licence, identity.model_version
    network.requires_grad_(True)
    network.depth_head.scratch.output_conv2[-1] = EvalRelu()
    add_frame_fit(network)
    return Start(Student(network.spec.name, network), name, licence, version)


def _check_kind(path: Path, kind: Kind, version: ModelVersion, focal_px: float | None) -> None:
    if focal_px:
        raise CheckpointError(path, 'it gives metres already', 'begin with the relative model '
                              'that it was made from')
    if kind != 'relative' or version not in ('v1', 'v2'):
        raise CheckpointError(path, 'it is no relative Depth Anything V1 or V2', _FIX)


def add_frame_fit(network: DepthAnything) -> None:
    """
    Give a relative network a scale and a shift of its maps, which do not change them yet.

    Training leaves them alone: one of its steps would change the scale of all images by percents.
    """
    network.spec = replace(network.spec, has_frame_fit=True)
    head = network.depth_head
    width = len(network.spec.out_channels) * network.spec.width
    head.frame_fit = FrameFit(width).train(network.training)
    head.frame_fit.requires_grad_(False)
    begin_at(network, (1.0, 0.0))


def full_view_focal(focal_xy: tuple[float, float], image_hw: tuple[int, int],
                    input_spec: InputSpec) -> float:
    """Return the focal length in pixels of the network's image that shows the whole image."""
    return mean_focal(Intrinsics(*focal_xy, 0.0, 0.0, image_hw),
                      network_size(image_hw, input_spec.size, input_spec.multiple))


def constant_fit(pairs: Sequence[MetricPair], scale: MetricScale,
                 input_spec: InputSpec) -> tuple[float, float]:
    """
    Return the one scale and shift from the relative model's maps to canonical inverse depth.

    It is the robust fit of the node, to pixels of up to 200 images; CheckpointError if there is
    none.
    """
    values, wanted = [], []
    for pair in pairs[::-(-len(pairs) // _MOST_IMAGES)]:
        _, label = pair.labelled.read()
        target = canonical_inverse(pair.frame.read_depth(), full_view_focal(
            pair.frame.focal_xy, label.shape, input_spec), scale)
        seen = np.flatnonzero(target)
        seen = seen[np.linspace(0, seen.size - 1, min(seen.size, _SAMPLES_PER_IMAGE)).astype(int)]
        values.append(label.ravel()[seen])
        wanted.append(target.ravel()[seen])
    try:
        fit = fit_alignment(Samples(*(np.concatenate(one).astype(np.float64)
                                      for one in (values, wanted))), True)
    except AlignmentError as error:
        raise CheckpointError('the relative model', f'its depth does not fit the measured one '
                              f'({error})', 'check that depth and images belong together, and '
                              'see pairs.png in the work folder') from error
    return fit.scale, fit.shift


def begin_at(network: DepthAnything, scale_shift: tuple[float, float]) -> None:
    """Give all maps of a network the same scale and shift."""
    linear = network.depth_head.frame_fit.linear
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.copy_(torch.tensor([math.log(scale_shift[0]), scale_shift[1]]))


def median_focal(pairs: Sequence[MetricPair], input_spec: InputSpec) -> float:
    """Return the median focal length [px of the network's image], a whole number from 1."""
    found = [full_view_focal(pair.frame.focal_xy, pair.labelled.read()[1].shape, input_spec)
             for pair in pairs]
    return max(1.0, float(round(float(np.median(found)))))
