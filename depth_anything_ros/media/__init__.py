"""Images, videos, bags and depth files: readers and writers without ROS and OpenVINO."""
