"""Keys as objects, in the form of the status view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from taskmeter.client.status import View
from taskmeter.v1 import admin_service_pb2


class KeyQuotas(View):
    """How much a key may have at once; None = the key sets no limit."""

    __slots__ = ()
    _descriptor = admin_service_pb2.KeyQuotas.DESCRIPTOR

    running_count: int | None
    queued_count: int | None
    stream_count: int | None
    disk_bytes: int | None


class KeyRate(View):
    """How often a key may call."""

    __slots__ = ()
    _descriptor = admin_service_pb2.KeyRate.DESCRIPTOR

    calls_per_second: float
    burst_count: int


class Key(View):
    """A key without its secret."""

    __slots__ = ()
    _descriptor = admin_service_pb2.Key.DESCRIPTOR
    _wrap: ClassVar[Mapping[str, Any]] = {"quotas": KeyQuotas, "rate": KeyRate}

    key_id: str
    name: str
    tenant: str
    scopes: list[str]
    create_time: float
    expire_time: float
    revoke_time: float
    quotas: KeyQuotas | None
    rate: KeyRate | None

    def ended(self, now: float) -> bool:
        """Whether it opens nothing any more at `now`, in Unix seconds."""
        return bool(self.revoke_time) or bool(self.expire_time and self.expire_time <= now)


class NewKey(View):
    """A key that was just made. `secret` is nowhere else."""

    __slots__ = ()
    _descriptor = admin_service_pb2.CreateKeyResponse.DESCRIPTOR
    _wrap: ClassVar[Mapping[str, Any]] = {"key": Key}

    secret: str
    key: Key

    def __repr__(self) -> str:
        return f"NewKey(key_id={self.key.key_id!r})"  # a secret does not belong into a log
