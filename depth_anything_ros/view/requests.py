"""Requests to the depth node: transitions, services and parameters."""

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from depth_anything_ros.ros.callbacks import log_exceptions, one_line
from depth_anything_ros.ros.observer import TRANSITIONS
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter as ParameterMessage, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParametersAtomically
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger

Answer = Callable[[str], object]


class NodeRequests:
    """
    The clients of one depth node.

    Methods may be called from any thread and do not block. ``answer`` gets what happened, or why
    it did not, on the thread of the executor, and before that what the page waits for.
    """

    def __init__(self, node: Node, target: str, answer: Answer) -> None:
        self._node = node
        self._target = target
        self._answer = answer

        def client(kind: Any, name: str) -> Any:
            return node.create_client(kind, f'{target}/{name}')

        self._change_state = client(ChangeState, 'change_state')
        self._freeze = client(SetBool, 'freeze_alignment')
        self._snapshot = client(Trigger, 'save_snapshot')
        self._get = client(GetParameters, 'get_parameters')
        self._set = client(SetParametersAtomically, 'set_parameters_atomically')

    def change_state(self, transition: str) -> None:
        """Request configure, activate, deactivate or cleanup."""
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[transition]))

        def done(response: Any) -> None:
            self._answer(f'{transition}: done' if response.success else
                         f'{transition} failed; the log of {self._target} gives the reason')

        self._call(self._change_state, request, transition, done)

    def freeze_alignment(self, on: bool) -> None:
        """Freeze the alignment, or release it."""
        action = 'freeze' if on else 'release'
        self._call(self._freeze, SetBool.Request(data=on), action, lambda response: self._answer(
            f'{action}: {response.message}'))

    def save_snapshot(self) -> None:
        """Write the next frame of every camera to a folder on the machine of the node."""
        self._call(self._snapshot, Trigger.Request(), 'snapshot', lambda response: self._answer(
            f'snapshot: {response.message}'))

    def get_parameters(self, names: Sequence[str],
                       on_values: Callable[[Mapping[str, Any]], object]) -> None:
        """Pass the present values to ``on_values``, or None for each if one is missing."""
        def done(response: Any) -> None:
            if not response.values:
                self._answer(f'parameters: {self._target} lacks some that this page shows; is it '
                             'a depth node, of the same release?')
            # rclpy returns none if one is missing.
            on_values({name: Parameter.from_parameter_msg(
                ParameterMessage(name=name, value=value)).value
                for name, value in zip_longest(names, response.values,
                                               fillvalue=ParameterValue())})

        self._send(self._get, GetParameters.Request(names=list(names)), 'parameters', done)

    def set_parameters(self, values: Mapping[str, Any],
                       on_done: Callable[[], object] = lambda: None) -> None:
        """Set all values or none, then call ``on_done`` in both cases."""
        request = SetParametersAtomically.Request(parameters=[
            Parameter(name, value=list(value) if isinstance(value, tuple) else value)
            .to_parameter_msg() for name, value in values.items()])

        def done(response: Any) -> None:
            result = response.result
            self._answer(f'set: {", ".join(values)}' if result.successful else
                         f'nothing was set: {result.reason}')
            on_done()

        self._call(self._set, request, 'parameters', done)

    def _call(self, client: Any, request: Any, action: str,
              done: Callable[[Any], object]) -> None:
        # A node that was killed or hangs gives no answer.
        self._answer(f'{action}: {self._target} has not answered yet')
        self._send(client, request, action, done)

    def _send(self, client: Any, request: Any, action: str,
              done: Callable[[Any], object]) -> None:
        if not client.service_is_ready():
            self._answer(f'{action}: {self._target} does not answer; is it running?')
            return

        def finished(future: Any) -> None:
            error = future.exception()
            if error is not None:
                self._answer(one_line(f'{action} failed: {error!r}'))
            elif not future.cancelled():
                done(future.result())

        client.call_async(request).add_done_callback(
            log_exceptions(finished, self._answer, self._node))
