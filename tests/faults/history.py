"""What the clients of a faulty daemon have seen: one JSON object a line, written before the next call is made."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taskmeter.v1 import event_pb2


class History:
    """Appends facts to a file of one client's own; `time` (Unix seconds) is added to each."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def note(self, fact: str, **fields: Any) -> None:
        line = json.dumps({"fact": fact, "time": time.time(), **fields}) + "\n"
        os.write(self._file, line.encode())


def read_history(directory: Path) -> Iterator[dict[str, Any]]:
    """Read every fact of every client, each client's in its order; a line that a dying client left half is no fact."""
    for path in sorted(directory.glob("*.history")):
        for line in path.read_text().splitlines():
            try:
                yield {"client": path.stem, **json.loads(line)}
            except ValueError:
                continue


def event_fact(event: event_pb2.Event) -> dict[str, Any]:
    """What is noted of an event, and what is read of the stored one to compare."""
    change = event.state_changed
    return {
        "seq": event.seq,
        "token": event.token,
        "attempt": event.attempt,
        "before": change.from_state,
        "after": change.to_state,
        "reason": change.reason,
        "deleted": event.HasField("task_deleted"),
    }
