"""The parts of ``depth_anything_run``: from what a user names to files, as fast as the engine."""
