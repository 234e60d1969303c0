"""
The roofline model: the speed of each group of layers and the limit of the machine.

Source: Williams et al., Roofline: an insightful visual performance model (2009).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import statistics

from depth_anything_ros.benchmark.report import ratio, Spread
from tools.limit.layers import group_nodes, GROUPS, Node, node_bytes, node_flop


@dataclass(frozen=True)
class Roof:
    """The measured peak of matrix products and the memory bandwidth."""

    peak_gflops: float
    bandwidth_gb_s: float

    @property
    def ridge(self) -> float:
        """Return the FLOP per byte above which the peak is the limit."""
        return self.peak_gflops / self.bandwidth_gb_s

    def gflops_at(self, intensity: float) -> float:
        """Return the limit [GFLOP/s] at an intensity [FLOP/byte]."""
        return min(self.peak_gflops, intensity * self.bandwidth_gb_s)

    def seconds(self, flop: float, size_bytes: float) -> float:
        """Return the shortest possible time [s] for an amount of FLOP and of bytes."""
        return max(flop / self.peak_gflops, size_bytes / self.bandwidth_gb_s) / 1e9


@dataclass(frozen=True)
class GroupCost:
    """
    The cost of the layers of one group together.

    ``seconds`` is the median of the rounds, ``share`` its share of all layers; ``least_seconds``
    is the sum of the shortest possible times of the layers; ``peak_fraction`` is computed round
    by round.
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
        """Return the measured GFLOP/s."""
        return self.flop / max(self.seconds, 1e-9) / 1e9

    @property
    def gb_s(self) -> float:
        """Return the measured GB/s, with data from caches."""
        return self.size_bytes / max(self.seconds, 1e-9) / 1e9

    @property
    def intensity(self) -> float:
        """Return FLOP per byte."""
        return self.flop / max(self.size_bytes, 1.0)

    @property
    def seconds_above_roof(self) -> float:
        """Return the time above the shortest possible one [s], 0 if caches make it shorter."""
        return max(0.0, self.seconds - self.least_seconds)


def cost_groups(nodes: Sequence[Node], rounds: Sequence[Sequence[Mapping[str, float]]],
                peaks_gflops: Sequence[float], roof: Roof) -> list[GroupCost]:
    """
    Return the groups that were executed, from the time [s] of each layer by round and call.

    ``peaks_gflops`` are the peaks by round. A layer that was not executed is missing in all calls.
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
    """Return the cost of a whole inference; a group faster than its roof counts as measured."""
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
