"""Events of the item log as protobuf bytes, in C: `metercore.itembatch` is what Python has of them."""
