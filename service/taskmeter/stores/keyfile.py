"""keys.json and admin.key: the keys of a daemon, in files of their own beside the database."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taskmeter.errors import LimitError, UnavailableError
from taskmeter.model.key import Key, Quotas, Rate, Scope

KEYS_NAME = "keys.json"
ADMIN_NAME = "admin.key"
VERSION = 1


class KeyFile:
    """Reads and replaces the files; implements `core.keyring.KeyStore`."""

    def __init__(self, state_dir: Path) -> None:
        self._keys_path = state_dir / KEYS_NAME
        self._admin_path = state_dir / ADMIN_NAME

    def load(self) -> tuple[str, Sequence[Key]]:
        return self.admin_key(), self._read()

    def admin_key(self) -> str:
        """Return the admin key; the first start writes a new one of 256 random bits, readable by its owner only."""
        try:
            key = self._admin_path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            key = f"tm_admin_{secrets.token_urlsafe(32)}"
            replace_durably(self._admin_path, (key + "\n").encode())
        except (OSError, ValueError) as error:
            raise UnavailableError(f"cannot read {self._admin_path}: {_why(error)}") from error
        if not key.startswith("tm_admin_"):
            hint = "remove it, and the daemon makes a new one; or write tm_admin_ and 43 random characters into it"
            raise UnavailableError(f"{self._admin_path} does not hold an admin key", hint=hint)
        return key

    def save(self, keys: Sequence[Key]) -> None:
        document = {"version": VERSION, "keys": [_to_json(key) for key in keys]}
        try:
            replace_durably(self._keys_path, (json.dumps(document, indent=1) + "\n").encode())
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise LimitError("the disk of the daemon is full", reason="DISK_FULL") from error
            raise UnavailableError(f"keys cannot be written: {_why(error)}", reason="STORE_UNAVAILABLE") from error

    def _read(self) -> list[Key]:
        try:
            document = json.loads(self._keys_path.read_bytes())
            if document["version"] != VERSION:
                raise ValueError(f"version {document['version']!r} is not known to this program")
            return [_from_json(entry) for entry in document["keys"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            hint = "mend it, or move it away: without it only the admin key opens the daemon"
            raise UnavailableError(f"{self._keys_path} cannot be used: {_why(error)}", hint=hint) from error


def replace_durably(path: Path, data: bytes) -> None:
    """Put `data` in place of the file, readable by its owner only; after a crash there is the old one or the new one, whole."""
    staged = path.with_name(path.name + ".new")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(staged, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _to_json(key: Key) -> dict[str, Any]:
    limits = {name: getattr(key.quotas, name) for name in Quotas.__struct_fields__}
    return {
        "key_id": key.key_id,
        "name": key.name,
        "tenant": key.tenant,
        "scopes": [scope.value for scope in Scope if scope in key.scopes],
        "sha256": key.digest.hex(),
        "create_time": key.create_time,
        "expire_time": key.expire_time,
        "revoke_time": key.revoke_time,
        **({"rate": {"calls_per_second": key.rate.calls_per_second, "burst_count": key.rate.burst_count}} if key.rate else {}),
        "quotas": {name: value for name, value in limits.items() if value is not None},
    }


def _from_json(entry: Mapping[str, Any]) -> Key:
    digest = bytes.fromhex(entry["sha256"])
    if len(digest) != 32:
        raise ValueError(f"the sha256 of key {entry['key_id']!r} is not one")
    return Key(
        key_id=str(entry["key_id"]),
        tenant=str(entry["tenant"]),
        scopes=frozenset(Scope(scope) for scope in entry["scopes"]),
        digest=digest,
        name=str(entry.get("name", "")),
        create_time=float(entry.get("create_time", 0.0)),
        expire_time=float(entry.get("expire_time", 0.0)),
        revoke_time=float(entry.get("revoke_time", 0.0)),
        quotas=Quotas(**{name: int(value) for name, value in entry.get("quotas", {}).items()}),
        rate=_rate(entry.get("rate")),
    )


def _rate(entry: Mapping[str, Any] | None) -> Rate | None:
    if entry is None:
        return None
    rate = Rate(float(entry["calls_per_second"]), int(entry.get("burst_count", 0)))
    if not (0.0 < rate.calls_per_second < float("inf") and rate.burst_count >= 0):
        raise ValueError("a rate is not more than 0")
    return rate


def _why(error: BaseException) -> str:
    if isinstance(error, OSError):
        return os.strerror(error.errno or 0)
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
