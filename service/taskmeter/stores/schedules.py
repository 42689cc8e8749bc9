"""Where schedules are kept: one row each, the spec in the same form as a task's."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import apsw
from msgspec.structs import asdict

from taskmeter.core.ports import Codec
from taskmeter.model.schedule import MissedRuns, Overlap, Schedule, Timing
from taskmeter.model.task import TaskSpec
from taskmeter.stores.failure import reads


class SqliteSchedules:
    """Implements `core.ports.ScheduleStore`. `in_transaction` calls on the writer thread, which alone uses `writing`."""

    def __init__(
        self,
        reading: apsw.Connection,
        writing: apsw.Connection,
        queries: Mapping[str, str],
        codec: Codec,
        in_transaction: Callable[[Callable[[], Any]], Awaitable[Any]],
    ) -> None:
        self._read = reading
        self._write = writing
        self._queries = queries
        self._codec = codec
        self._in_transaction = in_transaction

    @reads
    def load(self) -> list[Schedule]:
        rows: list[Any] = self._read.execute(self._queries["schedules"]).fetchall()
        return [schedule_of(row[0], row[1], self._codec.decode_spec(row[2]), json.loads(row[3])) for row in rows]

    async def put(self, schedule: Schedule) -> None:
        text = json.dumps(detail_of(schedule))
        values = (schedule.tenant, schedule.name, self._codec.encode_spec(schedule.spec), text)
        await self._in_transaction(lambda: self._write.execute(self._queries["put_schedule"], values))

    async def delete(self, tenant: str, name: str) -> None:
        await self._in_transaction(lambda: self._write.execute(self._queries["delete_schedule"], (tenant, name)))


def detail_of(schedule: Schedule) -> dict[str, Any]:
    """Return all but tenant, name and spec, for JSON."""
    columns = {"tenant", "name", "spec"}
    detail = {name: value for name, value in asdict(schedule).items() if name not in columns}
    detail["timing"] = asdict(schedule.timing)
    return detail


def schedule_of(tenant: str, name: str, spec: TaskSpec, detail: dict[str, Any]) -> Schedule:
    """Put a schedule together again. Raises `KeyError`, `TypeError` or `ValueError` if `detail` is of no schedule."""
    typed = {
        "timing": Timing(**detail["timing"]),
        "missed_runs": MissedRuns(detail["missed_runs"]),
        "overlap": Overlap(detail["overlap"]),
    }
    return Schedule(tenant=tenant, name=name, spec=spec, **{**detail, **typed})
