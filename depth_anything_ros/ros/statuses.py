"""The names of a depth node's statuses on /diagnostics: one for each of its cameras."""

from typing import Any

_SUFFIX = ': depth'


def status_name(node: str, camera: str) -> str:
    """Return ``robot/depth_anything front: depth``, without a camera ``depth_anything: depth``."""
    return f'{node.lstrip("/")} {camera}'.rstrip() + _SUFFIX


def statuses_of(message: Any, node: str) -> dict[str, Any]:
    """
    Return the statuses in a DiagnosticArray by camera, {} if another node sent it.

    ``node`` is the full name of the depth node; '' stands for a camera without a name.
    """
    found = {}
    for status in message.status:
        own, _, camera = status.name.removesuffix(_SUFFIX).partition(' ')
        if status.name.endswith(_SUFFIX) and own == node.lstrip('/'):
            found[camera] = status
    return found


def status_values(message: Any, node: str, camera: str = '') -> dict[str, str]:
    """Return the values of one status of a node, {} if others sent the message."""
    status = statuses_of(message, node).get(camera)
    return {entry.key: entry.value for entry in status.values} if status else {}
