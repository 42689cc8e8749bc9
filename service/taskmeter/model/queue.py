"""A named group of tasks with bounds of its own."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

DEFAULT_QUEUE = "default"
"""Every tenant has it; it has no bounds until it is given some."""


class Queue(Struct, frozen=True, gc=False):
    """One queue as it was put; its name is the tenant's own."""

    tenant: str
    name: str
    max_running: int = 0
    """Tasks of it that run at once; 0 = no bound but the daemon's."""
    max_waiting: int = 0
    """Tasks that may wait in it; 0 = no bound but the daemon's."""
    paused: bool = False
    """Nothing of it starts; what runs goes on."""
    create_time: float = 0.0
    """Unix seconds; 0 = it was never put."""

    @property
    def key(self) -> tuple[str, str]:
        return self.tenant, self.name

    def with_pause(self, paused: bool) -> Queue:
        return replace(self, paused=paused)
