"""What the processes of one slot use of all GPUs together, integrated over time."""
