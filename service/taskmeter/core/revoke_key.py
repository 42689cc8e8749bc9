"""End a key for ever."""

from __future__ import annotations

import time

from taskmeter.core.keyring import Keyring
from taskmeter.errors import NotFoundError
from taskmeter.model.key import Key


async def revoke_key(keyring: Keyring, key_id: str, *, only_tenant: str | None) -> Key:
    """Return the key as it is now. Raises `NotFoundError` for an unknown one and one outside of `only_tenant` alike."""
    key = keyring.keys.get(key_id)
    if key is None or only_tenant not in {None, key.tenant}:
        raise NotFoundError("there is no key with this id", reason="KEY_NOT_FOUND", hint="`taskmeter key ls` lists them")
    return await keyring.revoke(key_id, time.time())
