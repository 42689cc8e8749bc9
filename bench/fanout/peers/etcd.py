"""etcd: a block of events is one transaction of puts, on disk before it is watched. `etcd.py DIRECTORY KEY`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc

from bench import harness
from bench.fanout.peers import child
from bench.fanout.producer import obey, payload, say_ready
from tests.waiting import wait_until

_TXN = "/etcdserverpb.KV/Txn"
_MOST_OPS = 10_000


def _field(number: int, data: bytes) -> bytes:
    """Encode a field of bytes, or a message."""
    size, encoded = len(data), b""
    while size > 0x7F:
        encoded += bytes((size & 0x7F | 0x80,))
        size >>= 7
    return bytes((number << 3 | 2,)) + encoded + bytes((size,)) + data


def transaction(count: int, value: bytes) -> bytes:
    """Encode a TxnRequest whose `success` (2) are RequestOps with a PutRequest (2) of key (1) and value (2)."""
    return b"".join(_field(2, _field(2, _field(1, b"ev/%d" % number) + _field(2, value))) for number in range(count))


async def main(directory: str) -> None:
    client, peer = harness.free_port(), harness.free_port()
    path = Path(directory) / "etcd"
    options = {
        "data-dir": str(path),
        "listen-client-urls": f"http://127.0.0.1:{client}",
        "advertise-client-urls": f"http://127.0.0.1:{client}",
        "listen-peer-urls": f"http://127.0.0.1:{peer}",
        "initial-advertise-peer-urls": f"http://127.0.0.1:{peer}",
        "initial-cluster": f"default=http://127.0.0.1:{peer}",
        "max-txn-ops": str(_MOST_OPS),
        "log-level": "error",
    }
    command = [f"--{name}={value}" for name, value in options.items()]
    with child.server(directory, "etcd", *command) as server:
        wait_until(lambda: harness.listens(client), "etcd listens", 30)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{client}") as channel:
            call: Any = channel.unary_unary(_TXN)

            async def emit(count: int) -> None:
                await call(transaction(count, payload()), wait_for_ready=True, timeout=30)

            await emit(1)
            say_ready("etcd", f"tcp:{client}", server.pid)
            await obey(emit, server=server.pid)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
