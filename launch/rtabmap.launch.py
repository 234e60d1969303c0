"""
RGB-D SLAM with one camera: depth_anything.launch.py and rtabmap.launch.py of rtabmap_launch.

RTAB-Map needs a true scale that does not change: a metric model, a measured relative_scale, or an
alignment that ~/freeze_alignment freezes after it has settled. alignment:=motion needs odometry
that is not RTAB-Map's own, which itself waits for this depth: set visual_odometry:=false and
odom_frame_id, the frame in TF, or odom_topic with approx_sync:=true. Without a scale the node
publishes no metric depth and RTAB-Map waits. Depth has the stamp of the image, and camera_info
must have it too, because they are synchronized exactly. All arguments of both launch files are
accepted too.
"""

from ament_index_python.packages import get_package_share_path
from depth_anything_ros.node.launch_support import (
    argument, calibration_topic, common_argument, dds_profile, depth_node, packages_required,
    require_one_camera)
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import GroupAction, IncludeLaunchDescription, LogInfo, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource

NEEDS = ['rtabmap_launch']
SCALE = ('RTAB-Map needs one true scale: use a metric model or relative_scale, or call '
         'freeze_alignment of the node after its alignment has settled; alignment:=motion needs '
         "odometry that is not RTAB-Map's own (visual_odometry:=false odom_frame_id:=odom)")
PASSED_ON = ('frame_id', 'approx_sync', 'approx_sync_max_interval', 'sync_queue_size',
             'topic_queue_size')


def generate_launch_description() -> LaunchDescription:
    """Return the depth node and RTAB-Map on its topics."""
    return LaunchDescription([
        packages_required('rtabmap.launch.py', NEEDS),
        common_argument('namespace'),
        common_argument('node_name'),
        argument('image_topic', '/camera/image_rect', 'Topic of the rectified colour images, '
                 'for the depth node and for RTAB-Map.'),
        argument('frame_id', 'base_link', 'Frame of the robot whose pose RTAB-Map estimates; TF '
                 'must connect it to the frame of the images.'),
        argument('approx_sync', 'false', 'Synchronize messages with different stamps, which is '
                 'needed with odom_topic. false: equal stamps only.'),
        argument('approx_sync_max_interval', '0.01', 'Largest difference of stamps with '
                 'approx_sync:=true (s).'),
        argument('sync_queue_size', '30', 'Number of messages that are kept for synchronization; '
                 'images are kept while the network computes their depth.'),
        argument('topic_queue_size', '30', 'Number of messages per topic that are kept until '
                 'they are read.'),
        LogInfo(msg=SCALE),
        *dds_profile(),
        OpaqueFunction(function=_rtabmap),
        depth_node(),
    ])


def _rtabmap(context: LaunchContext) -> list[Action]:
    """Return RTAB-Map, whose own arguments have the same names and are set here."""
    require_one_camera(context, 'RTAB-Map')
    values = context.launch_configurations
    image = values['image_topic']
    depth = _absolute(values['namespace'], f'{values["node_name"]}/depth')
    file = get_package_share_path('rtabmap_launch') / 'launch' / 'rtabmap.launch.py'
    return [GroupAction([IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(file)), launch_arguments={
            'namespace': 'rtabmap', 'rviz': 'false',
            'rgb_topic': _absolute(values['namespace'], image), 'depth_topic': f'{depth}/image',
            # Of the colour image; RTAB-Map derives from it the calibration of smaller depth.
            'camera_info_topic': _absolute(values['namespace'], calibration_topic(context, image)),
            **{name: values[name] for name in PASSED_ON}}.items())])]


def _absolute(namespace: str, topic: str) -> str:
    """Return the absolute name of a topic of the depth node."""
    if topic.startswith('/'):
        return topic
    return '/' + '/'.join(part for part in (namespace.strip('/'), topic) if part)
