"""Clients of the daemon: a core without I/O and two thin transports. Names load when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskmeter.client.aio import Client
    from taskmeter.client.base import Page, Started, StoppedTasks
    from taskmeter.client.discovery import Endpoint
    from taskmeter.client.history import MetricsHistory, MetricsPoint
    from taskmeter.client.key import Key, KeyQuotas, KeyRate, NewKey
    from taskmeter.client.queues import QueueStatus
    from taskmeter.client.resume import Delivery
    from taskmeter.client.retried import RetriedTasks, RetryRefusal
    from taskmeter.client.schedules import ScheduleRun, ScheduleStatus
    from taskmeter.client.status import Event, ServerInfo, TaskMetrics, TaskRecord, TaskStatus, TaskTokens
    from taskmeter.client.sync import SyncClient
    from taskmeter.client.tail import FileChunk
    from taskmeter.client.view import event_view, status_view

__all__ = [
    "Client",
    "Delivery",
    "Endpoint",
    "Event",
    "FileChunk",
    "Key",
    "KeyQuotas",
    "KeyRate",
    "MetricsHistory",
    "MetricsPoint",
    "NewKey",
    "Page",
    "QueueStatus",
    "RetriedTasks",
    "RetryRefusal",
    "ScheduleRun",
    "ScheduleStatus",
    "ServerInfo",
    "Started",
    "StoppedTasks",
    "SyncClient",
    "TaskMetrics",
    "TaskRecord",
    "TaskStatus",
    "TaskTokens",
    "event_view",
    "status_view",
]

_HOME = {
    "Client": "aio",
    "Delivery": "resume",
    "Endpoint": "discovery",
    "Event": "status",
    "FileChunk": "tail",
    "Key": "key",
    "KeyQuotas": "key",
    "KeyRate": "key",
    "MetricsHistory": "history",
    "MetricsPoint": "history",
    "NewKey": "key",
    "Page": "base",
    "QueueStatus": "queues",
    "ScheduleRun": "schedules",
    "ScheduleStatus": "schedules",
    "ServerInfo": "status",
    "RetriedTasks": "retried",
    "RetryRefusal": "retried",
    "Started": "base",
    "StoppedTasks": "base",
    "SyncClient": "sync",
    "TaskMetrics": "status",
    "TaskRecord": "status",
    "TaskStatus": "status",
    "TaskTokens": "status",
    "event_view": "view",
    "status_view": "view",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
