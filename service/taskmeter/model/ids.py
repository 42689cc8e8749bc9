"""Tokens and incarnations: the unguessable names of tasks and of their attempts' launches."""

from __future__ import annotations

import hashlib
import os
import re

TOKEN_PREFIX = "tk_"
TOKEN_RANDOM_LENGTH = 22
"""62**22 = 2**131 possibilities."""

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TOKEN = re.compile(rf"{TOKEN_PREFIX}[0-9A-Za-z]{{{TOKEN_RANDOM_LENGTH}}}")


def new_token() -> str:
    """Return a fresh task token from the kernel's random source."""
    # 256 random bits for 131 bits of token: what the modulo favours is beyond 2**-120.
    return _token_of(os.urandom(32))


def copy_token(token: str, attempt: int) -> str:
    """Return the token of the one copy that is made of an attempt when it is retried by filter: always the same."""
    return _token_of(hashlib.sha256(f"copy of {token}/{attempt}".encode()).digest())


def _token_of(random_bytes: bytes) -> str:
    number = int.from_bytes(random_bytes, "little")
    letters = []
    for _ in range(TOKEN_RANDOM_LENGTH):
        number, digit = divmod(number, 62)
        letters.append(_ALPHABET[digit])
    return TOKEN_PREFIX + "".join(letters)


def is_token(text: str) -> bool:
    """Tell whether `text` has the form of a token; says nothing about whether such a task exists."""
    return _TOKEN.fullmatch(text) is not None


def new_incarnation() -> int:
    """Return a random non-zero 63-bit number that names one launch; records that echo another one are stale."""
    return int.from_bytes(os.urandom(8), "little") >> 1 | 1
