"""
Branches that are left out at random while a network learns.

Source: Huang et al., Deep networks with stochastic depth (2016); the deeper a branch lies, the
more often it is left out.
"""

import torch
from torch import nn, Tensor


class DropPath(nn.Module):
    """
    Around a branch [N, ...] that is added to its input: 0 for ``rate`` of the images in training.

    The others are scaled so that the mean stays. Outside training the branch is as it was.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rate = 0.0

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return branch
        shape = (len(branch), *[1] * (branch.ndim - 1))
        kept = torch.rand(shape, device=branch.device) >= self.rate
        return branch * (kept / (1 - self.rate)).to(branch.dtype)


def set_drop_path(network: nn.Module, rate: float) -> None:
    """Let the rates of the branches rise to ``rate`` in the last one, 0 <= rate < 1."""
    branches = [part for part in network.modules() if isinstance(part, DropPath)]
    for number, branch in enumerate(branches, start=1):
        branch.rate = rate * number / len(branches)
