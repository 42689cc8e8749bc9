"""What a task needs, and what a host has to give."""

from __future__ import annotations

from msgspec import Struct


class Resources(Struct, frozen=True, gc=False):
    """Amounts that the scheduler sets aside; with `enforce` the task is held to them. 0 = unknown, no bound."""

    cpu_cores: float = 0.0
    memory_bytes: int = 0
    gpus: int = 0
    gpu_memory_bytes: int = 0
    """Each of the GPUs has at least so much."""
    max_processes: int = 0
    enforce: bool = False


class Gpu(Struct, frozen=True, gc=False):
    """One GPU that tasks may be given."""

    name: str
    """What CUDA_VISIBLE_DEVICES calls it: the driver's uuid, or its index where the driver does not tell."""
    memory_bytes: int | None = None
    """None = the driver does not tell."""


class Capacity(Struct, frozen=True, gc=False):
    """What the host has in all, used or not."""

    cpu_cores: float
    memory_bytes: int
    gpus: tuple[Gpu, ...] = ()
    """By index; empty also while the driver does not answer."""
