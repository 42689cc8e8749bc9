"""The key with which one attempt reports about itself: it says whose it is, and an HMAC proves it, so nothing is stored.

`tr_<token without its prefix>_<attempt>_<HMAC-SHA256 of both, base64url>`. It opens ReportProgress for that attempt and nothing
else, and is worth nothing once the attempt has ended.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from taskmeter.model.ids import TOKEN_PREFIX, is_token

PREFIX = "tr"
MOST_DIGITS = 9
"""Of an attempt; there are never a billion."""


def report_key(secret: bytes, token: str, attempt: int) -> str:
    """Return the key of an attempt."""
    return f"{PREFIX}_{token.removeprefix(TOKEN_PREFIX)}_{attempt}_{_proof(secret, token, attempt)}"


def read_report_key(secret: bytes, key: str) -> tuple[str, int] | None:
    """Return (token, attempt) of a key that `report_key` made; None if it did not. Compares in constant time."""
    parts = key.split("_", 3)
    if len(parts) != 4 or parts[0] != PREFIX or not secret:
        return None
    token, digits = TOKEN_PREFIX + parts[1], parts[2]
    if not is_token(token) or not (digits.isascii() and digits.isdigit()) or len(digits) > MOST_DIGITS:
        return None
    attempt = int(digits)
    # The whole of it is compared: "00" is no other way to write an attempt.
    made = report_key(secret, token, attempt)
    return (token, attempt) if hmac.compare_digest(made.encode(), key.encode("utf-8", "surrogateescape")) else None


def _proof(secret: bytes, token: str, attempt: int) -> str:
    digest = hmac.new(secret, f"{token}.{attempt}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
