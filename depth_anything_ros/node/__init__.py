"""The lifecycle node."""
