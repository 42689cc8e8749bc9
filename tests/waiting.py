"""Waiting for a condition with a deadline: the only place in the tests that lets time pass."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from time import monotonic
from typing import Literal, TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.01


def wait_until(condition: Callable[[], T | Literal[False] | None], what: str, seconds: float = 15.0) -> T:
    """Return the first true value of `condition`; fail, saying `what` did not happen, after `seconds`."""
    deadline = monotonic() + seconds
    pause = threading.Event()
    while not (value := condition()):
        assert monotonic() < deadline, f"not within {seconds:g} s: {what}"
        pause.wait(POLL_SECONDS)
    return value


async def wait_until_async(condition: Callable[[], T | Literal[False] | None], what: str, seconds: float = 15.0) -> T:
    """Do the same on an event loop, which goes on running."""
    deadline = monotonic() + seconds
    while not (value := condition()):
        assert monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(POLL_SECONDS)
    return value
