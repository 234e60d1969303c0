"""INT8 that keeps its depth: quantize, measure, leave what hurts in floating point."""
