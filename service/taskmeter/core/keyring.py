"""All keys in memory; what changes is on disk before anybody hears of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from hmac import compare_digest
from typing import Protocol

from msgspec.structs import replace

from taskmeter.errors import AuthenticationError, LimitError, NotFoundError
from taskmeter.model.key import ALL_SCOPES, Key
from taskmeter.model.task import DEFAULT_TENANT

ADMIN_KEY_ID = "admin"
MAX_KEYS = 2000
"""All of them fit into one answer of ListKeys."""
PREFIX = "tm"


class KeyStore(Protocol):
    """Where keys are kept: not in the database, which can be rebuilt without them."""

    def load(self) -> tuple[str, Sequence[Key]]:
        """Read the admin key and all others. Raises `UnavailableError` saying what is wrong with them."""

    def save(self, keys: Sequence[Key]) -> None:
        """Replace all keys but the admin key in one step, durably. Raises `LimitError` DISK_FULL, `UnavailableError`."""


class Keyring:
    """The keys that open this daemon."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._keys: dict[str, Key] = {}
        self._by_id: dict[str, Key] = {}
        self._changing = asyncio.Lock()
        self.generation = 0
        """Grows with every change."""
        self.on_change: Callable[[], None] = lambda: None
        """Called after any change, so that open calls of keys that are gone can be ended."""
        self.reload()

    @property
    def keys(self) -> Mapping[str, Key]:
        """All keys but the admin key by id, oldest first."""
        return self._keys

    def reload(self) -> None:
        """Read all keys again. Raises `UnavailableError`, and then nothing has changed."""
        secret, keys = self._store.load()
        admin = Key(ADMIN_KEY_ID, DEFAULT_TENANT, ALL_SCOPES, hashlib.sha256(secret.encode()).digest())
        self._admin = admin
        self._take({key.key_id: key for key in keys})

    def verify(self, secret: str, now: float) -> Key:
        """Return the key that `secret` is. Raises `AuthenticationError` KEY_INVALID if it is unknown, expired or revoked."""
        digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
        key_id = secret.split("_", 2)[1] if secret.count("_") >= 2 else ""
        key = self._by_id.get(key_id)
        if not compare_digest(digest, (key or self._admin).digest) or key is None:
            raise AuthenticationError("the key is not one of this daemon")
        self.check_alive(key, now)
        return key

    def check_alive(self, key: Key, now: float) -> None:
        """Raise `AuthenticationError` KEY_INVALID if this key has expired, was revoked or replaced since it was verified."""
        current = self._by_id.get(key.key_id)
        if current is None or not compare_digest(current.digest, key.digest):
            raise AuthenticationError("the key is no longer one of this daemon")
        if current.revoke_time:
            raise AuthenticationError("the key was revoked", hint="ask whoever runs the daemon for another one")
        if current.ended(now):
            raise AuthenticationError("the key has expired", hint="ask whoever runs the daemon for another one")

    def alive(self, key_id: str, now: float) -> Key:
        """Return the key with this id. Raises `AuthenticationError` KEY_INVALID if it has ended."""
        key = self._by_id.get(key_id)
        if key is None:
            raise AuthenticationError("the key is no longer one of this daemon")
        self.check_alive(key, now)
        return key

    async def add(self, key: Key, now: float) -> None:
        """Keep a new key. When there is no room, the oldest that has ended is forgotten; raises `LimitError` if none has."""
        async with self._changing:
            keys = dict(self._keys)
            while len(keys) >= MAX_KEYS:
                ended = next((each.key_id for each in keys.values() if each.ended(now)), None)
                if ended is None:
                    raise LimitError(f"there are {MAX_KEYS} keys already", hint="revoke some that are not needed")
                del keys[ended]
            keys[key.key_id] = key
            await self._save(keys)

    async def revoke(self, key_id: str, now: float) -> Key:
        """End a key; one that was revoked before stays as it is. Raises `NotFoundError` KEY_NOT_FOUND."""
        async with self._changing:
            key = self._keys.get(key_id)
            if key is None:
                raise NotFoundError("there is no key with this id", reason="KEY_NOT_FOUND", hint="`taskmeter key ls` lists them")
            if key.revoke_time:
                return key
            revoked = replace(key, revoke_time=now)
            await self._save({**self._keys, key_id: revoked})
            return revoked

    async def _save(self, keys: dict[str, Key]) -> None:
        await asyncio.to_thread(self._store.save, list(keys.values()))
        self._take(keys)

    def _take(self, keys: dict[str, Key]) -> None:
        self.generation += 1
        self._keys = keys
        self._by_id = {**keys, ADMIN_KEY_ID: self._admin}
        self.on_change()
