"""Parity: files against their source, and a device against the CPU."""
