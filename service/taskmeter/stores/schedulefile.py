"""schedules.json: schedules and how far they are, what their tasks are given sealed as in the database."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from taskmeter.core.ports import Codec
from taskmeter.model.schedule import Schedule
from taskmeter.stores.schedules import detail_of, schedule_of
from taskmeter.stores.sidefile import JsonFile

SCHEDULES_NAME = "schedules.json"


def schedules_json(state_dir: Path, codec: Codec) -> JsonFile[Schedule]:
    """Return the file of a state directory."""

    def to_entry(schedule: Schedule) -> dict[str, Any]:
        spec = base64.b64encode(codec.encode_spec(schedule.spec)).decode()
        return {"tenant": schedule.tenant, "name": schedule.name, "spec": spec, "detail": detail_of(schedule)}

    def from_entry(entry: dict[str, Any]) -> Schedule:
        spec = codec.decode_spec(base64.b64decode(entry["spec"], validate=True))
        return schedule_of(entry["tenant"], entry["name"], spec, entry["detail"])

    return JsonFile(state_dir / SCHEDULES_NAME, "schedules", to_entry=to_entry, from_entry=from_entry)
