"""The networks of Depth Anything in PyTorch, and the table of the models."""
