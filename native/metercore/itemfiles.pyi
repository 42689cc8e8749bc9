"""The segments of an item log and what their heads say, in C: `metercore.itemread` is what Python has of them."""
