"""Slots and waiting order."""

from __future__ import annotations

import random
from typing import Any

import pytest

from taskmeter.core.scheduler import Scheduler
from taskmeter.core.waiting_reason import waiting_reason
from taskmeter.errors import PreconditionError
from taskmeter.model.queue import Queue
from taskmeter.model.resources import Capacity, Gpu, Resources
from taskmeter.model.task import DEFAULT_TENANT, Task, TaskSpec

GIB = 2**30
HOST = Capacity(4.0, 8 * GIB, (Gpu("GPU-a", 16 * GIB), Gpu("GPU-b", 80 * GIB), Gpu("2", None)))


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def waiting(token: str, queued_time: float, priority: int = 0, gpus: tuple[str, ...] = (), **spec: Any) -> Task:
    made = TaskSpec(argv=("true",), **spec)
    return Task(token=token, spec=made, spec_hash=b"", create_time=0, queued_time=queued_time, priority=priority, gpus=gpus)


def scheduler_of(*tasks: Task, max_running: int = 100, clock: Clock | None = None) -> Scheduler:
    made = Scheduler(max_running, 100_000, capacity=lambda: HOST, clock=clock or Clock())
    for task in tasks:
        made.enqueue(task)
    return made


def all_next(scheduler: Scheduler) -> list[str]:
    return list(iter(scheduler.next, None))


def queue(name: str, **fields: Any) -> Queue:
    return Queue(DEFAULT_TENANT, name, create_time=1.0, **fields)


def test_higher_priority_goes_first_then_first_come_first_served() -> None:
    scheduler = scheduler_of(waiting("late", 3), waiting("early", 1), waiting("urgent", 9, priority=1))
    assert [scheduler.position(token) for token in ("urgent", "early", "late")] == [0, 1, 2]
    assert all_next(scheduler) == ["urgent", "early", "late"]


def test_the_bound_on_running_tasks_holds_and_a_freed_slot_goes_to_the_next() -> None:
    scheduler = Scheduler(max_running=1, max_waiting=1)
    assert scheduler.accept(waiting("a", 1))
    assert not scheduler.is_full
    assert not scheduler.accept(waiting("b", 2))
    assert (scheduler.waiting_count, scheduler.is_full) == (1, True), "it counts from the moment it is accepted"
    scheduler.enqueue(waiting("b", 2))
    assert (scheduler.waiting_count, scheduler.next()) == (1, None)
    scheduler.free_slot("a")
    assert not scheduler.accept(waiting("c", 3)), "the waiting one is served before a newcomer"
    assert scheduler.next() == "b"


def test_a_task_that_could_not_be_stored_leaves_nothing_behind() -> None:
    scheduler = scheduler_of(max_running=1)
    task = waiting("a", 1, resources=Resources(cpu_cores=4))
    assert scheduler.accept(task)
    scheduler.withdraw("a")
    assert scheduler.accept(task)
    assert not scheduler.accept(waiting("b", 2))
    scheduler.withdraw("b")
    assert (scheduler.waiting_count, len(scheduler.running)) == (0, 1)
    assert scheduler.group(DEFAULT_TENANT, "").waiting_count == 0


def test_removing_keeps_the_positions_of_the_others_right() -> None:
    scheduler = scheduler_of(*(waiting(f"t{number}", number) for number in range(5)))
    scheduler.remove("t1")
    scheduler.remove("never there")
    assert [scheduler.position(f"t{number}") for number in range(5)] == [0, None, 1, 2, 3]


def test_each_queue_has_a_bound_of_its_own_and_a_full_one_holds_up_no_other() -> None:
    scheduler = scheduler_of()
    scheduler.put_queue(queue("narrow", max_running=1))
    for token, name in (("n1", "narrow"), ("n2", "narrow"), ("d1", ""), ("d2", "default")):
        scheduler.enqueue(waiting(token, float(token[1]), queue=name))
    assert all_next(scheduler) == ["d1", "n1", "d2"]
    assert scheduler.position("n2") == 0
    scheduler.free_slot("d1")
    assert scheduler.next() is None
    scheduler.free_slot("n1")
    assert scheduler.next() == "n2"


def test_bounds_change_in_both_directions_while_tasks_run() -> None:
    scheduler = scheduler_of()
    scheduler.put_queue(queue("q", max_running=3))
    for number in range(8):
        scheduler.enqueue(waiting(f"t{number}", number, queue="q"))
    assert len(all_next(scheduler)) == 3
    scheduler.put_queue(queue("q", max_running=1))
    for token in ("t0", "t1"):
        scheduler.free_slot(token)
        assert scheduler.next() is None, "still as many run as may, or more"
    scheduler.free_slot("t2")
    assert all_next(scheduler) == ["t3"]
    scheduler.put_queue(queue("q"))
    assert len(all_next(scheduler)) == 4


def test_a_paused_queue_starts_nothing_until_it_is_resumed() -> None:
    scheduler = scheduler_of(waiting("a", 1, queue="q"))
    scheduler.put_queue(queue("q", paused=True))
    assert scheduler.next() is None
    assert not scheduler.accept(waiting("b", 2, queue="q"))
    scheduler.put_queue(queue("q"))
    assert scheduler.next() == "a"


def test_a_task_starts_when_it_is_due_and_then_by_its_priority() -> None:
    clock = Clock()
    scheduler = scheduler_of(waiting("later", 1, 5, start_after_time=1060.0), clock=clock)
    scheduler.enqueue(waiting("retry", 2), not_before_time=1030.0)
    assert (scheduler.next(), scheduler.position("later"), scheduler.next_due_seconds()) == (None, None, 30.0)
    clock.time = 1060.0
    assert all_next(scheduler) == ["later", "retry"]
    assert scheduler.next_due_seconds() is None


def test_tasks_that_were_cancelled_before_they_were_due_do_not_pile_up() -> None:
    scheduler = scheduler_of()
    for number in range(1000):
        scheduler.enqueue(waiting("t", number, start_after_time=5000.0 + number))
    scheduler.remove("t")
    assert scheduler.next_due_seconds() is None
    assert scheduler.waiting_count == 0


def test_a_dependent_waits_for_all_it_named() -> None:
    scheduler = scheduler_of()
    scheduler.unmet_of = lambda task: task.spec.after
    scheduler.enqueue(waiting("c", 1, after=("a", "b")))
    assert (scheduler.next(), scheduler.position("c"), scheduler.dependencies.dependents("a")) == (None, None, ["c"])
    scheduler.succeeded("a")
    assert scheduler.next() is None
    scheduler.succeeded("b")
    assert scheduler.next() == "c"


def test_requests_of_running_tasks_are_subtracted_from_what_the_host_has() -> None:
    scheduler = scheduler_of(
        waiting("a", 1, resources=Resources(memory_bytes=6 * GIB)),
        waiting("b", 2, resources=Resources(memory_bytes=6 * GIB)),
        waiting("small", 3, resources=Resources(memory_bytes=GIB)),
        waiting("cpu", 4, resources=Resources(cpu_cores=4)),
        waiting("none", 5),
    )
    assert all_next(scheduler) == ["a", "cpu", "none"], "the small one must not take what is kept for b"
    scheduler.free_slot("a")
    assert all_next(scheduler) == ["b", "small"]


def test_a_fraction_of_a_core_is_given_back_without_drift() -> None:
    scheduler = scheduler_of()
    for round_number in range(1000):
        scheduler.enqueue(waiting(f"t{round_number}", round_number, resources=Resources(cpu_cores=0.1)))
    assert len(all_next(scheduler)) == 40
    for round_number in range(1000):
        scheduler.free_slot(f"t{round_number}")
        all_next(scheduler)
    assert scheduler.accept(waiting("whole", 9999, resources=Resources(cpu_cores=4.0)))


def test_each_task_gets_gpus_of_its_own_that_are_large_enough() -> None:
    scheduler = scheduler_of(
        waiting("large", 1, resources=Resources(gpus=1, gpu_memory_bytes=40 * GIB)),
        waiting("two", 2, resources=Resources(gpus=2)),
        waiting("none left", 3, resources=Resources(gpus=1)),
    )
    assert all_next(scheduler) == ["large", "two"]
    assert scheduler.admission.gpus_of("large") == ("GPU-b",)
    assert scheduler.admission.gpus_of("two") == ("GPU-a", "2")
    again = scheduler_of(waiting("next", 3, resources=Resources(gpus=1)))
    again.take_slot(waiting("two", 2, gpus=("GPU-a", "2"), resources=Resources(gpus=2)))
    assert again.next() == "next", "a restarted daemon knows which are taken"
    assert again.admission.gpus_of("next") == ("GPU-b",)


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (Resources(cpu_cores=4.5), "cpu_cores"),
        (Resources(memory_bytes=9 * GIB), "memory_bytes"),
        (Resources(gpus=4), "gpus"),
        (Resources(gpus=2, gpu_memory_bytes=40 * GIB), "gpu_memory_bytes"),
    ],
)
def test_what_the_host_could_never_give_is_refused(wanted: Resources, field: str) -> None:
    with pytest.raises(PreconditionError) as caught:
        scheduler_of().admission.check(wanted)
    assert (caught.value.reason, caught.value.metadata) == ("UNSUPPORTED_HERE", {"field": f"spec.resources.{field}"})


def test_a_new_priority_reorders_and_nothing_else() -> None:
    scheduler = scheduler_of(waiting("a", 1), waiting("b", 2), waiting("later", 3, start_after_time=2000.0))
    scheduler.reorder(waiting("b", 2, priority=1))
    scheduler.reorder(waiting("later", 3, priority=9, start_after_time=2000.0))
    scheduler.reorder(waiting("gone", 4, priority=9))
    assert all_next(scheduler) == ["b", "a"]


def test_the_order_of_acceptance_holds_when_the_clock_is_set_back() -> None:
    clock = Clock()
    scheduler = scheduler_of(clock=clock)
    first = scheduler.stamp()
    clock.time = 10.0
    assert first < scheduler.stamp() < scheduler.stamp()
    recovered = scheduler_of(waiting("a", 5000.0), clock=clock)
    assert recovered.stamp() > 5000.0


def test_why_a_task_waits_is_one_sentence() -> None:
    clock = Clock()
    scheduler = scheduler_of(max_running=2, clock=clock)
    scheduler.unmet_of = lambda task: task.spec.after

    def why(task: Task) -> str:
        scheduler.enqueue(task)
        reason = waiting_reason(scheduler, task)
        scheduler.remove(task.token)
        return reason

    scheduler.put_queue(queue("p", paused=True))
    scheduler.put_queue(queue("q", max_running=1))
    scheduler.take_slot(waiting("runs", 0, queue="q", resources=Resources(memory_bytes=6 * GIB, gpus=2), gpus=("GPU-a", "2")))
    assert why(waiting("t", 1, after=("x", "y"))) == "waits for task x and 1 more"
    assert why(waiting("t", 1, start_after_time=4e9)) == "waits until 2096-10-02 07:06:40 UTC"
    assert why(waiting("t", 1, queue="p")) == 'queue "p" is paused'
    assert why(waiting("t", 1, queue="q")) == 'queue "q" is at its limit: 1 of 1 run'
    needs = Resources(memory_bytes=4 * GIB)
    assert why(waiting("t", 1, resources=needs)) == "not enough memory: it needs 4.00 GiB, 2.00 GiB of 8.00 GiB are free"
    assert why(waiting("t", 1, resources=Resources(gpus=2))) == "not enough GPUs: it needs 2, 1 of 3 are free"
    scheduler.enqueue(waiting("b", 0, priority=1))
    assert why(waiting("t", 1)) == "waits its turn: 1 task is ahead of it"
    scheduler.take_slot(waiting("more", 0))
    assert why(waiting("t", 1)) == "waiting for a free slot: 2 of 2 run"


def test_ten_thousand_waiting_tasks_leave_in_order_whatever_happened_to_them() -> None:
    """Against a plain sorted list; the seed is printed by a failure."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    tasks = {f"t{n}": waiting(f"t{n}", n, chance.randrange(-2, 3), queue=chance.choice(["", "a", "b"])) for n in range(10_000)}
    scheduler = scheduler_of(*tasks.values(), max_running=100_000)
    for token in chance.sample(sorted(tasks), 2000):
        if chance.random() < 0.5:
            scheduler.remove(token)
            del tasks[token]
        else:
            tasks[token] = tasks[token].evolve(priority=chance.randrange(-2, 3))
            scheduler.reorder(tasks[token])
    expected = sorted(tasks.values(), key=lambda task: (-task.priority, task.queued_time))
    in_queue_a = [task.token for task in expected if task.spec.queue == "a"]
    assert [scheduler.position(token) for token in in_queue_a] == list(range(len(in_queue_a))), seed
    assert all_next(scheduler) == [task.token for task in expected], seed
