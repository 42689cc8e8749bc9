"""Keys between model and messages."""

from __future__ import annotations

import re

from msgspec import Struct

from taskmeter.model.key import NO_QUOTAS, Key, Quotas, Rate, Scope
from taskmeter.rpc.convert.checks import Checks
from taskmeter.v1 import admin_service_pb2 as pb

MAX_SCOPES = 16
MAX_BURST = 1_000_000
MIN_CALLS_PER_SECOND = 0.001
MAX_CALLS_PER_SECOND = 1e6
"""Above that it is no bound: a daemon answers some ten thousand."""
_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class KeyRequest(Struct, frozen=True):
    """What of a CreateKeyRequest is not taken as it stands."""

    scopes: frozenset[Scope]
    quotas: Quotas
    rate: Rate | None


def key_request(request: pb.CreateKeyRequest) -> KeyRequest:
    """Check the request. Raises `InvalidArgumentError` naming every field that is wrong."""
    checks = Checks()
    checks.text("name", request.name)
    if request.tenant and not _TENANT.fullmatch(request.tenant):
        checks.add("tenant", "must be 1 to 64 of a-z, 0-9, '.', '-' and '_', beginning with a letter or digit")
    known = {scope.value for scope in Scope}
    names = ", ".join(scope.value for scope in Scope)
    if not request.scopes:
        checks.add("scopes", f"must name at least one of {names}")
    elif len(request.scopes) > MAX_SCOPES:
        checks.add("scopes", f"has {len(request.scopes)}; there are only {names}")
    else:
        for index, scope in enumerate(request.scopes):
            if scope not in known:
                checks.add(f"scopes[{index}]", f"must be one of {names}")
    checks.seconds("lifetime_seconds", request.lifetime_seconds)
    limits: dict[str, int] = {}
    for name in Quotas.__struct_fields__:
        if request.quotas.HasField(name):
            limits[name] = getattr(request.quotas, name)
            checks.count(f"quotas.{name}", limits[name])
    rate = None
    if request.HasField("rate"):
        checks.count("rate.burst_count", request.rate.burst_count, most=MAX_BURST)
        if MIN_CALLS_PER_SECOND <= request.rate.calls_per_second <= MAX_CALLS_PER_SECOND:
            rate = Rate(request.rate.calls_per_second, request.rate.burst_count)
        else:
            checks.add("rate.calls_per_second", f"must be from {MIN_CALLS_PER_SECOND:g} to {MAX_CALLS_PER_SECOND:g}")
    checks.done()
    return KeyRequest(frozenset(Scope(scope) for scope in request.scopes), Quotas(**limits), rate)


def key_to_message(key: Key) -> pb.Key:
    """Return the key as it is shown: without its digest too."""
    message = pb.Key(
        key_id=key.key_id,
        name=key.name,
        tenant=key.tenant,
        scopes=[scope.value for scope in Scope if scope in key.scopes],
        create_time=key.create_time,
        expire_time=key.expire_time,
        revoke_time=key.revoke_time,
    )
    if key.quotas != NO_QUOTAS:
        limits = {name: getattr(key.quotas, name) for name in Quotas.__struct_fields__}
        message.quotas.CopyFrom(pb.KeyQuotas(**{name: value for name, value in limits.items() if value is not None}))
    if key.rate is not None:
        message.rate.calls_per_second, message.rate.burst_count = key.rate.calls_per_second, key.rate.burst
    return message
