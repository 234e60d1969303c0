"""Published checkpoints: where they lie, under which licence, and how they get here."""
