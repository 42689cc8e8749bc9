"""How many item events a second come from the work to a subscriber, and what does the daemon spend on each?

A real process writes its item log at a steady rate; a subscriber reads all of it from the stream. Once with two events per item,
once with one: then each is a new row. Figures are the daemon's. Target: ≥ 100,000 a second on one core of daemon.
"""

from __future__ import annotations

import sys
import threading
import time

import grpc

from bench import harness
from tests.calls import Calls
from tests.daemon import Daemon
from tests.waiting import wait_until

COUNT = harness.full(2_000_000, quick=100_000)
RATE = 100_000
"""Events a second; what a writer has not been relieved of is bounded, so it must not run far ahead."""
PATIENCE_SECONDS = 240

WORK = f"""
import os, time
from metercore.itemlog import ItemLog
log = ItemLog(os.environ["TASKMETER_TASK_DIR"] + "/items")
begin = time.monotonic()
for number in range({COUNT}):
    log.item(number // PER_ITEM, 3 if number % PER_ITEM == PER_ITEM - 1 else 2, "render", 0, "", "worker-1", 1000)
    if number % 500 == 0:
        time.sleep(max(0.0, begin + number / {RATE} - time.monotonic()))
assert not log.dropped_count
"""


class Subscriber:
    """Counts the item events of one task as they come."""

    def __init__(self, daemon: Daemon, token: str) -> None:
        self._channel = grpc.insecure_channel(daemon.target)
        self._call = Calls(self._channel, daemon.key).StreamEvents(tokens=[token], kinds=[2], from_seq=1)
        self.event_count = 0
        self.begin = self.end = 0.0
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            for message in self._call:
                if message.events:
                    self.end = time.perf_counter()
                    self.begin = self.begin or self.end
                    self.event_count += len(message.events)
        except grpc.RpcError:
            pass  # cancelled

    def close(self) -> None:
        self._call.cancel()
        self._thread.join()
        self._channel.close()


def flow(events_per_item: int) -> tuple[str, str, str]:
    """Let all events flow once; return what came of it."""
    with Daemon() as daemon:
        before, memory = harness.cpu_seconds(daemon.pid), harness.status_kib(daemon.pid, "RssAnon") / 1024
        code = WORK.replace("PER_ITEM", str(events_per_item))
        token = daemon.calls.StartTask(spec={"command": {"argv": [sys.executable, "-c", code]}}).token
        subscriber = Subscriber(daemon, token)
        try:
            wait_until(lambda: subscriber.event_count >= COUNT, "all events", PATIENCE_SECONDS)
        finally:
            subscriber.close()
        spent = harness.cpu_seconds(daemon.pid) - before
        grown = harness.status_kib(daemon.pid, "RssAnon") / 1024 - memory
        assert daemon.calls.GetItemStats(token=token).total.completed == COUNT // events_per_item
    per_second = COUNT / (subscriber.end - subscriber.begin)
    return f"{per_second:,.0f}/s", f"{spent / COUNT * 1e6:.2f} µs", f"{grown:.0f} MiB"


def main() -> None:
    rows = [(f"{events_per_item} per item", *flow(events_per_item)) for events_per_item in (2, 1)]
    harness.heading("How many item events a second come from the work to a subscriber?")
    print(f"{COUNT:,} events, offered at {RATE:,} a second.\n")
    harness.table(["events", "to the subscriber", "processor time of the daemon per event", "its memory more"], rows)


if __name__ == "__main__":
    main()
