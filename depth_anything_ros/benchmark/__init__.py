"""The speed of this package on this machine: the modes of ``depth_anything_benchmark``."""
