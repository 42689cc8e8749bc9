"""Which tasks are meant, by their properties: the filters of `ls` and `bill`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from taskmeter.cli.options import PAIR, SPAN

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = [
    click.option(
        "-s",
        "--status",
        "words",
        multiple=True,
        metavar="WORD",
        help="waiting, running, stopping, live, ended, succeeded, failed, cancelled, timeout, interrupted, lost …; repeatable.",
    ),
    click.option("--tag", "tags", type=PAIR, multiple=True, metavar="KEY=VALUE", help="Only tasks with this tag; all of them."),
    click.option("--project", "project_id", default="", help="Only tasks of this project."),
    click.option("--name", "name_prefix", default="", help="Only tasks whose name begins so."),
    click.option("--since", "since_seconds", type=SPAN, metavar="TIME", help="Only tasks accepted in the last so long (2h, 7d)."),
]


def filter_options(function: F) -> F:
    """Add the options."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def filters(
    *,
    words: tuple[str, ...],
    tags: tuple[tuple[str, str], ...],
    project_id: str,
    name_prefix: str,
    since_seconds: float | None,
) -> dict[str, Any]:
    """Return the arguments for `list_tasks`."""
    import time

    return {
        "status": words,
        "tags": dict(tags),
        "project_id": project_id,
        "name_prefix": name_prefix,
        "created_after_time": time.time() - since_seconds if since_seconds is not None else 0.0,
    }
