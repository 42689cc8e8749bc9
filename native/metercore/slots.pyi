"""The slot table: one slot per attempt that is metered, at an address that never changes while the table lives."""
