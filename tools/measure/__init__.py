"""Measurements for the figures in README and docs."""
