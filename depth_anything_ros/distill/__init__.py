"""Distillation: a large Depth Anything labels images, a small network learns from the labels."""

from depth_anything_ros.cli.program import Program

PROGRAM = Program('depth_anything_distill', "pip install 'depth_anything_ros[distill]'",
                  'run the same command again to continue')
