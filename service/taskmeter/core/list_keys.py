"""List keys."""

from __future__ import annotations

import time

from taskmeter.core.keyring import Keyring
from taskmeter.model.key import Key


def list_keys(keyring: Keyring, *, only_tenant: str | None, include_ended: bool) -> list[Key]:
    """Return the keys of a tenant, or of all (None), oldest first."""
    now = time.time()
    found = [key for key in keyring.keys.values() if only_tenant in {None, key.tenant}]
    return [key for key in found if include_ended or not key.ended(now)]
