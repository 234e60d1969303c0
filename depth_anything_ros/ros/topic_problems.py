"""Why a subscription receives nothing, as far as the types of the publishers show it."""

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

_SUFFIX = '/compressed'


def type_name(message_type: type) -> str:
    """Return the name of a message type, such as sensor_msgs/msg/Image."""
    return f'{message_type.__module__.partition(".")[0]}/msg/{message_type.__name__}'


RAW, COMPRESSED = type_name(Image), type_name(CompressedImage)


def type_problem(node: Node, topic: str, message_type: type) -> str:
    """Name the types that are published on a resolved topic if none is ``message_type``, or ''."""
    found = _types(node, topic)
    if not found or type_name(message_type) in found:
        return ''
    return f'{topic} has {" and ".join(found)}, not {type_name(message_type)}'


def image_topic_problem(node: Node, topic: str, name: str, transport: str) -> str:
    """
    Return why no image arrives on a resolved topic and what to change, '' if it is unknown.

    ``name`` is the input that users remap, such as image; ``transport`` is raw or compressed, for
    which the node subscribes to the topic of ``name`` with /compressed behind it.
    """
    if transport == 'raw':
        return _raw_problem(node, topic, name)
    return _compressed_problem(node, topic, name)


def _raw_problem(node: Node, topic: str, name: str) -> str:
    wrong = type_problem(node, topic, Image)
    if wrong and COMPRESSED in _types(node, topic):
        if topic.endswith(_SUFFIX):
            return (f'{wrong}; set image_transport to compressed and remap {name} to '
                    f'{topic.removesuffix(_SUFFIX)}')
        return f'{wrong}; set image_transport to compressed and remap {topic}{_SUFFIX} to {topic}'
    if wrong:
        return f'{wrong}; remap {name} to a topic of images'
    if not _types(node, topic) and COMPRESSED in _types(node, topic + _SUFFIX):
        return f'only {topic}{_SUFFIX} is published; set image_transport to compressed'
    return ''


def _compressed_problem(node: Node, topic: str, name: str) -> str:
    wrong = type_problem(node, topic, CompressedImage)
    if wrong and RAW in _types(node, topic):
        return f'{wrong}; set image_transport to raw and remap {name} to {topic}'
    base = topic.removesuffix(_SUFFIX)
    if wrong:
        return f'{wrong}; remap {name} to a topic that has {COMPRESSED} on <topic>{_SUFFIX}'
    if _types(node, topic):
        return ''
    if base.endswith(_SUFFIX):
        return (f'image_transport compressed appends {_SUFFIX}; remap {name} to '
                f'{base.removesuffix(_SUFFIX)}, not to {base}')
    found = _types(node, base)
    if RAW in found:
        return f'only {base} is published, which is not compressed; set image_transport to raw'
    if COMPRESSED in found:
        return f'the compressed images are on {base}; remap {topic} to it'
    return ''


def _types(node: Node, topic: str) -> list[str]:
    return sorted({info.topic_type for info in node.get_publishers_info_by_topic(topic)})
