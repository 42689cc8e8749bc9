"""CPU and storage IO of a process that was attached, counted from then on; native code only."""
