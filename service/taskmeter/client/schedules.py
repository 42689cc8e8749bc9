"""A schedule as an object."""

from __future__ import annotations

from typing import Any

from taskmeter.client.status import View
from taskmeter.v1 import schedule_service_pb2


class ScheduleStatus(View):
    """When a schedule is due, and what came of it so far. Times are Unix seconds; 0 = never."""

    __slots__ = ()
    _descriptor = schedule_service_pb2.Schedule.DESCRIPTOR

    name: str
    timing: dict[str, Any]
    task_name: str
    queue: str
    paused: bool
    create_time: float
    next_time: float
    last_time: float
    last_token: str
    last_problem: str
    run_count: int
    key_id: str


class ScheduleRun(View):
    """The answer of RunSchedule."""

    __slots__ = ()
    _descriptor = schedule_service_pb2.RunScheduleResponse.DESCRIPTOR

    schedule: dict[str, Any]
    token: str
    existing: bool
    """The token is that of an earlier call with this idempotency key."""
