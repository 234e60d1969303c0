"""What measure_nano measures."""
