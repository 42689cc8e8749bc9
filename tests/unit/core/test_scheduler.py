"""Slots and waiting order."""

from __future__ import annotations

from taskmeter.core.scheduler import Scheduler
from taskmeter.model.task import Task, TaskSpec


def waiting(token: str, queued_time: float, priority: int = 0) -> Task:
    return Task(
        token=token, spec=TaskSpec(argv=("true",)), spec_hash=b"", create_time=0, queued_time=queued_time, priority=priority
    )


def test_higher_priority_goes_first_then_first_come_first_served() -> None:
    scheduler = Scheduler(max_running=10, max_waiting=10)
    for task in (waiting("late", 3), waiting("early", 1), waiting("urgent", 9, priority=1)):
        scheduler.enqueue(task)
    assert [scheduler.position(token) for token in ("urgent", "early", "late")] == [0, 1, 2]
    assert [scheduler.next(), scheduler.next(), scheduler.next(), scheduler.next()] == ["urgent", "early", "late", None]


def test_the_bound_on_running_tasks_holds_and_a_freed_slot_goes_to_the_next() -> None:
    scheduler = Scheduler(max_running=1, max_waiting=1)
    assert (scheduler.has_room, scheduler.is_full) == (True, False)
    scheduler.take_slot("a")
    assert (scheduler.has_room, scheduler.is_full) == (False, False)
    scheduler.enqueue(waiting("b", 1))
    assert (scheduler.has_room, scheduler.is_full) == (False, True)
    assert scheduler.next() is None
    scheduler.free_slot("a")
    assert not scheduler.has_room, "the waiting one is served before a newcomer"
    assert scheduler.next() == "b"


def test_removing_keeps_the_positions_of_the_others_right() -> None:
    scheduler = Scheduler(max_running=1, max_waiting=10)
    for number in range(5):
        scheduler.enqueue(waiting(f"t{number}", number))
    scheduler.remove("t1")
    scheduler.remove("never there")
    assert [scheduler.position(f"t{number}") for number in range(5)] == [0, None, 1, 2, 3]
