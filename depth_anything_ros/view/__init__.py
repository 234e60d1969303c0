"""The executable ``depth_anything_view``: the live node in a browser."""
