"""The tests themselves: another run of them at the same time cannot make one fail."""

from collections.abc import Callable, Iterator
import time

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node


@pytest.fixture
def make_node(context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Node]]:
    """Return a function that makes a node as another run has it, on the domain of the tests."""
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    made = []

    def make(name: str) -> Node:
        other = Context()
        rclpy.init(context=other, domain_id=context.get_domain_id())
        made.append((Node(name, context=other), other))
        return made[-1][0]

    yield make
    for node, other in made:
        node.destroy_node()
        rclpy.try_shutdown(context=other)


def test_another_run_on_the_same_domain_is_not_in_the_graph(
        context: Context, make_node: Callable[..., Node]) -> None:
    """A witness shows that there was something to see."""
    alone, witness, _ = Node('alone', context=context), make_node('witness'), make_node('stranger')
    assert _sees(witness, 'stranger', 20)
    assert not _sees(alone, 'stranger', 0.5)
    assert alone.get_node_names() == ['alone']
    alone.destroy_node()


def _sees(node: Node, name: str, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while name not in node.get_node_names():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
