"""What maintainers run: measurements, peers, generated pages. Never installed."""
