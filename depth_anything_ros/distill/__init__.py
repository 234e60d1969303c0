"""Distillation: a large Depth Anything labels images, a small network learns from the labels."""

from depth_anything_ros.cli.program import Program
from depth_anything_ros.errors import INSTALL_DISTILL

PROGRAM = Program('depth_anything_distill', INSTALL_DISTILL,
                  'run the same command again to continue')
