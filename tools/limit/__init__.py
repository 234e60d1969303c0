"""The speed of the network compared with the peak of the processor."""
