"""A node, the page, the demo and the health check of the container agree on names of statuses."""

from depth_anything_ros.ros.statuses import status_name, status_values, statuses_of
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue


def test_the_statuses_of_a_node_are_found_by_their_cameras() -> None:
    nodes = ('/robot/depth', '/robot/depth_2', '/depth')
    message = DiagnosticArray(status=[
        DiagnosticStatus(name=status_name(node, camera), message=node)
        for node in nodes for camera in ('front', 'rear', '')])
    assert message.status[0].name == 'robot/depth front: depth'
    assert message.status[2].name == 'robot/depth: depth'
    for node in nodes:
        found = statuses_of(message, node)
        assert {camera: status.message for camera, status in found.items()} == {
            'front': node, 'rear': node, '': node}


def test_only_the_status_of_the_node_itself_counts() -> None:
    def status(name: str) -> DiagnosticStatus:
        return DiagnosticStatus(name=name, values=[KeyValue(key='name', value=name)])

    message = DiagnosticArray(status=[status('battery'), status('depth: depth')])
    assert status_values(message, 'depth') == {'name': 'depth: depth'}
    assert status_values(DiagnosticArray(status=[status('battery')]), 'depth') == {}
    assert status_values(DiagnosticArray(), 'depth') == {}
