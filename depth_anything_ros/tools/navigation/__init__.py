"""How much alignment, stabilization and filters help, in numbers."""
