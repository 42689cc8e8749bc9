"""Records in bytes that somebody else wrote, in C: `metercore.itemread` is what Python has of it."""
