"""Who a pid is that a driver reports, when driver and reader do not live in the same pid namespace."""
