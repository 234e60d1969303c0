"""How close the network comes to the limit of the processor."""
