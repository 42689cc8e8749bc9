"""A subscriber of the harness: reads all events over any number of broken streams, resuming each where the last one ended.

`python -m tests.faults.watcher STATE_DIR HISTORY_DIR NAME`, until its stdin ends.
It notes each event, and up to where it has seen everything.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import grpc

from tests.faults.client import RETRY_PAUSE_SECONDS, connect
from tests.faults.history import History, event_fact


def watch(state_dir: Path, history: History, over: threading.Event) -> None:
    calls = connect(state_dir)
    resume: dict[str, Any] = {"from_seq": 1}
    while not over.is_set():
        stream = calls.StreamEvents(**resume)
        try:
            for message in stream:
                for event in message.events:
                    history.note("event", **event_fact(event))
                if message.seq:
                    history.note("reached", seq=message.seq)
                if message.resume_token:
                    resume = {"resume_token": message.resume_token}
        except grpc.RpcError as error:
            history.note("stream ended", code=error.code().name, text=str(error.details()))
            over.wait(RETRY_PAUSE_SECONDS)


def main() -> None:
    state_dir, history_dir, name = sys.argv[1:]
    history = History(Path(history_dir) / f"{name}.history")
    over = threading.Event()
    threading.Thread(target=watch, args=(Path(state_dir), history, over), daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
