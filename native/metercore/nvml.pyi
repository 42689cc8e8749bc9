"""NVML loaded at run time, and its calls made safe: they return NVML's codes, and what comes back stays within its room."""
