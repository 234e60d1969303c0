"""Depth Anything as one PyTorch module."""
