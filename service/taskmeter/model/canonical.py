"""JSON in the canonical form of RFC 8785: equal values have equal texts, so that a value can name an item."""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers see it; `typing` takes longer to import than all the rest here
if TYPE_CHECKING:
    from collections.abc import Callable

MOST_EXACT = 2**53 - 1
"""Whole numbers beyond it are not exact in JSON (RFC 8785, section 3.2.2.3, and RFC 7493, section 2.2)."""


def canonical(value: object) -> str:
    """Return the canonical text of a JSON value: None, bool, str, int, float, and lists, tuples and dicts of these.

    Raises `TypeError` for anything else, `ValueError` for numbers that JSON cannot tell apart and for text that is no Unicode.
    """
    from json.encoder import encode_basestring  # noqa: PLC0415  # few ids need it, and the start of a task need not pay for it

    try:
        text = _write(value, encode_basestring)
    except RecursionError:
        raise ValueError("the value is nested too deeply") from None
    text.encode()  # refuses lone surrogates
    return text


def _write(value: object, quote: Callable[[str], str]) -> str:
    if isinstance(value, str):
        return quote(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        if abs(value) > MOST_EXACT and not _is_told_apart(value):
            raise ValueError("a whole number is beyond 2^53, where JSON does not tell all apart; write it as text")
        return str(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, (list, tuple)):
        return f"[{','.join([_write(each, quote) for each in value])}]"
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            raise TypeError("the names in a JSON object are text")
        # Sorted by UTF-16 code units (section 3.2.3).
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join([f"{quote(name)}:{_write(value[name], quote)}" for name in names]) + "}"
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _is_told_apart(value: int) -> bool:
    """Whether a large whole number is the very text that its double is written as."""
    try:
        return str(value) == number(float(value))
    except (OverflowError, ValueError):
        return False


def number(value: float) -> str:
    """Write a double as ECMAScript does (ECMA-262, Number::toString); `repr` has the same digits, the shortest that come back."""
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124  # not a number
        raise ValueError(f"{value} is no JSON number")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or "0") - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if len(digits) <= point <= 21:
        return sign + digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1:+d}"
