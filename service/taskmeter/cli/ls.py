"""`taskmeter ls`: list tasks, newest first."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from taskmeter.cli import human, options
from taskmeter.cli.filters import filter_options, filters
from taskmeter.cli.output import is_terminal, print_json
from taskmeter.cli.table import Column, print_rows
from taskmeter.cli.text import escape, shorten

if TYPE_CHECKING:
    from taskmeter.client.status import TaskStatus

COLUMNS = [
    Column("TOKEN"),
    Column("NAME", flexible=True),
    Column("STATUS"),
    Column("DONE", right=True, rank=3),
    Column("CPU", right=True, rank=2),
    Column("RAM", right=True, rank=2),
    Column("ACCEPTED", right=True, rank=4),
    Column("RAN", right=True, rank=1),
    Column("TOKENS", right=True, rank=5),
    Column("TAGS", flexible=True, rank=6),
]


@click.command()
@filter_options
@click.option("-a", "--all", "everything", is_flag=True, help="All tasks, however many; default: the newest 50.")
@click.option("-n", "--last", "limit", type=click.IntRange(min=1), metavar="N", help="The newest N tasks.")
@options.json_flag("Print one JSON array of status views.")
@options.connection
def ls(everything: bool, limit: int | None, as_json: bool, target: str | None, state_dir: str | None, **wanted: Any) -> None:
    """List tasks, newest first: a table on a terminal, elsewhere one line each with tabs between the columns."""
    from taskmeter.cli.connect import connect

    with connect(target, state_dir) as client:
        found = list(client.list_tasks(limit=None if everything else limit or 50, **filters(**wanted)))
    if as_json:
        print_json(found)
        return
    now = time.time()
    if not found and is_terminal(sys.stdout):
        click.echo("no tasks")
        return
    print_rows(COLUMNS, (row(status, now) for status in found), (plain(status, now) for status in found))


def row(status: TaskStatus, now: float) -> list[Any]:
    """Return the cells of a task on a terminal."""
    from rich.text import Text

    from taskmeter.cli import words

    shown = words.standing(status)
    more = words.detail(status)
    metrics = status.metrics
    return [
        Text(words.short(status.token), "bold"),
        Text(shorten(escape(words.title(status)), 40)),
        Text(f"{shown.sign} {shown.word}" + (f" ({more})" if more else ""), shown.style),
        Text(progress(status)),
        Text(human.percent(metrics.avg_cpu_percent if status.completed else metrics.cpu_percent)),
        Text(human.size(metrics.peak_memory_bytes if status.completed else metrics.memory_bytes)),
        Text(human.ago(status.create_time, now), "dim"),
        Text(human.span(words.elapsed_seconds(status, now))),
        Text(human.tokens(status.tokens.total)),
        Text(escape(" ".join(f"{key}={value}" for key, value in status.tags.items())), "dim"),
    ]


def plain(status: TaskStatus, now: float) -> list[str]:
    """Return the cells of a task for programs: whole token, no signs."""
    from taskmeter.cli import words

    cells = [str(cell) for cell in row(status, now)]
    more = words.detail(status)
    cells[0] = status.token
    cells[1] = escape(words.title(status))
    cells[2] = words.standing(status).word + (f" ({more})" if more else "")
    return [cell.replace("\t", " ") for cell in cells]


def progress(status: TaskStatus) -> str:
    """Return how far it is, in percent if its total is known."""
    done = status.completed_count + status.failed_count
    if status.total_count:
        return human.percent(100 * min(done, status.total_count) / status.total_count)
    return human.count(done) if done else ""
