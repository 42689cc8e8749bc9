"""What is noted of a call: who, what, which task, and how it was decided. Never a secret, a spec or a reason in words."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class Decision(Struct, frozen=True):
    """One call as it is noted."""

    key_id: str
    """Whose key; empty = no valid one."""
    tenant: str
    method: str
    """Full name: "/taskmeter.v1.TaskService/StartTask"."""
    tokens: tuple[str, ...]
    """The tasks it named, or the one it made."""
    code: str
    """Name of the gRPC status code it was answered with; "OPEN" when a stream began."""
    reason: str = ""
    """Of the error; empty = none."""
    peer: str = ""
    """Where the call came from, as gRPC writes it."""


class AuditLog(Protocol):
    """Takes notes; never raises and never waits."""

    def note(self, decision: Decision) -> None:
        """Append one decision."""
