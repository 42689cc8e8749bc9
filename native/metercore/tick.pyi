"""One tick over all slots, and the thread that ticks."""
