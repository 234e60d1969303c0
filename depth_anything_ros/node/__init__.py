"""The program depth_anything_node: the lifecycle node and what belongs to one camera of it."""
