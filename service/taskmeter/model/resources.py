"""What a task needs, and what it may use at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resources:
    """Amounts that the scheduler sets aside; with `enforce` the task is held to them. 0 = unknown, no bound."""

    cpu_cores: float = 0.0
    memory_bytes: int = 0
    gpus: int = 0
    gpu_memory_bytes: int = 0
    max_processes: int = 0
    """Processes and threads."""
    enforce: bool = False
