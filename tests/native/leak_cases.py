"""Rounds of calls, by the public names of metercore that they are about; tests/native/test_leaks.py repeats them."""

from __future__ import annotations

from collections.abc import Callable

from tests.native.growth import Case

NOBODY_HAS_THIS_PID = 2**22 + 1  # above the largest pid_max

CASES: dict[str, Case] = {}


def case(*names: str) -> Callable[[Case], Case]:
    """Enter a case under the names of what it calls: "module.name"."""

    def enter(function: Case) -> Case:
        for name in names:
            CASES[name] = function
        return function

    return enter


def failing(function: Callable[..., object], *arguments: object, **named: object) -> None:
    """Call what is to fail; that it does is asserted elsewhere."""
    try:
        function(*arguments, **named)
    except (OSError, ValueError, OverflowError, TypeError, KeyError, RuntimeError):
        pass
