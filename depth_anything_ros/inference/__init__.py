"""OpenVINO: from an image to a depth map, asynchronously."""
