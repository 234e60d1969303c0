"""
The roofline model: what a layer could do on this machine against what it does.

Source: Williams et al., Roofline: an insightful visual performance model (2009).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import statistics

from depth_anything_ros.benchmark.results import ratio, Spread
from tools.limit.layers import group_nodes, GROUPS, Node, node_bytes, node_flop


@dataclass(frozen=True)
class Roof:
    """The measured peak of matrix products and what goes through memory."""

    peak_gflops: float
    bandwidth_gb_s: float

    @property
    def ridge(self) -> float:
        """Return the operations per byte from which on the peak is the limit."""
        return self.peak_gflops / self.bandwidth_gb_s

    def gflops_at(self, intensity: float) -> float:
        """Return the most at so many operations per byte."""
        return min(self.peak_gflops, intensity * self.bandwidth_gb_s)

    def seconds(self, flop: float, size_bytes: float) -> float:
        """Return the least time for so many operations on so many bytes."""
        return max(flop / self.peak_gflops, size_bytes / self.bandwidth_gb_s) / 1e9


@dataclass(frozen=True)
class GroupCost:
    """
    What the layers of a group take together.

    ``seconds`` is the median of the rounds, ``share`` that of all layers; ``least_seconds`` is the
    sum of what the roof allows each layer; ``peak_fraction`` is taken round by round.
    """

    name: str
    seconds: float
    share: float
    flop: float
    size_bytes: float
    least_seconds: float
    peak_fraction: Spread
    layers: int

    @property
    def gflops(self) -> float:
        """Return the operations per second that were reached."""
        return self.flop / max(self.seconds, 1e-9) / 1e9

    @property
    def gb_s(self) -> float:
        """Return the bytes per second that were reached, caches included."""
        return self.size_bytes / max(self.seconds, 1e-9) / 1e9

    @property
    def intensity(self) -> float:
        """Return operations per byte."""
        return self.flop / max(self.size_bytes, 1.0)

    @property
    def seconds_above_roof(self) -> float:
        """Return the time that the roof does not explain; data in caches may well beat it."""
        return max(0.0, self.seconds - self.least_seconds)


def cost_groups(nodes: Sequence[Node], rounds: Sequence[Sequence[Mapping[str, float]]],
                peaks_gflops: Sequence[float], roof: Roof) -> list[GroupCost]:
    """
    Return the groups that took time, from the seconds of each layer in each call of each round.

    ``peaks_gflops`` are the peaks of the same rounds. A layer that did not run is in no call.
    """
    groups = group_nodes(nodes)
    members = {group: [node for node in nodes
                       if groups[node.name] == group and node.name in rounds[0][0]]
               for group in GROUPS}
    seconds = {group: [statistics.median(sum(call.get(node.name, 0.0) for node in found)
                                         for call in calls) for calls in rounds]
               for group, found in members.items() if found}
    median = {group: statistics.median(values) for group, values in seconds.items()}
    return [_cost(group, members[group], seconds[group], median[group] / sum(median.values()),
                  peaks_gflops, roof) for group in seconds]


def cost_whole(groups: Sequence[GroupCost], seconds: float, flop: float,
               peak_fraction: Spread) -> GroupCost:
    """Return what a whole inference takes, in which no group can be faster than it was."""
    return GroupCost('whole inference', seconds, 1.0, flop,
                     sum(group.size_bytes for group in groups),
                     sum(min(group.least_seconds, group.seconds) for group in groups),
                     peak_fraction, sum(group.layers for group in groups))


def _cost(group: str, nodes: Sequence[Node], seconds: Sequence[float], share: float,
          peaks_gflops: Sequence[float], roof: Roof) -> GroupCost:
    costs = [(node_flop(node), node_bytes(node)) for node in nodes]
    flop = sum(cost[0] for cost in costs)
    reached = [flop / max(one, 1e-9) / 1e9 for one in seconds]
    return GroupCost(group, statistics.median(seconds), share, flop,
                     sum(cost[1] for cost in costs), sum(roof.seconds(*cost) for cost in costs),
                     ratio(reached, peaks_gflops), len(nodes))
