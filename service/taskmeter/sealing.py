"""Encryption at rest: what a task was given in arguments, environment and input, sealed with Fernet keys from a file.

The file has one key per line, the newest first; blank lines and those that begin with # are skipped. The first key seals, every
key opens, so that a key is rotated by putting a new one on top, and dropped once nothing is sealed with it any more (see
`core.reseal`). The file belongs to the daemon's user alone.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from taskmeter.errors import InvalidArgumentError, PreconditionError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

NEW_KEY_HINT = "`openssl rand -base64 32 | tr '+/' '-_'` prints a new key"
MAX_KEYS = 64


class Sealer:
    """Implements `core.ports.Sealer` with the keys of one file."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415  # optional, and 10 MB that most daemons do not need

        self._newest: Fernet = Fernet(keys[0])
        self._all = MultiFernet([Fernet(key) for key in keys])
        self._hash_keys = [hashlib.sha256(b"taskmeter spec_hash\0" + key).digest() for key in keys]

    def seal(self, secret: bytes, token: str, tenant: str) -> bytes:
        """Encrypt for one task of one tenant; what was sealed for another is not opened."""
        return self._newest.encrypt(_owner(token, tenant) + secret)

    def open(self, sealed: bytes, token: str, tenant: str) -> bytes:
        """Decrypt. Raises `PreconditionError` UNSUPPORTED_HERE if no key opens it, or if it was sealed for another task."""
        from cryptography.fernet import InvalidToken  # noqa: PLC0415

        try:
            opened = self._all.decrypt(sealed)
        except InvalidToken:
            raise locked(token) from None
        owner = _owner(token, tenant)
        if not opened.startswith(owner):
            raise PreconditionError(f"what task {token} was given has been replaced by another task's", reason="UNSUPPORTED_HERE")
        return opened[len(owner) :]

    def is_current(self, sealed: bytes) -> bool:
        """Tell whether it was sealed with the newest key."""
        from cryptography.fernet import InvalidToken  # noqa: PLC0415

        try:
            self._newest.decrypt(sealed)
        except InvalidToken:
            return False
        return True

    def hashes(self, data: bytes) -> list[bytes]:
        """Return the keyed hash of `data` by every key, the newest first: a plain one would betray a guessed secret."""
        return [hmac.digest(key, data, "sha256") for key in self._hash_keys]


def locked(token: str) -> PreconditionError:
    """The error for a task whose key is not here."""
    return PreconditionError(
        f"what task {token} was given is encrypted, and no key of this daemon opens it",
        reason="UNSUPPORTED_HERE",
        hint="start the daemon with the encryption_key_file that has its key; the task stays as it is",
    )


def load_sealer(path: str) -> Sealer | None:
    """Read the key file; None if there is none. Raises `InvalidArgumentError` naming what is wrong, never a key."""
    if not path:
        return None
    keys = _read(Path(path))
    try:
        return Sealer(keys)
    except ImportError:
        problem = "encryption needs the package cryptography, which is not installed"
        raise _invalid(problem, "pip install 'taskmeter[encrypt]'") from None
    except ValueError:
        raise _invalid(f"{path} holds a line that is no key: 32 bytes in URL-safe base64", NEW_KEY_HINT) from None


def _read(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(64 * 1024)
    except OSError as error:
        raise _invalid(f"cannot read {path}: {error.strerror}", "") from None
    if stat.S_IMODE(status.st_mode) & 0o077 or status.st_uid not in {os.geteuid(), 0}:
        raise _invalid(f"{path} can be read or was made by others than this user", f"chmod 600 {path}")
    keys = [line.strip() for line in data.splitlines() if line.strip() and not line.startswith(b"#")]
    if not 0 < len(keys) <= MAX_KEYS:
        raise _invalid(f"{path} has {len(keys)} keys; it needs 1 to {MAX_KEYS}", NEW_KEY_HINT)
    return keys


def _owner(token: str, tenant: str) -> bytes:
    return f"{token}\0{tenant}\0".encode()


def _invalid(problem: str, hint: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"encryption_key_file: {problem}", fields=[("encryption_key_file", problem)], hint=hint)
