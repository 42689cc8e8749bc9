"""Who calls: the key in the call's metadata; remembered until any key changes, so that a key ends at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from taskmeter.core.keyring import ADMIN_KEY_ID, Keyring
from taskmeter.core.rates import Bucket, Rates
from taskmeter.errors import AuthenticationError, PermissionDeniedError
from taskmeter.model.key import Key, Quotas, Scope
from taskmeter.model.task import DEFAULT_TENANT
from taskmeter.rpc.scopes import METHOD_SCOPES

HEADER = "authorization"
_SCHEME = "Bearer "


class Caller:
    """The owner of a verified key."""

    __slots__ = ("buckets", "key", "key_id", "tenant")

    def __init__(self, key: Key, buckets: tuple[Bucket, Bucket] | None = None) -> None:
        self.key = key
        self.buckets = buckets
        """What its calls are counted in, see `core.rates`; None = they are not."""
        self.key_id = key.key_id
        self.tenant = key.tenant

    @property
    def quotas(self) -> Quotas:
        return self.key.quotas

    @property
    def is_operator(self) -> bool:
        """Whether the daemon itself, and every tenant's keys, are this caller's to manage."""
        return self.tenant == DEFAULT_TENANT and Scope.ADMIN in self.key.scopes


class Authenticator:
    """Checks keys and scopes."""

    def __init__(self, keyring: Keyring, rates: Rates | None = None) -> None:
        self._keyring = keyring
        self._rates = rates or Rates()
        self._verified: dict[object, Caller] = {}
        """By the whole header, keys that are good only; a digest at every call would cost as much as the rest of it."""
        self._generation = keyring.generation

    def holder(self, metadata: Sequence[tuple[str, Any]] | None) -> Caller:
        """Return whose key the call carries. Raises `AuthenticationError` KEY_MISSING or KEY_INVALID."""
        value: object = ""
        for name, content in metadata or ():
            if name == HEADER:
                value = content
                break
        if self._generation != self._keyring.generation:
            self._verified.clear()
            self._rates.forget_all_but(frozenset(self._keyring.keys))
            self._generation = self._keyring.generation
        known = self._verified.get(value)
        if known is None:
            known = self._verified[value] = self._verify(value)
        elif known.key.expire_time:
            self._keyring.check_alive(known.key, time.time())
        return known

    def permit(self, method: str, caller: Caller) -> None:
        """Raise `PermissionDeniedError` SCOPE_MISSING unless the caller may call `method`."""
        scope = METHOD_SCOPES.get(method)
        if scope is None or scope not in caller.key.scopes:
            raise PermissionDeniedError(f"this key may not call {method}", metadata={"scope": scope or "", "method": method})

    def _verify(self, value: object) -> Caller:
        if not isinstance(value, str) or not value:
            raise AuthenticationError("the call carries no key", reason="KEY_MISSING")
        if not value.startswith(_SCHEME):
            raise AuthenticationError("authorization must be 'Bearer KEY'")
        key = self._keyring.verify(value[len(_SCHEME) :], time.time())
        return Caller(key, self._rates.of(key, is_admin_key=key.key_id == ADMIN_KEY_ID))
