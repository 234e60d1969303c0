"""The engine compared with other software that runs the same network."""
