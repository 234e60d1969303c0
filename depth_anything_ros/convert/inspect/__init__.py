"""What a model file is, without running it."""
