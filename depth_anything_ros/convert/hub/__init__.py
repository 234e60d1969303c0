"""Published checkpoints: their names, their licences and their download."""
