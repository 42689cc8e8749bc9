"""`taskmeter queue`: make queues, bound them, pause and resume them, delete them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from taskmeter.cli import options
from taskmeter.cli.output import is_terminal, print_json
from taskmeter.cli.table import Column, print_rows
from taskmeter.cli.text import escape

if TYPE_CHECKING:
    from taskmeter.client.queues import QueueStatus

COLUMNS = [
    Column("QUEUE", flexible=True),
    Column("STATE"),
    Column("RUNNING", right=True),
    Column("AT MOST", right=True),
    Column("WAITING", right=True),
    Column("AT MOST", right=True),
]
NO_BOUND = "–"

_NAME = click.argument("name", metavar="QUEUE")
_JSON = options.json_flag("Print the queue as one JSON object.")


@click.group()
def queue() -> None:
    """Make queues, bound what runs and waits in them, pause, resume and delete them. Tasks choose one with --queue.

    All of these but rm print JSON with --json.
    """


@queue.command()
@_NAME
@click.option(
    "--max-running", type=click.IntRange(min=0), default=0, metavar="N", help="At most N run at once; 0 (default): no bound."
)
@click.option("--max-size", type=click.IntRange(min=0), default=0, metavar="N", help="At most N may wait; 0 (default): no bound.")
@_JSON
@options.connection
def put(name: str, max_running: int, max_size: int, as_json: bool, target: str | None, state_dir: str | None) -> None:
    """Make QUEUE, or give it other bounds while it is in use. What runs above a lowered bound runs on."""
    from taskmeter.cli.connect import connect

    with connect(target, state_dir, create=True) as client:
        _show([client.put_queue(name, max_running_count=max_running, max_size=max_size)], as_json=as_json, one=True)


@queue.command()
@options.json_flag("Print all queues as one JSON array.")
@options.connection
def ls(as_json: bool, target: str | None, state_dir: str | None) -> None:
    """List queues by name: a table on a terminal, elsewhere one line each with tabs between the columns."""
    from taskmeter.cli.connect import connect

    with connect(target, state_dir) as client:
        _show(client.list_queues(), as_json=as_json, one=False)


@queue.command()
@_NAME
@_JSON
@options.connection
def pause(name: str, as_json: bool, target: str | None, state_dir: str | None) -> None:
    """Let no more tasks of QUEUE start; those that run go on."""
    from taskmeter.cli.connect import connect

    with connect(target, state_dir) as client:
        _show([client.pause_queue(name)], as_json=as_json, one=True)


@queue.command()
@_NAME
@_JSON
@options.connection
def resume(name: str, as_json: bool, target: str | None, state_dir: str | None) -> None:
    """Let the tasks of QUEUE start again."""
    from taskmeter.cli.connect import connect

    with connect(target, state_dir) as client:
        _show([client.resume_queue(name)], as_json=as_json, one=True)


@queue.command()
@_NAME
@options.connection
def rm(name: str, target: str | None, state_dir: str | None) -> None:
    """Delete QUEUE; refused (exit code 3) while tasks wait or run in it. Those that have ended stay."""
    from taskmeter.cli.connect import connect

    with connect(target, state_dir) as client:
        client.delete_queue(name)


def _show(queues: list[QueueStatus], *, as_json: bool, one: bool) -> None:
    if as_json:
        print_json(queues[0] if one else queues)
        return
    rows = [_cells(each) for each in queues]
    if is_terminal(sys.stdout):
        from rich.text import Text

        print_rows(COLUMNS, ([Text(cell) for cell in row] for row in rows), rows)
    else:
        print_rows(COLUMNS, (), rows)


def _cells(found: QueueStatus) -> list[str]:
    return [
        escape(found.name),
        "paused" if found.paused else "open",
        str(found.running_count),
        str(found.max_running_count or NO_BOUND),
        str(found.waiting_count),
        str(found.max_size or NO_BOUND),
    ]
