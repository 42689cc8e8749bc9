"""The segments of one writer of the item log, in C: `metercore.itemlog` is what Python has of them."""
