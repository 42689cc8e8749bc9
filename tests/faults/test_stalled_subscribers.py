"""G10: subscribers that do not read cost the daemon a bounded amount of memory each, and nobody else any time.

What the first subscribers cost once (threads, buffers, imports, the newest events in memory) is not theirs: the cost of
one is the slope between few and many of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import pytest

from tests.calls import Calls
from tests.daemon import Daemon
from tests.faults.size import wanted_count
from tests.integration.helpers import end_of, start

STALLED_COUNT = wanted_count(200)
FEW = max(10, STALLED_COUNT // 10)
WARM_UP_COUNT = 10
PER_CONNECTION = 50
NARROW = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 16 * 1024),
]
"""A client's library would take in megabytes for a caller who does not read: then nothing would stall at the daemon."""
MOST_BYTES_EACH = 128 * 1024
TASK_COUNT = 150
"""With tags of 1 kB in each event, several times what fits into a connection's window."""
UNARY_COUNT = 200
UNARY_SECONDS = 0.05
SLACK_SECONDS = 5.0


def anonymous_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


class Stalled:
    """Subscribers over connections of their own, which read their first message and then no more."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._channels: list[grpc.Channel] = []
        self._streams: list[Any] = []

    def grow(self, count: int) -> None:
        """Have `count` of them in all."""
        while len(self._streams) < count:
            if len(self._streams) % PER_CONNECTION == 0:
                self._channels.append(grpc.insecure_channel(self._daemon.target, options=NARROW))
            stream = Calls(self._channels[-1], self._daemon.key).StreamEvents(from_seq=1)
            next(stream)  # it is being served
            self._streams.append(stream)

    def close(self) -> None:
        for channel in self._channels:
            channel.close()


@pytest.mark.guarantee("G10")
@pytest.mark.timeout(300)
def test_g10_subscribers_that_do_not_read_cost_at_most_128_kb_each(
    make_daemon: Callable[..., Daemon], record_property: Callable[[str, object], None]
) -> None:
    daemon = make_daemon().start()
    calls = daemon.calls
    tags = {str(number): "x" * 250 for number in range(4)}
    for token in [start(calls, "true", tags=tags) for _ in range(TASK_COUNT)]:
        end_of(calls, token)
    stalled = Stalled(daemon)
    used = {}
    try:
        for count in (WARM_UP_COUNT, FEW, STALLED_COUNT):
            stalled.grow(count)
            end_of(calls, start(calls, "true", tags=tags))
            used[count] = anonymous_bytes(daemon.pid)
        each = (used[STALLED_COUNT] - used[FEW]) / (STALLED_COUNT - FEW)
        times = []
        for _ in range(UNARY_COUNT):
            begin = monotonic()
            calls.GetServerInfo()
            times.append(monotonic() - begin)
        p99 = sorted(times)[int(0.99 * UNARY_COUNT)]
        print(f"N={STALLED_COUNT}: {each / 1024:.1f} kB each, a unary call takes {p99 * 1e3:.1f} ms at p99")
        record_property("faults", STALLED_COUNT)
        assert each <= MOST_BYTES_EACH
        assert p99 <= UNARY_SECONDS + SLACK_SECONDS
    finally:
        stalled.close()
