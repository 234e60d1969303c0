"""The engine beside what else runs the same network."""
