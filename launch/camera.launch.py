"""
A camera driver and the depth of its images.

Point clouds and metric depth need a calibration: camera_calibration writes one, and
camera_info_url passes it to the driver; a RealSense brings its own. All arguments of
depth_anything.launch.py are accepted too.
"""

from depth_anything_ros.node.launch_support import (
    argument, dds_profile, depth_node, existing_file, number, require_packages)
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import OpaqueFunction, SetLaunchConfiguration
from launch_ros.actions import Node

NEEDS = {'usb_cam': ['usb_cam'], 'v4l2_camera': ['v4l2_camera'],
         'realsense': ['realsense2_camera']}
EXECUTABLE = {'usb_cam': 'usb_cam_node_exe', 'v4l2_camera': 'v4l2_camera_node',
              'realsense': 'realsense2_camera_node'}
OWN_FRAME = 'camera_optical_frame'


def generate_launch_description() -> LaunchDescription:
    """Return the driver and the depth node."""
    return LaunchDescription([
        argument('driver', None, 'Driver of the camera.', list(NEEDS)),
        argument('video_device', '/dev/video0', 'Device file for usb_cam and v4l2_camera.'),
        argument('width', '640', 'Width of the images (px).'),
        argument('height', '480', 'Height of the images (px).'),
        argument('fps', '30', 'Images per second, an integer as the drivers have it.'),
        argument('camera_info_url', '', 'Calibration for usb_cam and v4l2_camera, such as '
                 'file:///home/me/camera.yaml. Empty: the default of the driver.'),
        argument('driver_params_file', '', 'YAML file with more parameters of the driver.'),
        argument('image_topic', '', 'Topic of the images for the depth node. Empty: that of the '
                 'driver.'),
        argument('frame', '', 'Fixed frame of RViz. Empty: that of the images of the driver.'),
        *dds_profile(),
        OpaqueFunction(function=_driver),
        depth_node(),
    ])


def _driver(context: LaunchContext) -> list[Action]:
    """Return the driver, and set topic and frame of its images for the depth node."""
    values = context.launch_configurations
    driver = values['driver']
    require_packages(f'driver:={driver}', NEEDS[driver])
    parameters: list[object] = [_parameters(driver, context)]
    if values['driver_params_file']:
        parameters.append(str(existing_file(context, 'driver_params_file')))
    name, topic, frame = (
        ('camera', '/camera/camera/color/image_raw', 'camera_color_optical_frame')
        if driver == 'realsense' else (driver, '/camera/image_raw', OWN_FRAME))
    return [
        Node(package=NEEDS[driver][0], executable=EXECUTABLE[driver], namespace='/camera',
             name=name, parameters=parameters, output='screen'),
        SetLaunchConfiguration('image_topic', values['image_topic'] or topic),
        SetLaunchConfiguration('frame', values['frame'] or frame),
    ]


def _parameters(driver: str, context: LaunchContext) -> dict[str, object]:
    """Return the parameters of the driver; each driver has other names for them."""
    values = context.launch_configurations
    width, height, fps = (number(context, name, 1) for name in ('width', 'height', 'fps'))
    if driver == 'realsense':
        return {'enable_color': True, 'enable_depth': False, 'enable_infra1': False,
                'enable_infra2': False, 'rgb_camera.color_profile': f'{width}x{height}x{fps}'}
    common = {'video_device': values['video_device'], 'camera_info_url': values['camera_info_url']}
    if driver == 'usb_cam':
        return {**common, 'frame_id': OWN_FRAME, 'image_width': width, 'image_height': height,
                'framerate': float(fps)}
    return {**common, 'camera_frame_id': OWN_FRAME, 'image_size': [width, height],
            'time_per_frame': [1, fps]}
