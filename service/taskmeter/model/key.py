"""Keys: who may call, what for, for how long, and how much."""

from __future__ import annotations

import math
from enum import StrEnum

from msgspec import Struct


class Scope(StrEnum):
    """What a key may do."""

    SUBMIT = "submit"
    READ = "read"
    CONTROL = "control"
    FILES = "files"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)


class Quotas(Struct, frozen=True, gc=False):
    """How much a key may have at once; None = the key sets no limit."""

    running_count: int | None = None
    """Tasks of its tenant that have not ended, counted when it asks for one more."""
    queued_count: int | None = None
    """Tasks of its tenant that wait for their start, counted likewise."""
    stream_count: int | None = None
    """Streams of its own."""
    disk_bytes: int | None = None
    """What the tenant's tasks take on disk, measured likewise."""


NO_QUOTAS = Quotas()


class Rate(Struct, frozen=True, gc=False):
    """How often a key may call."""

    calls_per_second: float
    """On average; above 0."""
    burst_count: int = 0
    """Calls at once after a pause; 0 = those of one second, at least one."""

    @property
    def burst(self) -> int:
        return self.burst_count or max(1, math.ceil(self.calls_per_second))


class Key(Struct, frozen=True, gc=False):
    """A key without its secret, of which only the SHA-256 is known."""

    key_id: str
    tenant: str
    scopes: frozenset[Scope]
    digest: bytes
    """SHA-256 of the whole key as it is sent. The secret has 256 random bits, so that no slow hash is needed."""
    name: str = ""
    create_time: float = 0.0
    expire_time: float = 0.0
    """Unix seconds; 0 = never."""
    revoke_time: float = 0.0
    """Unix seconds; 0 = it was not."""
    quotas: Quotas = NO_QUOTAS
    rate: Rate | None = None
    """None = the daemon's own default."""

    def ended(self, now: float) -> bool:
        """Whether it opens nothing any more at `now`, in Unix seconds."""
        return bool(self.revoke_time) or bool(self.expire_time and self.expire_time <= now)
