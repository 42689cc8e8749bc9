"""How long what has ended is kept: tasks with their files, events, and the head of long outputs."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from taskmeter.model.state import Outcome

DAY_SECONDS = 86_400.0


class Retention(Struct, frozen=True, gc=False):
    """Bounds on what is kept; whichever is reached first counts. 0 = no bound."""

    max_age_seconds: float = 30 * DAY_SECONDS
    """An ended task is deleted so long after its end."""
    max_count: int = 100_000
    """Ended tasks; the ones that ended first go first."""
    max_bytes: int = 0
    """Disk space of the directories of ended tasks; the ones that ended first go first."""
    outcomes: Mapping[Outcome, float] = field(default_factory=dict)
    """`max_age_seconds` of tasks that ended so, in place of the general one."""
    idempotency_seconds: float = DAY_SECONDS
    """A task that answers for an idempotency key is kept at least so long, whatever the other bounds say (guarantee G2)."""
    events_max_age_seconds: float = 30 * DAY_SECONDS
    events_max_count: int = 5_000_000
    log_max_bytes: int = 0
    """Of each output of an attempt, the newest so many bytes are kept, and up to 16 MiB more."""
    interval_seconds: float = 10.0
    """Pause between two passes."""

    @property
    def words(self) -> str:
        """The bounds for people: "30 d, 100000 tasks; failed 90 d; events 30 d, 5000000"; "all" where there is none."""
        tasks = [_days(self.max_age_seconds)] if self.max_age_seconds else []
        tasks += [f"{self.max_count} tasks"] if self.max_count else []
        tasks += [f"{self.max_bytes} bytes"] if self.max_bytes else []
        events = [_days(self.events_max_age_seconds)] if self.events_max_age_seconds else []
        events += [str(self.events_max_count)] if self.events_max_count else []
        parts = [", ".join(tasks) or "all tasks"]
        parts += [f"{each.name.lower()} {_days(age) if age else 'all'}" for each, age in sorted(self.outcomes.items())]
        parts.append(f"events {', '.join(events) or 'all'}")
        parts += [f"{self.log_max_bytes} bytes of each output"] if self.log_max_bytes else []
        return "; ".join(parts)

    def age_of(self, outcome: Outcome) -> float:
        return self.outcomes.get(outcome, self.max_age_seconds)


def _days(seconds: float) -> str:
    return f"{seconds / DAY_SECONDS:g} d" if seconds >= DAY_SECONDS else f"{seconds:g} s"


class EndedTask(Struct, frozen=True, gc=False):
    """What retention needs to know of an ended task."""

    token: str
    outcome: Outcome
    end_time: float
    holds_key: bool
    size_bytes: int
    """Disk space of its directory; -1 = not measured yet."""
