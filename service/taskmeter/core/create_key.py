"""Make a key."""

from __future__ import annotations

import hashlib
import secrets
import time

from taskmeter.core.keyring import PREFIX, Keyring
from taskmeter.model.key import NO_QUOTAS, Key, Quotas, Rate, Scope

ID_BYTES = 6
SECRET_BYTES = 32


async def create_key(
    keyring: Keyring,
    tenant: str,
    scopes: frozenset[Scope],
    *,
    name: str = "",
    lifetime_seconds: float = 0.0,
    quotas: Quotas = NO_QUOTAS,
    rate: Rate | None = None,
) -> tuple[str, Key]:
    """Return the secret, which exists here and in the answer only, and the key; it is durable. Raises as `Keyring.add`."""
    now = time.time()
    key_id = secrets.token_hex(ID_BYTES)
    secret = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
    key = Key(
        key_id=key_id,
        tenant=tenant,
        scopes=scopes,
        digest=hashlib.sha256(secret.encode()).digest(),
        name=name,
        create_time=now,
        expire_time=now + lifetime_seconds if lifetime_seconds else 0.0,
        quotas=quotas,
        rate=rate,
    )
    await keyring.add(key, now)
    return secret, key
