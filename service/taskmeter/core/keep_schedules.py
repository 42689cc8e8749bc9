"""Keep schedules in a file of their own, too, and go on with them from there when the store is built anew."""

from __future__ import annotations

from msgspec.structs import replace

from taskmeter.core.due_times import next_due
from taskmeter.core.ports import Filter
from taskmeter.core.service import Service
from taskmeter.core.side_file import SideFile, match, read_back
from taskmeter.model.schedule import DUE_TAG, SCHEDULE_TAG, Schedule
from taskmeter.model.task import Task

PAGE_COUNT = 500


async def restore_schedules(service: Service, file: SideFile[Schedule]) -> int:
    """Put what the file has into a store whose tasks are there again; returns how many there are.

    What ran since the file was written is known from its tasks: no due time runs twice (G2).
    """
    schedules = read_back(file, "the schedules have to be put again: nothing is started by them until then")
    for each in schedules:
        await service.store.schedules.put(_advanced(service, each))
    return len(schedules)


def match_schedules(service: Service, file: SideFile[Schedule]) -> None:
    """At a start: bring the file to what the store has."""
    match(file, service.store.schedules.load(), lambda schedule: schedule.key)


def _advanced(service: Service, schedule: Schedule) -> Schedule:
    """Settle the due times that have a task."""
    if not schedule.next_time:
        return schedule
    runs = _runs_since(service, schedule)
    if not runs:
        return schedule
    newest = max(runs)
    return replace(
        schedule,
        next_time=next_due(schedule.timing, newest, newest),
        last_time=runs[newest].create_time,
        last_token=runs[newest].token,
        last_problem="",
        run_count=schedule.run_count + len(runs),
    ).bounded()


def _runs_since(service: Service, schedule: Schedule) -> dict[float, Task]:
    """Return the tasks by due time, from the oldest one that the file holds for open."""
    runs: dict[float, Task] = {}
    wanted = Filter(schedule.tenant, tags={SCHEDULE_TAG: schedule.name}, created_after_time=schedule.next_time - 1.0)
    after: tuple[float, str] | None = None
    while page := service.store.select(wanted, after, PAGE_COUNT):
        for task in page:
            due = schedule.due_of(task.tags.get(DUE_TAG, ""))
            if due >= schedule.next_time - 0.001:  # the tag has milliseconds
                runs[due] = task
        after = page[-1].create_time, page[-1].token
    return runs
