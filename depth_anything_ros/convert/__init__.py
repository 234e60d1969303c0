"""``depth_anything_convert``: from a checkpoint to a proven OpenVINO IR, offline."""

from depth_anything_ros.cli.program import Program
from depth_anything_ros.errors import INSTALL_CONVERT

PROGRAM = Program('depth_anything_convert', INSTALL_CONVERT,
                  'nothing half-written has the name of an output')
