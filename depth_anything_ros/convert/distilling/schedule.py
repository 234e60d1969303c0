"""Learning rate and averaged weights over the steps of a training."""

from collections.abc import Mapping
import math
from typing import Any

import torch
from torch import nn

_SHORT = 10


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """
    Return the factor for ``step`` from 0: a straight rise over ``warmup`` steps, then a cosine.

    The rise takes no more than a tenth of all steps. Source: Loshchilov and Hutter, SGDR (2017).
    """
    warmup = min(warmup, steps // _SHORT)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(steps - warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


class AveragedWeights:
    """
    The exponential moving average of a network's weights.

    Source: Polyak and Juditsky (1992); the first steps count less, as long as there are few.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone()
                       for name, value in network.state_dict().items()}
        self._steps = 0

    def update(self, network: nn.Module) -> None:
        """Take in the weights that the network has now."""
        self._steps += 1
        decay = min(self.decay, (1 + self._steps) / (10 + self._steps))
        with torch.no_grad():
            for name, value in network.state_dict().items():
                self.values[name].lerp_(value, 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` takes."""
        return {'steps': self._steps, 'values': self.values}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` returned, on the device of the present values."""
        self._steps = state['steps']
        for name, value in self.values.items():
            value.copy_(state['values'][name])
