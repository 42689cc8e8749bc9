"""G10: subscribers that do not read cost the daemon a bounded amount of memory each, and nobody else any time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon
from tests.integration.helpers import end_of, start

WARM_UP_COUNT = 20
STALLED_COUNT = 70
"""Together below the number of streams that one connection may have."""
MOST_BYTES_EACH = 128 * 1024
TASK_COUNT = 150
"""With tags of 1 kB in each event, several times what fits into a connection's window."""


def anonymous_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


@pytest.mark.guarantee("G10")
def test_g10_subscribers_that_do_not_read_cost_at_most_128_kb_each(daemon: Daemon) -> None:
    calls = daemon.calls
    tags = {str(number): "x" * 250 for number in range(4)}
    for token in [start(calls, "true", tags=tags) for _ in range(TASK_COUNT)]:
        end_of(calls, token)
    streams: list[Any] = []

    def stall(count: int) -> int:
        fresh = [calls.StreamEvents(from_seq=1) for _ in range(count)]
        for stream in fresh:
            next(stream)  # it is being served
        streams.extend(fresh)
        end_of(calls, start(calls, "true", tags=tags))
        return anonymous_bytes(daemon.pid)

    before = stall(WARM_UP_COUNT)  # what the first ones cost once is not theirs
    after = stall(STALLED_COUNT)
    assert (after - before) / STALLED_COUNT <= MOST_BYTES_EACH
    for stream in streams:
        stream.cancel()
