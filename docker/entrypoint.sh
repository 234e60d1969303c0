#!/bin/bash
# Set up the environment of ROS and of this package, then become the command.
set -e
# shellcheck source=/dev/null
. "/opt/ros/${ROS_DISTRO}/setup.bash"
# shellcheck source=/dev/null
. /opt/depth_anything_ros/local_setup.bash
exec "$@"
