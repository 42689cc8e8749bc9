"""Taskmeter runs long jobs, meters them live, streams what happens, stops them cleanly, and says what they cost.

    with taskmeter.SyncClient() as client:
        token = client.start(["python", "job.py"], name="night run").token
        for status in client.watch(token):
            print(status.state.name, status.metrics.cpu_percent, status.tokens.total)

Names load when they are first used: importing this package imports neither grpc nor asyncio.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as type checkers see it; the work imports this, and `typing` takes longer than all it needs
if TYPE_CHECKING:
    from typing import Any

    from taskmeter import errors
    from taskmeter.client.aio import Client
    from taskmeter.client.status import Event, TaskStatus
    from taskmeter.client.sync import SyncClient
    from taskmeter.errors import TaskmeterError
    from taskmeter.model.event import EventKind
    from taskmeter.model.retry import RetryPolicy
    from taskmeter.model.state import Outcome, State
    from taskmeter.work import (
        ErrorSummary,
        FailedItem,
        StatusEvent,
        StatusTracker,
        TaskEvent,
        count,
        current,
        error,
        get_task_context,
        instrument,
        item,
        note,
        progress,
        task_log,
        track,
        warn,
    )

__version__ = "0.1.0"

__all__ = [
    "Client",
    "ErrorSummary",
    "Event",
    "EventKind",
    "FailedItem",
    "Outcome",
    "RetryPolicy",
    "State",
    "StatusEvent",
    "StatusTracker",
    "SyncClient",
    "TaskEvent",
    "TaskStatus",
    "TaskmeterError",
    "__version__",
    "count",
    "current",
    "error",
    "errors",
    "get_task_context",
    "instrument",
    "item",
    "note",
    "progress",
    "task_log",
    "track",
    "warn",
]

_HOME = {
    "Client": "taskmeter.client.aio",
    "ErrorSummary": "taskmeter.work",
    "Event": "taskmeter.client.status",
    "EventKind": "taskmeter.model.event",
    "FailedItem": "taskmeter.work",
    "Outcome": "taskmeter.model.state",
    "RetryPolicy": "taskmeter.model.retry",
    "State": "taskmeter.model.state",
    "StatusEvent": "taskmeter.work",
    "StatusTracker": "taskmeter.work",
    "SyncClient": "taskmeter.client.sync",
    "TaskEvent": "taskmeter.work",
    "TaskStatus": "taskmeter.client.status",
    "TaskmeterError": "taskmeter.errors",
    "count": "taskmeter.work",
    "current": "taskmeter.work",
    "error": "taskmeter.work",
    "get_task_context": "taskmeter.work",
    "instrument": "taskmeter.work",
    "item": "taskmeter.work",
    "note": "taskmeter.work",
    "progress": "taskmeter.work",
    "task_log": "taskmeter.work",
    "track": "taskmeter.work",
    "warn": "taskmeter.work",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    elif name == "errors":
        value = import_module("taskmeter.errors")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
