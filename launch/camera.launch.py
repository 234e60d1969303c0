"""
A camera and its depth: a driver, colour only, and depth_anything.launch.py on its topics.

Points and metric scale need a calibration: camera_calibration writes one, camera_info_url names
it; a RealSense brings its own. Every argument of depth_anything.launch.py can be given too.
"""

from ament_index_python.packages import get_package_share_path
from depth_anything_ros.node.launch_support import require_packages
from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction,
    SetLaunchConfiguration)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import Node

DEPTH = get_package_share_path('depth_anything_ros') / 'launch' / 'depth_anything.launch.py'
NEEDS = {'usb_cam': ['usb_cam'], 'v4l2_camera': ['v4l2_camera'],
         'realsense': ['realsense2_camera']}
EXECUTABLE = {'usb_cam': 'usb_cam_node_exe', 'v4l2_camera': 'v4l2_camera_node',
              'realsense': 'realsense2_camera_node'}
OWN_FRAME = 'camera_optical_frame'


def generate_launch_description() -> LaunchDescription:
    """Return the driver and the depth node."""
    def argument(name: str, default: str | None, description: str,
                 choices: list[str] | None = None) -> DeclareLaunchArgument:
        return DeclareLaunchArgument(name, default_value=default, description=description,
                                     choices=choices)

    return LaunchDescription([
        argument('driver', None, 'Driver of the camera.', list(NEEDS)),
        argument('video_device', '/dev/video0', 'Device of usb_cam and v4l2_camera.'),
        argument('width', '640', 'Width of the image (px).'),
        argument('height', '480', 'Height of the image (px).'),
        argument('fps', '30', 'Images per second.'),
        argument('camera_info_url', '', 'Calibration for usb_cam and v4l2_camera, such as '
                 'file:///home/me/camera.yaml. Empty: what the driver finds for the camera.'),
        argument('driver_params_file', '', 'YAML file with more parameters of the driver.'),
        OpaqueFunction(function=_driver),
        GroupAction([IncludeLaunchDescription(PythonLaunchDescriptionSource(str(DEPTH)))]),
    ])


def _driver(context: LaunchContext) -> list[Action]:
    """Return the driver and the topic and frame of its images, which the depth node is given."""
    given = context.launch_configurations
    driver = given['driver']
    require_packages(f'driver:={driver}', NEEDS[driver])
    parameters: list[object] = [_parameters(driver, given)]
    if given['driver_params_file']:
        parameters.append(given['driver_params_file'])
    name, topic, frame = (
        ('camera', '/camera/camera/color/image_raw', 'camera_color_optical_frame')
        if driver == 'realsense' else (driver, '/camera/image_raw', OWN_FRAME))
    return [
        Node(package=NEEDS[driver][0], executable=EXECUTABLE[driver], namespace='/camera',
             name=name, parameters=parameters, output='screen'),
        SetLaunchConfiguration('image_topic', topic), SetLaunchConfiguration('frame', frame),
    ]


def _parameters(driver: str, given: dict[str, str]) -> dict[str, object]:
    """Return the driver's parameters, under the names that this driver has for them."""
    width, height, fps = int(given['width']), int(given['height']), int(given['fps'])
    if driver == 'realsense':
        return {'enable_color': True, 'enable_depth': False, 'enable_infra1': False,
                'enable_infra2': False, 'rgb_camera.color_profile': f'{width}x{height}x{fps}'}
    common = {'video_device': given['video_device'], 'camera_info_url': given['camera_info_url']}
    if driver == 'usb_cam':
        return {**common, 'frame_id': OWN_FRAME, 'image_width': width, 'image_height': height,
                'framerate': float(fps)}
    return {**common, 'camera_frame_id': OWN_FRAME, 'image_size': [width, height],
            'time_per_frame': [1, fps]}
