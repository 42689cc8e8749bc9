"""queues.json: the definitions of queues."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import asdict

from taskmeter.model.queue import Queue
from taskmeter.stores.sidefile import JsonFile

QUEUES_NAME = "queues.json"


def queues_json(state_dir: Path) -> JsonFile[Queue]:
    """Return the file of a state directory."""
    return JsonFile(state_dir / QUEUES_NAME, "queues", to_entry=asdict, from_entry=lambda values: Queue(**values))
