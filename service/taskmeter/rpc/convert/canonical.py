"""JSON in the canonical form of RFC 8785: equal values have equal texts, so that a text can name an item."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

MOST_EXACT = 2**53
"""Larger integers are numbers like any other in JSON: doubles."""


def canonical_json(text: str) -> str:
    """Return the canonical form of a JSON text. Raises `ValueError` for what is none, or is nested too deeply."""
    try:
        value = json.loads(text, parse_constant=_refuse, object_pairs_hook=_object)
        canonical = _encode(value)
        canonical.encode()
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    return canonical


def is_own_type(canonical: str) -> bool:
    """Tell whether a canonical value has a type of its own on the wire: a string, or an integer of 64 bits."""
    if canonical.startswith('"'):
        return True
    return canonical.lstrip("-").isdigit() and -(2**63) <= int(canonical) < 2**63


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("has a name twice")
    return found


def _encode(value: Any) -> str:
    if value is None or isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, list):
        return f"[{','.join(map(_encode, value))}]"
    # Names are ordered by their UTF-16 code units (section 3.2.3).
    names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
    return "{" + ",".join(f"{_encode(name)}:{_encode(value[name])}" for name in names) + "}"


def _number(value: float) -> str:
    """Write a number as ECMAScript's Number::toString does (ECMA-262, 6.1.6.1.20)."""
    if isinstance(value, int) and abs(value) <= MOST_EXACT:
        return str(value)
    try:
        number = float(value)
    except OverflowError as error:
        raise ValueError("has a number out of range") from error
    if not math.isfinite(number):
        raise ValueError("has a number out of range")
    if number == 0:
        return "0"
    sign = "-" if number < 0 else ""
    mantissa, _, exponent = f"{abs(number)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or "0") - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if len(digits) <= point <= 21:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'+' if point > 0 else '-'}{abs(point - 1)}"
