"""When a task is started again and again, and what is known of it so far."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct
from msgspec.structs import replace

from taskmeter.model.task import TaskSpec

SCHEDULE_TAG = "taskmeter.schedule"
"""Each task of a schedule carries its name under this tag."""
DUE_TAG = "taskmeter.due"
"""And which run of which schedule it is: `ID:UNIX_SECONDS` of the due time."""


class MissedRuns(IntEnum):
    """What happens with due times at which nothing could be started."""

    RUN_ONCE = 1
    SKIP = 2
    RUN_ALL = 3


class Overlap(IntEnum):
    """What happens at a due time while the last run has not ended."""

    ALLOW = 1
    SKIP = 2


class Timing(Struct, frozen=True, gc=False):
    """Exactly one of the first three is set."""

    every_seconds: float = 0.0
    at_time: float = 0.0
    """Unix seconds; once."""
    cron: str = ""
    timezone: str = "UTC"
    """IANA name; of `cron` only."""


class Schedule(Struct, frozen=True, gc=False):
    """One schedule as it is stored; its name is the tenant's own."""

    tenant: str
    name: str
    schedule_id: str
    """Never used twice, so that a name that is used again has due times of its own."""
    spec: TaskSpec
    timing: Timing
    missed_runs: MissedRuns = MissedRuns.RUN_ONCE
    max_missed: int = 10
    """Of RUN_ALL: the newest so many are run."""
    overlap: Overlap = Overlap.ALLOW
    end_time: float = 0.0
    """Nothing is due from then on; Unix seconds, 0 = never."""
    max_runs: int = 0
    """0 = no bound."""
    key_id: str = ""
    """Of the key that put it: its quotas bound the tasks, and they end with it."""
    paused: bool = False
    create_time: float = 0.0
    next_time: float = 0.0
    """Unix seconds of the oldest due time that is not settled; 0 = there is none any more."""
    last_time: float = 0.0
    """When it last started a task; 0 = never."""
    last_token: str = ""
    last_problem: str = ""
    """Why the newest due time was skipped, or is still open; empty if it was run."""
    run_count: int = 0

    @property
    def key(self) -> tuple[str, str]:
        return self.tenant, self.name

    @property
    def active(self) -> bool:
        return bool(self.next_time) and not self.paused

    def bounded(self) -> Schedule:
        """Return it with nothing more due, if it is at its end or has run as often as it may."""
        ended = self.end_time and self.next_time >= self.end_time
        spent = self.max_runs and self.run_count >= self.max_runs
        return replace(self, next_time=0.0) if ended or spent else self

    def run_tag(self, due: float) -> str:
        """Name the run of a due time."""
        return f"{self.schedule_id}:{due:.3f}"

    def due_of(self, tag: str) -> float:
        """Return the due time of a run by its name; 0 = it is of no due time of this schedule."""
        schedule_id, _, due = tag.partition(":")
        try:
            return float(due) if schedule_id == self.schedule_id else 0.0
        except ValueError:
            return 0.0
