"""Command-line programs that put the rooms below together."""
