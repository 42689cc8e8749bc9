"""JSON that came over the wire, in the canonical form of RFC 8785: equal values have equal texts, and name the same item."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from taskmeter.model.canonical import canonical


def canonical_json(text: str) -> str:
    """Return the canonical form of a JSON text. Raises `ValueError` for what is none, or is nested too deeply."""
    try:
        value = json.loads(text, parse_constant=_refuse, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    return canonical(value)


def is_own_type(text: str) -> bool:
    """Tell whether a canonical value has a type of its own on the wire: a string, or an integer of 64 bits."""
    if text.startswith('"'):
        return True
    return text.lstrip("-").isdigit() and -(2**63) <= int(text) < 2**63


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("has a name twice")
    return found
