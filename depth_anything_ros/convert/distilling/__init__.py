"""Distillation: a large Depth Anything teaches a small one on images without ground truth."""
