"""
Narrower feed-forward parts for a vision transformer, with the weights of a wider one.

From each part the hidden neurons are removed that the others can best stand in for, one by one.
Its second layer is then fitted by least squares so that the tokens after the block are those
of the wide network, which also makes up for what earlier blocks lost.

Source: our own combination of Hassibi and Stork, Second order derivatives for network pruning:
Optimal Brain Surgeon (1992), for the choice, and He et al., Channel pruning for accelerating very
deep neural networks (2017), for the fit.
"""

from collections.abc import Callable, Mapping, Sequence

from depth_anything_ros.networks.depth_anything import DepthAnything, state_dict_problem
from depth_anything_ros.networks.vit import Block, Mlp
import torch
from torch import Tensor

# Of the mean variance of a neuron; keeps the least squares stable.
_RIDGE = 1e-3
# Images that are computed at once.
_AT_ONCE = 16


def narrow_feed_forward(wide: DepthAnything, narrow: DepthAnything, images: Tensor,
                        advance: Callable[[], object] = lambda: None) -> None:
    """
    Fill the weights of ``narrow`` from those of ``wide``, which differ in ``hidden_width`` only.

    ``images`` are normalised images [N, 3, H, W] that show which neurons matter, a few hundred at
    the size at which the network will run; ``advance`` is called after each block. ValueError if
    the networks differ in more, or if their feed-forward parts are not of two layers.
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
        tokens = [encoder.embed(part) for part in images.split(_AT_ONCE)]
        wanted = tokens
        for source, block in zip(wide.pretrained.blocks, encoder.blocks, strict=True):
            wanted = [source(part) for part in wanted]
            attended = [block.attend(part) for part in tokens]
            _narrow(source.mlp, block, attended, wanted)
            tokens = [block.feed_forward(part) for part in attended]
            advance()


def _without_mlp(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if '.mlp.' not in name}


def _narrow(wide: Mlp, block: Block, attended: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    """Fit the feed-forward part of a block to lead from attended to wanted tokens [N, T, D]."""
    narrow, scale = block.mlp, block.ls2.gamma
    inside = [wide.activations(block.norm2(part)).flatten(0, 1) for part in attended]
    missing = [((after - before) / torch.where(scale == 0, torch.inf, scale)).flatten(0, 1)
               for before, after in zip(attended, wanted, strict=True)]
    mean, target = _mean(inside), _mean(missing)
    covariance = _mean_product(inside, mean, inside, mean)
    kept = _needed(covariance, wide.fc2.weight.double(), narrow.fc1.out_features)
    among = covariance[kept][:, kept]
    ridge = _ridge(among)
    fitted = torch.linalg.solve(
        among + ridge, _mean_product(inside, mean, missing, target)[kept]
        + ridge @ wide.fc2.weight.double()[:, kept].T).T
    narrow.fc1.weight.copy_(wide.fc1.weight[kept])
    narrow.fc1.bias.copy_(wide.fc1.bias[kept])
    narrow.fc2.weight.copy_(fitted)
    narrow.fc2.bias.copy_(target - fitted @ mean[kept])


def _needed(covariance: Tensor, output: Tensor, count: int) -> Tensor:
    """Return the indices of ``count`` neurons with which ``output`` [D, hidden] loses least."""
    inverse = torch.linalg.inv(covariance + _ridge(covariance))
    weights = inverse @ covariance @ output.T
    removed = torch.zeros(len(covariance), dtype=torch.bool)
    for _ in range(len(covariance) - count):
        loss = weights.square().sum(1) / inverse.diagonal()
        neuron = int(loss.masked_fill(removed, torch.inf).argmin())
        removed[neuron] = True
        # The others take over what it gave.
        share = inverse[:, neuron] / inverse[neuron, neuron]
        weights -= torch.outer(share, weights[neuron])
        inverse -= torch.outer(share, inverse[neuron])
    return torch.nonzero(~removed).flatten()


def _ridge(covariance: Tensor) -> Tensor:
    """Return the matrix [N, N] that keeps least squares with this covariance stable."""
    ridge = _RIDGE * covariance.diagonal().mean().clamp(min=1e-12)
    return ridge * torch.eye(len(covariance), dtype=covariance.dtype)


def _mean(parts: Sequence[Tensor]) -> Tensor:
    """Return the mean [D] of samples [samples, D]."""
    total = torch.stack([part.sum(0, dtype=torch.float64) for part in parts]).sum(0)
    return total / sum(len(part) for part in parts)


def _mean_product(left: Sequence[Tensor], left_mean: Tensor, right: Sequence[Tensor],
                  right_mean: Tensor) -> Tensor:
    """Return the covariance [L, R] of samples [samples, L] and [samples, R]."""
    product = torch.zeros(len(left_mean), len(right_mean), dtype=torch.float64)
    for one, other in zip(left, right, strict=True):
        product += (one - left_mean.float()).T @ (other - right_mean.float())
    return product / sum(len(part) for part in left)
