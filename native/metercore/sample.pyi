"""One sample of one slot: CPU each tick, the rest when CPU moved, integrals always."""
