"""A pace of events, and what is measured beside it; commands come as lines on stdin.

`produce EVENTS_PER_SECOND SECONDS BLOCK_EVENTS`: at a steady pace, or as fast as it goes if the pace is 0; answers with JSON
{"cpu_seconds", "seconds", "events", "stamps"}; the stamps are [last seq, monotonic ns at which it was committed].
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable

from bench import harness

Emit = Callable[[int], Awaitable[None]]


async def obey(emit: Emit, stamps: list[tuple[int, int]]) -> None:
    """Serve commands until stdin closes."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        rate, seconds, block = line.split()[1:]
        stamps.clear()
        cpu, begin = harness.cpu_seconds(os.getpid()), time.monotonic()
        count = await _produce(emit, float(rate), float(seconds), int(block))
        spent, lasted = harness.cpu_seconds(os.getpid()) - cpu, time.monotonic() - begin
        print(json.dumps({"cpu_seconds": spent, "seconds": lasted, "events": count, "stamps": stamps}), flush=True)


async def _produce(emit: Emit, rate: float, seconds: float, block: int) -> int:
    begin = time.monotonic()
    count = 0
    while (now := time.monotonic()) < begin + seconds:
        due = block if not rate else int((now - begin) * rate) - count
        if due < block:
            await asyncio.sleep(max(0.0, begin + (count + block) / rate - now))
            continue
        await emit(min(due, 10 * block))
        count += min(due, 10 * block)
    return count
