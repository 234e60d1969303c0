"""INT8 with little loss: quantize, measure, keep the sensitive layers in floating point."""
