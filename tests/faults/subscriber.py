"""A subscriber in a process of its own: follows all events with the blocking client and writes down what it is given.

`python -m tests.faults.subscriber TARGET KEY HISTORY`, until its stdin ends.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from taskmeter import SyncClient
from tests.faults.history import History

BOOKMARK_SECONDS = 30.0
"""So that what it lost while it was stopped is not for its own watchdog to say."""


def follow(target: str, key: str, history: History) -> None:
    with SyncClient(target, key=key, on_disconnect=lambda error: history.note("lost", reason=error.reason)) as client:
        for delivery in client.stream(from_seq=1, bookmark_interval_seconds=BOOKMARK_SECONDS):
            history.note("given", seqs=[event.seq for event in delivery.events], reached=delivery.seq)


def main() -> None:
    target, key, path = sys.argv[1:]
    threading.Thread(target=follow, args=(target, key, History(Path(path))), daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
