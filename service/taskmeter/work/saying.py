"""The work's verbs as plain functions: `taskmeter.progress`, `item`, `count`, `task_log`, `note`, `warn`, `error`."""

from __future__ import annotations

from taskmeter.work.context import Context, current
from taskmeter.work.items import Item
from taskmeter.work.numbers import ERROR, LOG, WARNING

LEVELS = {"warning": WARNING, "error": ERROR, "critical": ERROR}


def progress(total: int | None = None, total_size: int | None = None) -> Context:
    """Say how many items, and how many bytes, there are to do; `add(n, size)` and `fail(n, size)` of what is returned count."""
    return current().progress(total, total_size)


def count(name: str, n: int = 1) -> None:
    """Add to a counter of the work's own, which a tariff may price: 16 names of at most 24 bytes."""
    current().count(name, n)


def item(
    item_id: object,
    *,
    stage: str = "",
    size: int = 0,
    attempt: int = 0,
    worker: str = "",
    metadata: dict[str, str] | None = None,
    count: bool = True,
) -> Item:
    """Follow one item through a `with` block: it is in progress, then completed, or failed if the block raises."""
    return Item(current().items, item_id, stage, size, attempt, worker, metadata, count)


def task_log(message: object, *, level: str = "info", **extra: object) -> None:
    """Add a line to the task's log; of level "warning" or "error", it is a warning or an error instead.

    What else is given is appended as name=value.
    """
    text = " ".join([str(message), *(f"{name}={value}" for name, value in extra.items())])
    current().message(LEVELS.get(level.lower(), LOG), text)


def note(text: object) -> None:
    """Say something worth knowing."""
    current().note(text)


def warn(text: object) -> None:
    """Say that something is not as it should be; counted in the task's status."""
    current().warn(text)


def error(text: object) -> None:
    """Say that something failed; counted in the task's status. The task goes on."""
    current().error(text)
