"""Who runs now and who waits: a bound on running tasks, higher priority first, then first come first served."""

from __future__ import annotations

from bisect import bisect_left, insort

from taskmeter.model.task import Task

_Place = tuple[int, float, str]


class Scheduler:
    """Counts slots and orders the waiting; it starts nothing itself."""

    def __init__(self, max_running: int, max_waiting: int) -> None:
        self.max_running = max_running
        self.max_waiting = max_waiting
        self.running: set[str] = set()
        self._waiting: list[_Place] = []
        self._places: dict[str, _Place] = {}

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    @property
    def has_room(self) -> bool:
        """A slot is free and nobody waits for it."""
        return len(self.running) < self.max_running and not self._waiting

    @property
    def is_full(self) -> bool:
        return len(self.running) >= self.max_running and len(self._waiting) >= self.max_waiting

    def take_slot(self, token: str) -> None:
        self.running.add(token)

    def free_slot(self, token: str) -> None:
        self.running.discard(token)

    def enqueue(self, task: Task) -> None:
        place = (-task.priority, task.queued_time, task.token)
        self._places[task.token] = place
        insort(self._waiting, place)

    def remove(self, token: str) -> None:
        """Take a task out of the queue; harmless if it is not in it."""
        place = self._places.pop(token, None)
        if place is not None:
            del self._waiting[bisect_left(self._waiting, place)]

    def position(self, token: str) -> int | None:
        """Return how many waiting tasks are ahead of this one; None if it does not wait."""
        place = self._places.get(token)
        return None if place is None else bisect_left(self._waiting, place)

    def next(self) -> str | None:
        """Take the next task out of the queue and give it a slot; None if there is no slot or nobody waits."""
        if not self._waiting or len(self.running) >= self.max_running:
            return None
        token = self._waiting.pop(0)[2]
        del self._places[token]
        self.running.add(token)
        return token
