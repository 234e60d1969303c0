"""
Stochastic depth: residual branches are skipped at random during training.

Source: Huang et al., Deep networks with stochastic depth (2016); deeper branches are skipped more
often.
"""

import torch
from torch import nn, Tensor


class DropPath(nn.Module):
    """
    A residual branch [N, ...] before it is added: 0 for a share ``rate`` of the training images.

    The other images are scaled so that the mean stays the same. Outside training nothing changes.
    The images are part ``part`` of ``parts`` of a batch, which does not change their fate.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rate = 0.0
        self.part, self.parts = 0, 1

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return branch
        count = len(branch)
        chances = torch.rand(self.parts * count, device=branch.device)
        kept = chances[self.part * count:][:count] >= self.rate
        kept = kept.reshape(count, *[1] * (branch.ndim - 1))
        return branch * (kept / (1 - self.rate)).to(branch.dtype)


def set_drop_path(network: nn.Module, rate: float, part: int = 0, parts: int = 1) -> None:
    """
    Set the rates of all branches, rising to ``rate`` in the last one, 0 <= rate < 1.

    The network sees part ``part`` of ``parts`` of each batch.
    """
    branches = [module for module in network.modules() if isinstance(module, DropPath)]
    for number, branch in enumerate(branches, start=1):
        branch.rate = rate * number / len(branches)
        branch.part, branch.parts = part, parts
