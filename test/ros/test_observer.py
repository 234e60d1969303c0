"""The node that the demo and the benchmark watch a depth node with."""

from collections.abc import Iterator
import os
import threading
import time
from typing import Any

from depth_anything_ros.ros.observer import Observer, RELIABLE
from lifecycle_msgs.srv import ChangeState, GetState
import pytest
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String


@pytest.fixture
def observer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Observer]:
    """Return an observer on a domain of its own."""
    monkeypatch.setenv('ROS_DOMAIN_ID', str(64 + (os.getpid() + 27) % 36))
    observer = Observer('observer', 'nobody')
    yield observer
    observer.close()


def test_a_message_that_cannot_be_handled_is_logged_and_the_next_one_arrives(
        observer: Observer, capfd: pytest.CaptureFixture[str]) -> None:
    words: list[str] = []

    def on_word(message: String) -> None:
        words.append(message.data)
        raise KeyError(message.data)

    observer.listen(String, '/words', on_word)
    publisher = observer.node.create_publisher(String, '/words', RELIABLE)
    assert observer.spin_until(lambda: publisher.get_subscription_count() == 1, 60)
    publisher.publish(String(data='first'))
    publisher.publish(String(data='second'))
    assert observer.spin_until(lambda: words == ['first', 'second'], 60)
    assert "on word failed, please report this: KeyError('first')" in capfd.readouterr().err


def test_a_lost_response_does_not_hide_that_the_transition_is_done(observer: Observer) -> None:
    end = threading.Event()
    node, group = Node('nobody'), ReentrantCallbackGroup()

    def answer_never(request: Any, response: Any) -> Any:
        end.wait()
        return response

    def state(request: Any, response: Any) -> Any:
        response.current_state.label = 'inactive'
        return response

    node.create_service(ChangeState, '/nobody/change_state', answer_never, callback_group=group)
    node.create_service(GetState, '/nobody/get_state', state, callback_group=group)
    executor = MultiThreadedExecutor(2)
    executor.add_node(node)
    spin = threading.Thread(target=executor.spin)
    spin.start()
    try:
        started = time.monotonic()
        observer.change_state('configure', 120)
        assert time.monotonic() - started < 110
    finally:
        end.set()
        executor.shutdown()
        spin.join()
        node.destroy_node()
