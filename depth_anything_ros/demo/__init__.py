"""The demo: a player that stands for a camera, and the node, on one machine."""
