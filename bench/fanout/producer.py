"""A pace of events, and what is measured beside it; commands come as lines on stdin.

`produce EVENTS_PER_SECOND SECONDS BLOCK_EVENTS`: at a steady pace, or as fast as it goes if the pace is 0; answers with JSON
{"cpu_seconds", "producer_seconds", "seconds", "events", "marks", "committed"}. `cpu_seconds` is the server's, `producer_seconds`
this process's where the server is another one. A mark is [last seq, monotonic ns at which the block was handed over]; where
events carry that time themselves there are none. `committed` is the same for the time at which it was on disk, if that is known.
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
Marks = list[tuple[int, int]]
PAYLOAD_BYTES = 200


def payload() -> bytes:
    """Return an event that begins with the time in ns, as 16 hexadecimal digits."""
    return f"{time.monotonic_ns():016x}".encode().ljust(PAYLOAD_BYTES, b"x")


def say_ready(protocol: str, address: str, server: int = 0, token: str = "") -> None:
    """Tell the benchmark whom it measures (a process; by itself this one), and how it is read."""
    print(json.dumps({"protocol": protocol, "address": address, "server": server or os.getpid(), "token": token}), flush=True)


async def obey(emit: Emit, *, server: int = 0, marks: Marks | None = None, committed: Marks | None = None) -> None:
    """Serve commands until stdin closes."""
    loop = asyncio.get_running_loop()
    marks, committed = ([] if each is None else each for each in (marks, committed))
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        rate, seconds, block = line.split()[1:]
        marks.clear()
        committed.clear()
        measured = server or os.getpid()
        cpu, own, begin = harness.cpu_seconds(measured), time.process_time(), time.monotonic()
        count = await _produce(emit, float(rate), float(seconds), int(block))
        found = {
            "cpu_seconds": harness.cpu_seconds(measured) - cpu,
            "producer_seconds": time.process_time() - own if server else 0.0,
            "seconds": time.monotonic() - begin,
            "events": count,
            "marks": marks,
            "committed": committed,
        }
        print(json.dumps(found), flush=True)


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
