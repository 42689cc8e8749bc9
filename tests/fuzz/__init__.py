"""Fuzzing of everything native that reads what somebody else wrote: `make fuzz`."""
