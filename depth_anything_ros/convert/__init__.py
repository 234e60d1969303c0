"""Offline: from a PyTorch checkpoint to an OpenVINO IR that proves itself."""

from depth_anything_ros.cli.program import Program

PROGRAM = Program('depth_anything_convert', "pip install 'depth_anything_ros[convert]'",
                  'nothing half-written has the name of an output')
