"""Make text from users and tasks safe to show: a terminal obeys control characters, and bidi marks reorder what is read."""

from __future__ import annotations

import re

_DANGEROUS = re.compile(
    "["
    "\x00-\x08\x0a-\x1f\x7f"  # C0 but the tab, and DEL
    "\x80-\x9f"  # C1: 0x9b begins a sequence like ESC [
    "\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"  # invisible, line-breaking and bidi characters
    "\ud800-\udfff"  # lone surrogates cannot be written
    "\U000e0000-\U000e007f"  # tag characters
    "]"
)


def escape(text: str) -> str:
    """Replace every character that acts instead of being shown by its hexadecimal code."""
    return _DANGEROUS.sub(_code, text)


def decode(data: bytes) -> str:
    """Decode output of a task; what is not UTF-8 becomes hexadecimal codes."""
    return data.decode("utf-8", "backslashreplace")


def shorten(text: str, width: int) -> str:
    """Cut text to so many characters, with an ellipsis."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def _code(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")
