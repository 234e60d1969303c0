"""Lifecycle transitions that neither raise nor fail silently."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from depth_anything_ros.errors import DepthAnythingError
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

NodeT = TypeVar('NodeT', bound=LifecycleNode)
Transition = Callable[[NodeT, LifecycleState], TransitionCallbackReturn]


def transition_callback(transition: Callable[[NodeT, LifecycleState], None]) -> Transition[NodeT]:
    """
    Turn a method that may raise into an ``on_*`` callback.

    rclpy swallows what a transition raises; here it becomes one line in the log and FAILURE, so
    that the configuration can be mended and the transition tried again.
    """
    @wraps(transition)
    def callback(node: NodeT, state: LifecycleState) -> TransitionCallbackReturn:
        name = transition.__name__.removeprefix('on_')
        try:
            transition(node, state)
        except DepthAnythingError as error:
            node.get_logger().error(f'{name} failed: {error}')
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # noqa: B902 - the boundary to rclpy, which would swallow it
            node.get_logger().error(
                f'{name} failed: {error!r}; check parameters and topics, or report this')
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS
    return callback


def refuse_impossible_requests(node: LifecycleNode) -> None:
    """
    Answer a change_state request that the current state does not allow with success = false.

    rclpy lets such a request raise through the executor, which ends the process.
    """
    service = node._service_change_state
    change_state = service.callback

    def safely(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except rclpy_implementation.RCLError as error:
            state = node._state_machine.current_state[1]
            sentence = str(error).splitlines()[0]
            node.get_logger().warning(f'transition refused, the node is {state}: {sentence}')
            response.success = False
            return response

    service.callback = safely
