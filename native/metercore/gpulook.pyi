"""One look at all GPUs: which processes use how much memory and time of each."""
