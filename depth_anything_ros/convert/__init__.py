"""``depth_anything_convert``: from a checkpoint to a proven OpenVINO IR, offline."""

from depth_anything_ros.cli.program import Program

PROGRAM = Program('depth_anything_convert', "pip install 'depth_anything_ros[convert]'",
                  'nothing half-written has the name of an output')
