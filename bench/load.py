"""Load for one unary method, from a process of its own on one core: `load.py TARGET KEY PATH HEX_REQUEST`.

Reads lines "CALLS IN_FLIGHT" from stdin; after each prints one JSON line {"seconds", "p50_us", "p99_us"}. Bytes go in and out
without being parsed, so that the generator costs as little as Python allows.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import TypeAlias

import grpc
import grpc.aio
import uvloop

from bench import harness

Method: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"  # subscriptable for type checkers only
Metadata = tuple[tuple[str, str], ...]


async def ask(method: Method, data: bytes, metadata: Metadata, calls: int, in_flight: int) -> dict[str, float]:
    """Make so many calls, at most `in_flight` at a time."""
    left = calls
    spans_us: list[float] = []

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            begin = time.perf_counter()
            await method(data, metadata=metadata)
            spans_us.append((time.perf_counter() - begin) * 1e6)

    begin = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "p50_us": harness.percentile(spans_us, 50), "p99_us": harness.percentile(spans_us, 99)}


async def main(target: str, key: str, path: str, request: str) -> None:
    harness.pin(os.getpid(), harness.CLIENT_CPU)
    loop = asyncio.get_running_loop()
    async with grpc.aio.insecure_channel(target) as channel:
        method: Method = channel.unary_unary(path)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            calls, in_flight = map(int, line.split())
            found = await ask(method, bytes.fromhex(request), (("authorization", f"Bearer {key}"),), calls, in_flight)
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
