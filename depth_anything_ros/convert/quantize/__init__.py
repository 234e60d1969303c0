"""INT8 with little loss: quantize, measure, leave sensitive layers without fixed ranges."""
