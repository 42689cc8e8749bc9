"""The task that this process works for.

    from taskmeter.work import current

    progress = current().progress(total=len(files))
    for file in files:
        progress.object(file.name)
        convert(file)
        progress.add(size=file.stat().st_size)

Every method is that of `metercore.report.ReportBlock`, so that `add` costs one atomic instruction and no Python call. Outside
a task, or when the block cannot be made, the same methods write to private memory: a program runs alike with and without us.
"""

from __future__ import annotations

import os

from metercore.report import ReportBlock


class Context(ReportBlock):
    """Where the work reports to. After a fork, parent and child add to the same counters."""

    __slots__ = ("attempt", "token")

    def __init__(self, path: str | None = None, token: str = "", attempt: int = 0) -> None:
        self.token = token
        """The task's token; empty outside a task."""
        self.attempt = attempt
        """Counts from 0."""

    @property
    def is_task(self) -> bool:
        """Tell whether anybody can see what is reported."""
        return self.shared


_current: Context | None = None


def current() -> Context:
    """Return the context of the task this process runs in: always the same, and one that leads nowhere outside a task."""
    global _current
    if _current is None:
        directory = os.environ.get("TASKMETER_TASK_DIR", "")
        attempt = os.environ.get("TASKMETER_ATTEMPT", "")
        _current = Context(
            os.path.join(directory, "report") if directory else None,
            os.environ.get("TASKMETER_TOKEN", ""),
            int(attempt) if attempt.isascii() and attempt.isdigit() else 0,
        )
    return _current
