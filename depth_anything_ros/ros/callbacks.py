"""
Callbacks that neither raise nor flood the log: transitions, timers, parameters, messages.

An exception that leaves a callback ends rclpy's executor and so the process, and rclpy drops the
exceptions of transitions without a word. Here each becomes one line in the log, but not while the
process is ending: then any call of rclpy may fail.
"""

from collections.abc import Callable
from functools import wraps
import re
import threading
import time
from typing import Any, TypeVar

from depth_anything_ros.errors import DepthAnythingError
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node

_MOST_KINDS = 64
_LONGEST = 2000
# Numbers, but not the digits of names such as front_2, /cam/0/image and GPU.1.
_NUMBER = re.compile(r'(?<![\w/.])[-+]?(0x[0-9a-f]+|\d+([.x]\d+)*(e[-+]?\d+)?|(nan|inf)\b)',
                     re.IGNORECASE)
# The name under which the state that a transition leads to is kept on its node.
RECORDED_STATE = 'recorded_state'
# The name under which the sentence of the latest transition is kept on its node if it failed.
FAILED_TRANSITION = 'failed_transition'
# After SUCCESS and after FAILURE, by rcl's state machine.
_STATES_AFTER = {'configure': ('inactive', 'unconfigured'), 'activate': ('active', 'inactive'),
                 'deactivate': ('inactive', 'active'), 'cleanup': ('unconfigured', 'inactive'),
                 'shutdown': ('finalized', 'finalized'), 'error': ('unconfigured', 'finalized')}
NodeT = TypeVar('NodeT', bound=LifecycleNode)
Transition = Callable[[NodeT, LifecycleState], TransitionCallbackReturn]


def one_line(text: object) -> str:
    """Return a text of one line that logs and messages can hold: valid UTF-8, not too long."""
    line = ' '.join(str(text).encode('utf-8', 'backslashreplace').decode().split())
    return line if len(line) <= _LONGEST else f'{line[:_LONGEST]} ...'


def is_stopping(node: Node) -> bool:
    """Return whether rclpy is shut down, after SIGINT or SIGTERM, so that its calls fail."""
    return not node.context.ok()


def failure(action: str, error: Exception) -> str:
    """Return the sentence about an error: those with a known cause explain themselves."""
    if isinstance(error, (DepthAnythingError, OSError)):
        return one_line(f'{action}: {error}')
    return one_line(f'{action}, please report this: {error!r}')


def transition_callback(transition: Callable[[NodeT, LifecycleState], None]) -> Transition[NodeT]:
    """
    Return an ``on_*`` callback that logs what ``transition`` raises and returns FAILURE.

    After FAILURE a user can correct the parameters and request the transition again. The node
    keeps the state that follows as ``RECORDED_STATE``, and what is logged as
    ``FAILED_TRANSITION``, which is empty after SUCCESS.
    """
    name = transition.__name__.removeprefix('on_')
    after_success, after_failure = _STATES_AFTER[name]

    @wraps(transition)
    def callback(node: NodeT, state: LifecycleState) -> TransitionCallbackReturn:
        setattr(node, RECORDED_STATE, after_failure)
        try:
            transition(node, state)
        except Exception as error:  # noqa: B902 - rclpy would drop it
            if is_stopping(node):
                node.get_logger().info(f'{name} ended early, because the node is stopped')
            else:
                sentence = one_line(
                    f'{name} failed: {error}' if isinstance(error, (DepthAnythingError, OSError))
                    else f'{name} failed: {error!r}; check parameters and topics, or report this')
                setattr(node, FAILED_TRANSITION, sentence)
                node.get_logger().error(sentence)
            return TransitionCallbackReturn.FAILURE
        setattr(node, RECORDED_STATE, after_success)
        setattr(node, FAILED_TRANSITION, '')
        return TransitionCallbackReturn.SUCCESS
    return callback


def log_exceptions(callback: Callable[..., object], log: Callable[[str], object],
                   node: Node | None = None) -> Callable[..., None]:
    """
    Return a callback that passes what ``callback`` raises to ``log`` as one sentence.

    What it raises while the process of ``node`` is ending is ignored.
    """
    @wraps(callback)
    def logged(*args: Any) -> None:
        try:
            callback(*args)
        except Exception as error:  # noqa: B902 - it would end the process
            if node is not None and is_stopping(node):
                return
            if isinstance(error, DepthAnythingError):
                log(one_line(error))
            else:
                name = getattr(callback, '__name__', 'a callback').strip('_').replace('_', ' ')
                log(failure(f'{name} failed', error))
    return logged


class ThrottledLogger:
    """
    Logs a sentence at once, and sentences of the same kind only after ``period_s``.

    Sentences that differ only in numbers are of one kind: images of a camera that is set up
    wrongly differ in these. At most 64 kinds are logged in a period. It wraps one method of a
    logger and may be called from any thread.
    """

    def __init__(self, log: Callable[[str], object], period_s: float = 10.0) -> None:
        self._log = log
        self._period_s = period_s
        self._lock = threading.Lock()
        self._logged_at: dict[str, float] = {}

    def __call__(self, sentence: str) -> None:
        """Log ``sentence`` unless one of its kind was logged within the period."""
        line = one_line(sentence)
        if self._is_due(_NUMBER.sub('#', line), time.monotonic()):
            self._log(line)

    def _is_due(self, kind: str, now: float) -> bool:
        with self._lock:
            if now - self._logged_at.get(kind, float('-inf')) < self._period_s:
                return False
            if len(self._logged_at) >= _MOST_KINDS:
                self._logged_at = {known: at for known, at in self._logged_at.items()
                                   if now - at < self._period_s}
            if len(self._logged_at) >= _MOST_KINDS:
                return False
            self._logged_at[kind] = now
            return True
