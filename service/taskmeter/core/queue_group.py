"""The waiting and the running of one queue, counted and in order."""

from __future__ import annotations

from taskmeter.core.admission import Kind
from taskmeter.core.ordered import Ordered
from taskmeter.model.queue import Queue

Place = tuple[int, float, str]
"""(−priority, when it was queued, token): who is smaller is first."""
Head = tuple[Place, tuple[str, str], int]
"""The first of a lane: (its place, the queue's key, the lane)."""


class QueueGroup:
    """One queue's tasks. Those that could start are kept twice: all in one order, for positions, and by lane.

    A lane has those that ask for the same kinds of resources. Where its first one has to wait for some of them, so have the
    others, because what is short is kept for who came first; but those of other lanes need not.
    """

    def __init__(self, definition: Queue) -> None:
        self.definition = definition
        self.running_count = 0
        self.waiting_count = 0
        """All that wait in it, those included that could not start yet, are being accepted, or wait for their next attempt."""
        self.order: Ordered[Place] = Ordered()
        self.lanes: dict[Kind, Ordered[Place]] = {}
        self.listed: dict[Kind, Head] = {}
        """What the scheduler has of this queue in its list of candidates."""

    @property
    def is_open(self) -> bool:
        """One more of it may start."""
        bound = self.definition.max_running
        return not self.definition.paused and not (bound and self.running_count >= bound)

    @property
    def is_full(self) -> bool:
        bound = self.definition.max_waiting
        return bool(bound) and self.waiting_count >= bound

    def add(self, place: Place, lane: Kind) -> None:
        self.order.add(place)
        self.lanes.setdefault(lane, Ordered()).add(place)

    def remove(self, place: Place, lane: Kind) -> None:
        self.order.remove(place)
        self.lanes[lane].remove(place)

    def head(self, lane: Kind) -> Head | None:
        """Return the lane's candidate, if one of this queue may start."""
        first = self.lanes[lane].first
        return None if first is None or not self.is_open else (first, self.definition.key, int(lane))
