"""Who delivers: the name, the module that runs it, and what it needs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.util import find_spec

OURS, ONE_BY_ONE = "the daemon's path", "grpc.aio, one event per message"
ETCD, NATS = "etcd watch", "NATS"
STREAM, PUBSUB = "Redis streams", "Redis pub/sub"
BROADCAST, BLOCKS = "websockets broadcast", "websockets broadcast, a block per message"
SSE = "SSE, Starlette on uvicorn"
_SEARCHED = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/usr/local/sbin"


@dataclass(frozen=True, slots=True)
class Kind:
    """One side."""

    name: str
    module: str
    note: str
    arguments: tuple[str, ...] = ()
    program: str = ""
    package: str = ""
    """The Debian package of `program`, or what must be importable."""

    def missing(self) -> str:
        """Return how to get what it lacks, or nothing."""
        if self.program and not (shutil.which(self.program) or shutil.which(self.program, path=_SEARCHED)):
            return f"{self.package} is not installed (`make bench-tools`)"
        if not self.program and self.package and not find_spec(self.package):
            return f"{self.package} is not installed (`pip install taskmeter[bench]`)"
        return ""


_PEERS = "bench.fanout.peers"
ALL = (
    Kind(OURS, "bench.fanout.server", "store, hub, streams and server of the daemon: durable, resumable, whoever asks has a key"),
    Kind(ONE_BY_ONE, "bench.fanout.onebyone", "uvloop, a queue per subscriber; keeps nothing, asks for the same key"),
    Kind(ETCD, f"{_PEERS}.etcd", "a block is one transaction, on disk before it is watched", (), "etcd", "etcd-server"),
    Kind(NATS, f"{_PEERS}.nats", "core, at most once; keeps nothing", (), "nats-server", "nats-server"),
    Kind(
        STREAM,
        f"{_PEERS}.redis",
        "XADD and a blocking XREAD, in memory, 100,000 entries",
        ("stream",),
        "redis-server",
        "redis-server",
    ),
    Kind(PUBSUB, f"{_PEERS}.redis", "at most once; keeps nothing", ("pubsub",), "redis-server", "redis-server"),
    Kind(BROADCAST, f"{_PEERS}.broadcast", "uvloop; keeps nothing, asks nobody", ("events",), "", "websockets"),
    Kind(BLOCKS, f"{_PEERS}.broadcast", "the same, and what came together is one message", ("blocks",), "", "websockets"),
    Kind(
        SSE,
        f"{_PEERS}.sse",
        "uvloop, httptools, a queue per subscriber, what waits is one write; keeps nothing",
        (),
        "",
        "starlette",
    ),
)
