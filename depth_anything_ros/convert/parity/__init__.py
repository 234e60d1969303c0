"""Comparing a model with its source, and a device with the CPU."""
