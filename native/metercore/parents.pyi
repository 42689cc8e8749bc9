"""The cgroups around those of tasks: while the total of one stands still, so does that of each task in it; native code only."""
