"""Who runs now and who waits: bounds of daemon and queues, requests, dependencies and times; then priority, then order.

Laws: it starts nothing itself and touches no disk; everything in it is made again from the stored tasks and queues. What is short
is kept for who came first: nobody overtakes by asking for less of it. Bounds are compared when a slot is given, so they may be
changed at any time; what runs above a bound that was lowered runs on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from heapq import heapify, heappop, heappush

from msgspec import Struct

from taskmeter.core.admission import Admission, Kind, kinds_of
from taskmeter.core.dependencies import Dependencies
from taskmeter.core.ordered import Ordered
from taskmeter.core.queue_group import Head, Place, QueueGroup
from taskmeter.model.queue import DEFAULT_QUEUE, Queue
from taskmeter.model.resources import Capacity
from taskmeter.model.task import Task

NEXT_FLOAT_SECONDS = 1e-6
"""Two tasks are queued at least so far apart; a double of this century resolves it."""
NO_BOUNDS = Capacity(float("inf"), 2**63)
MIN_STALE = 64

QueueKey = tuple[str, str]


class _Waiting(Struct, eq=False):
    """A task that waits: `place` is in its queue's order only if it is `ready`."""

    task: Task
    key: QueueKey
    lane: Kind
    place: Place
    not_before_time: float
    ready: bool = False


class Scheduler:
    """Counts slots and orders the waiting; each operation takes logarithmic time."""

    def __init__(
        self,
        max_running: int,
        max_waiting: int,
        *,
        capacity: Callable[[], Capacity] = lambda: NO_BOUNDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.max_running = max_running
        self.max_waiting = max_waiting
        self.admission = Admission(capacity)
        self.dependencies = Dependencies()
        self.running: dict[str, QueueKey] = {}
        self.unmet_of: Callable[[Task], Collection[str]] = lambda _: ()
        """Which tasks of `after` have not succeeded yet; set by recovery."""
        self._clock = clock
        self._groups: dict[QueueKey, QueueGroup] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._held: dict[str, QueueKey] = {}
        """Tasks that are being accepted and will wait, and those whose wait for the next attempt is not over."""
        self._due: list[tuple[float, str]] = []
        """Heap of those that must not start yet; entries of tasks that are gone are skipped."""
        self._heads: Ordered[Head] = Ordered()
        """The first of each lane of each open queue, best first."""
        self._last_stamp = 0.0

    # ------------------------------------------------------------------------------------------------------- queues

    def put_queue(self, queue: Queue) -> None:
        """Define a queue, or change it while it is in use."""
        group = self._groups.get(queue.key)
        if group is None:
            self._groups[queue.key] = QueueGroup(queue)
            return
        group.definition = queue
        self._refresh(group)

    def drop_queue(self, queue: Queue) -> None:
        """Forget a queue in which nothing waits or runs."""
        group = self._groups.pop(queue.key)
        assert not group.running_count
        assert not group.waiting_count

    def group(self, tenant: str, name: str) -> QueueGroup:
        """Return a queue; one that nobody has defined has no bounds."""
        key = (tenant, name or DEFAULT_QUEUE)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = QueueGroup(Queue(*key))
        return group

    def group_of(self, task: Task) -> QueueGroup:
        return self.group(task.tenant, task.spec.queue)

    def queue(self, tenant: str, name: str) -> Queue | None:
        """Return the definition of a queue that exists: one that was put, or the default one."""
        group = self._groups.get((tenant, name))
        if group is not None and group.definition.create_time:
            return group.definition
        return self.group(tenant, name).definition if name == DEFAULT_QUEUE else None

    def queues(self, tenant: str) -> list[QueueGroup]:
        """Return all queues of a tenant that exist, by name."""
        self.group(tenant, DEFAULT_QUEUE)
        found = [
            group
            for (owner, name), group in self._groups.items()
            if owner == tenant and (group.definition.create_time or name == DEFAULT_QUEUE or group.waiting_count)
        ]
        return sorted(found, key=lambda group: group.definition.name)

    # -------------------------------------------------------------------------------------------------------- slots

    def take_slot(self, task: Task) -> None:
        """Count a task that runs already, with the GPUs it was given."""
        self.admission.restore(task.token, task.spec.resources, task.gpus)
        self._count_running(task)

    def free_slot(self, token: str) -> None:
        """Give back what a task held; harmless if it held nothing."""
        key = self.running.pop(token, None)
        self.admission.free(token)
        if key is not None:
            group = self._groups[key]
            group.running_count -= 1
            self._refresh(group)

    def _count_running(self, task: Task) -> None:
        group = self.group_of(task)
        self.running[task.token] = group.definition.key
        group.running_count += 1
        self._refresh(group)

    # ------------------------------------------------------------------------------------------------------ waiting

    @property
    def waiting_count(self) -> int:
        return len(self._waiting) + len(self._held)

    @property
    def is_full(self) -> bool:
        return len(self.running) >= self.max_running and self.waiting_count >= self.max_waiting

    def stamp(self) -> float:
        """Return the time of queueing for a new task: later than all before, also when the clock was set back."""
        self._last_stamp = max(self._clock(), self._last_stamp + NEXT_FLOAT_SECONDS)
        return self._last_stamp

    def accept(self, task: Task) -> bool:
        """Give a new task its slot and return True, or hold its place among the waiting until `enqueue` or `withdraw`."""
        self.enqueue(task)
        found = self._find()
        self.remove(task.token)
        if found is not None and found.task.token == task.token:
            self._start(task)
            return True
        self.hold(task)
        return False

    def withdraw(self, token: str) -> None:
        """Undo `accept`."""
        self.remove(token)
        self.free_slot(token)

    def enqueue(self, task: Task, *, not_before_time: float = 0.0) -> None:
        """Have a task wait; it can start when it is due and all it waits for have succeeded."""
        self.remove(task.token)
        group = self.group_of(task)
        group.waiting_count += 1
        self._last_stamp = max(self._last_stamp, task.queued_time)
        place = (-task.priority, task.queued_time, task.token)
        due_time = max(task.spec.start_after_time, not_before_time)
        waiting = _Waiting(task, group.definition.key, kinds_of(task.spec.resources), place, due_time)
        self._waiting[task.token] = waiting
        if task.spec.after and (unmet := self.unmet_of(task)):
            self.dependencies.add(task.token, unmet)
        if due_time > self._clock():
            heappush(self._due, (due_time, task.token))
        self._make_ready(waiting)

    def hold(self, task: Task) -> None:
        """Count a task as waiting that is not to be started before it is enqueued: it waits for its next attempt."""
        self.remove(task.token)
        group = self.group_of(task)
        self._held[task.token] = group.definition.key
        group.waiting_count += 1

    def remove(self, token: str) -> None:
        """Take a task out of the queue; harmless if it is not in it."""
        key = self._held.pop(token, None)
        if key is not None:
            self._groups[key].waiting_count -= 1
        waiting = self._waiting.pop(token, None)
        if waiting is None:
            return
        group = self._groups[waiting.key]
        group.waiting_count -= 1
        self.dependencies.remove(token)
        if waiting.ready:
            group.remove(waiting.place, waiting.lane)
            self._refresh(group, (waiting.lane,))
        elif waiting.not_before_time:
            self._drop_stale()

    def reorder(self, task: Task) -> None:
        """Take over a waiting task's new priority; harmless if it does not wait."""
        waiting = self._waiting.get(task.token)
        if waiting is not None:
            self.enqueue(task, not_before_time=waiting.not_before_time)

    def position(self, token: str) -> int | None:
        """Return how many tasks of its queue are ahead of this one; None if it could not start yet, or does not wait."""
        waiting = self._waiting.get(token)
        return self._groups[waiting.key].order.rank(waiting.place) if waiting is not None and waiting.ready else None

    def not_before_time(self, token: str) -> float:
        """Return when a waiting task may start, in Unix seconds; 0 = no bound."""
        waiting = self._waiting.get(token)
        return waiting.not_before_time if waiting is not None else 0.0

    def next_due_seconds(self) -> float | None:
        """Return in how many seconds the next task becomes due; None if there is none."""
        while self._due and not self._is_current(self._due[0]):
            heappop(self._due)
        return max(0.0, self._due[0][0] - self._clock()) if self._due else None

    def succeeded(self, token: str) -> None:
        """A task has succeeded: those that waited for it alone could start."""
        for dependent in self.dependencies.succeeded(token):
            self._make_ready(self._waiting[dependent])

    def next(self) -> str | None:
        """Take the next task out of the queue and give it a slot; None if nobody can start."""
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            due = heappop(self._due)
            if self._is_current(due):
                self._make_ready(self._waiting[due[1]])
        found = self._find()
        if found is None:
            return None
        self.remove(found.task.token)
        self._start(found.task)
        return found.task.token

    # ------------------------------------------------------------------------------------------------------- within

    def _start(self, task: Task) -> None:
        self.admission.take(task.token, task.spec.resources)
        self._count_running(task)

    def _find(self) -> _Waiting | None:
        """Return the best task that can start. What the ones before it lack is kept for them."""
        if len(self.running) >= self.max_running:
            return None
        short = Kind(0)
        for (_, _, token), _, lane in self._heads:
            if lane & short:
                continue
            waiting = self._waiting[token]
            lacking = self.admission.lacking(waiting.task.spec.resources) if lane else Kind(0)
            if not lacking:
                return waiting
            short |= lacking
        return None

    def _make_ready(self, waiting: _Waiting) -> None:
        if waiting.ready or waiting.not_before_time > self._clock() or self.dependencies.unmet(waiting.task.token):
            return
        waiting.ready = True
        group = self._groups[waiting.key]
        group.add(waiting.place, waiting.lane)
        self._refresh(group, (waiting.lane,))

    def _refresh(self, group: QueueGroup, lanes: Iterable[Kind] | None = None) -> None:
        """List the queue's candidates as they are now."""
        for lane in group.lanes if lanes is None else lanes:
            head, listed = group.head(lane), group.listed.get(lane)
            if head == listed:
                continue
            if listed is not None:
                self._heads.remove(listed)
                del group.listed[lane]
            if head is not None:
                self._heads.add(head)
                group.listed[lane] = head

    def _is_current(self, due: tuple[float, str]) -> bool:
        waiting = self._waiting.get(due[1])
        return waiting is not None and not waiting.ready and waiting.not_before_time == due[0]

    def _drop_stale(self) -> None:
        """Keep the heap from growing with tasks that were cancelled."""
        if len(self._due) > MIN_STALE + 2 * len(self._waiting):
            self._due = [due for due in self._due if self._is_current(due)]
            heapify(self._due)
