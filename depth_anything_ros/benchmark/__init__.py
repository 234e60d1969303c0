"""How fast this package is, and what else there is: the modes of ``depth_anything_benchmark``."""
