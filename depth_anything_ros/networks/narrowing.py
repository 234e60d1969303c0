"""
Narrower feed-forward parts for a vision transformer, with the weights of a wider one.

Of each part the hidden neurons are kept that the output needs most, and its second layer is fitted
by least squares to the output with all neurons. Source: our own; it follows the layer-wise
reconstruction of He et al., Channel pruning for accelerating very deep neural networks (2017).
"""

from collections.abc import Mapping

from depth_anything_ros.networks.depth_anything import DepthAnything, state_dict_problem
from depth_anything_ros.networks.vit import Mlp
import torch
from torch import Tensor

# Of the mean variance of a neuron; keeps the least squares stable.
_RIDGE = 1e-3


def narrow_feed_forward(wide: DepthAnything, narrow: DepthAnything, images: Tensor) -> None:
    """
    Fill the weights of ``narrow`` from those of ``wide``, which differ in ``hidden_width`` only.

    ``images`` are normalised images [N, 3, H, W] that show which neurons matter, a few dozen at
    the size at which the network will run. ValueError if the networks differ in more, or if their
    feed-forward parts are not of two layers.
    """
    weights, hidden = wide.state_dict(), narrow.spec.hidden_width
    if hidden > wide.spec.hidden_width or not all(
            isinstance(block.mlp, Mlp) for block in wide.pretrained.blocks):
        raise ValueError(f'{wide.spec.name} has no {hidden} hidden neurons to keep')
    others = _without_mlp(weights)
    problem = state_dict_problem(_without_mlp(narrow.state_dict()), others)
    if problem:
        raise ValueError(problem)
    narrow.load_state_dict(others, strict=False)
    encoder = narrow.pretrained
    with torch.no_grad():
        tokens = encoder.embed(images)
        for source, block in zip(wide.pretrained.blocks, encoder.blocks, strict=True):
            inside = block.norm2(block.attend(tokens))
            _narrow(source.mlp, block.mlp, source.mlp.activations(inside).flatten(0, 1))
            tokens = block(tokens)


def _without_mlp(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if '.mlp.' not in name}


def _narrow(wide: Mlp, narrow: Mlp, activations: Tensor) -> None:
    """Fit ``narrow`` to the output of ``wide`` for hidden activations [samples, wide hidden]."""
    count = narrow.fc1.out_features
    mean = activations.mean(0)
    centred = activations - mean
    covariance = centred.T @ centred / len(centred)
    output = wide.fc2.weight
    importance = covariance.diagonal() * output.square().sum(0)
    kept = importance.topk(count).indices.sort().values
    among = covariance[kept][:, kept]
    ridge = _RIDGE * among.diagonal().mean().clamp(min=1e-12)
    fitted = torch.linalg.solve(
        among + ridge * torch.eye(count),
        covariance[kept] @ output.T + ridge * output[:, kept].T).T
    narrow.fc1.weight.copy_(wide.fc1.weight[kept])
    narrow.fc1.bias.copy_(wide.fc1.bias[kept])
    narrow.fc2.weight.copy_(fitted)
    narrow.fc2.bias.copy_(wide.fc2.bias + output @ mean - fitted @ mean[kept])
