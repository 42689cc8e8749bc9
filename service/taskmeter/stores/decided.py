"""What the loop waits for and the writer's thread decides."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def decided(future: asyncio.Future[T]) -> T:
    """Wait for a decision, also when whoever waits is cancelled meanwhile: that is raised after it.

    Whoever asks for a change of a task holds its lock. Given up while the change is on its way, that lock would let others work
    on what the task was before.
    """
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue
        raise


def fail(futures: Iterable[asyncio.Future[Any]], error: Exception) -> None:
    """Decide against all that are still waited for."""
    for future in futures:
        if not future.done():
            future.set_exception(error)


def finish(future: asyncio.Future[Any], result: Any) -> None:
    """Decide, if it is still waited for."""
    if not future.done():
        future.set_result(result)
