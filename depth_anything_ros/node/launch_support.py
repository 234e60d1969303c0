"""Whether the ROS packages that a launch file starts are installed."""

from collections.abc import Sequence
import os

from ament_index_python.resources import has_resource
from depth_anything_ros.errors import MissingDependencyError


def require_packages(purpose: str, names: Sequence[str]) -> None:
    """
    Raise MissingDependencyError unless all of ``names`` are in the ament index.

    The error names the first package that is missing and the apt line that installs all of them.
    """
    missing = [name for name in names if not has_resource('packages', name)]
    if missing:
        distro = os.environ.get('ROS_DISTRO', '$ROS_DISTRO')
        debs = ' '.join(f'ros-{distro}-{name.replace("_", "-")}' for name in missing)
        raise MissingDependencyError(missing[0], purpose, f'sudo apt install {debs}')
