"""Who calls: the key in the call's metadata, checked once and remembered."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hmac import compare_digest
from pathlib import Path
from typing import Any

from taskmeter.errors import AuthenticationError, PermissionDeniedError
from taskmeter.model.task import DEFAULT_TENANT
from taskmeter.rpc.scopes import ALL_SCOPES, METHOD_SCOPES, Scope

HEADER = "authorization"
_SCHEME = "Bearer "


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of a verified key."""

    key_id: str
    tenant: str
    scopes: frozenset[Scope]


def ensure_admin_key(path: Path) -> str:
    """Return the admin key in `path`; the first start writes a new one of 256 random bits, readable by its owner only."""
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        key = f"tm_admin_{secrets.token_urlsafe(32)}"
        staged = path.with_suffix(".new")
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(key + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.rename(staged, path)
        return key


class Authenticator:
    """Checks keys. One admin key today; more keys, with tenants and fewer scopes, join in `_verify`."""

    def __init__(self, admin_key: str) -> None:
        self._admin_digest = hashlib.sha256(admin_key.encode()).digest()
        self._verified: dict[str, Caller] = {}

    def holder(self, metadata: Sequence[tuple[str, Any]] | None) -> Caller:
        """Return whose key the call carries. Raises `AuthenticationError` KEY_MISSING or KEY_INVALID."""
        value = ""
        for name, content in metadata or ():
            if name == HEADER:
                value = content
                break
        return self._verified.get(value) or self._verify(value)

    def caller(self, method: str, metadata: Sequence[tuple[str, Any]] | None) -> Caller:
        """Return who calls `method`. Raises as `holder`, and `PermissionDeniedError` SCOPE_MISSING."""
        caller = self.holder(metadata)
        scope = METHOD_SCOPES.get(method)
        if scope is None or scope not in caller.scopes:
            raise PermissionDeniedError(f"this key may not call {method}", metadata={"scope": scope or "", "method": method})
        return caller

    def _verify(self, value: object) -> Caller:
        if not isinstance(value, str) or not value:
            raise AuthenticationError("the call carries no key", reason="KEY_MISSING")
        if not value.startswith(_SCHEME):
            raise AuthenticationError("authorization must be 'Bearer KEY'")
        digest = hashlib.sha256(value[len(_SCHEME) :].encode()).digest()
        if not compare_digest(digest, self._admin_digest):
            raise AuthenticationError("the key is not one of this daemon")
        caller = self._verified[value] = Caller("admin", DEFAULT_TENANT, ALL_SCOPES)
        return caller
