"""CPU totals of one attempt's tree, and how many cores it may use."""
