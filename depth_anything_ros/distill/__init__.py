"""Distillation: a large Depth Anything teaches a small one on images without ground truth."""

from depth_anything_ros.cli.program import Program

PROGRAM = Program('depth_anything_distill', "pip install 'depth_anything_ros[distill]'",
                  'run the same command again to go on')
