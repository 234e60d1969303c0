"""
Callbacks that neither raise nor fail silently: transitions, timers and parameter changes.

An exception that leaves a callback ends rclpy's executor and so the process, and rclpy drops the
exceptions of transitions without a word. Here each becomes one line in the log.
"""

from collections.abc import Callable
from functools import wraps
import time
from typing import Any, TypeVar

from depth_anything_ros.errors import DepthAnythingError
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

_MOST_SENTENCES = 64
NodeT = TypeVar('NodeT', bound=LifecycleNode)
Transition = Callable[[NodeT, LifecycleState], TransitionCallbackReturn]


def transition_callback(transition: Callable[[NodeT, LifecycleState], None]) -> Transition[NodeT]:
    """
    Return an ``on_*`` callback that logs what ``transition`` raises and returns FAILURE.

    After FAILURE a user can correct the parameters and request the transition again.
    """
    @wraps(transition)
    def callback(node: NodeT, state: LifecycleState) -> TransitionCallbackReturn:
        name = transition.__name__.removeprefix('on_')
        try:
            transition(node, state)
        except DepthAnythingError as error:
            node.get_logger().error(f'{name} failed: {error}')
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # noqa: B902 - rclpy would drop it
            node.get_logger().error(
                f'{name} failed: {error!r}; check parameters and topics, or report this')
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS
    return callback


def log_exceptions(callback: Callable[..., object],
                   log: Callable[[str], object]) -> Callable[..., None]:
    """Return a callback that passes what ``callback`` raises to ``log`` as one sentence."""
    @wraps(callback)
    def logged(*args: Any) -> None:
        try:
            callback(*args)
        except DepthAnythingError as error:
            log(str(error))
        except Exception as error:  # noqa: B902 - it would end the process
            name = callback.__name__.strip('_').replace('_', ' ')
            log(f'{name} failed, please report this: {error!r}')
    return logged


class ThrottledLogger:
    """
    Logs a sentence at once, and the same sentence again only after ``period_s``.

    It wraps one method of a logger, may be called from any thread, and remembers at most 64
    sentences.
    """

    def __init__(self, log: Callable[[str], object], period_s: float = 10.0) -> None:
        self._log = log
        self._period_s = period_s
        self._logged_at: dict[str, float] = {}

    def __call__(self, sentence: str) -> None:
        """Log ``sentence`` unless it was logged within the period."""
        now = time.monotonic()
        if now - self._logged_at.get(sentence, float('-inf')) < self._period_s:
            return
        if len(self._logged_at) >= _MOST_SENTENCES:
            self._logged_at.clear()
        self._logged_at[sentence] = now
        self._log(sentence)
