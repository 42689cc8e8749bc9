"""What runs inside a task: say how far the work is, for whoever watches. Light to import, harmless outside a task.

    import taskmeter

    taskmeter.instrument()  # bars of tqdm and rich, and warnings of logging, are reported as they are
    for page in taskmeter.track(pages):
        with taskmeter.item(page.name, stage="render", size=page.size):
            render(page)
    taskmeter.note("all pages are rendered")

Names load when they are first used.
"""

from __future__ import annotations

from taskmeter.work.context import Context, current, get_task_context

TYPE_CHECKING = False  # as type checkers see it; `typing` takes longer to import than all the rest here
if TYPE_CHECKING:
    from taskmeter.work.instruments import instrument
    from taskmeter.work.items import Item, Items
    from taskmeter.work.loops import track
    from taskmeter.work.saying import count, error, item, note, progress, task_log, warn
    from taskmeter.work.tracker import StatusTracker
    from taskmeter.work.tracking import ErrorSummary, FailedItem, StatusEvent, TaskEvent

__all__ = [
    "Context",
    "ErrorSummary",
    "FailedItem",
    "Item",
    "Items",
    "StatusEvent",
    "StatusTracker",
    "TaskEvent",
    "count",
    "current",
    "error",
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
    "ErrorSummary": "tracking",
    "FailedItem": "tracking",
    "Item": "items",
    "Items": "items",
    "StatusEvent": "tracking",
    "StatusTracker": "tracker",
    "TaskEvent": "tracking",
    "count": "saying",
    "error": "saying",
    "instrument": "instruments",
    "item": "saying",
    "note": "saying",
    "progress": "saying",
    "task_log": "saying",
    "track": "loops",
    "warn": "saying",
}


if not TYPE_CHECKING:  # else any name would pass

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415  # tasks that only count start without it

        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
