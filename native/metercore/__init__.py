"""Metering of process trees in native code: a sampler thread, counters shared with the work, and exact numerics.

Knows nothing of tasks' states, stores or wires beyond the encoded status fields, and never imports `taskmeter`.
"""
