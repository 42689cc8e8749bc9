"""`taskmeter top`: all tasks live."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from taskmeter.cli import options
from taskmeter.cli.output import is_terminal, print_json

if TYPE_CHECKING:
    from taskmeter.client.status import TaskStatus


@click.command()
@options.tags("Only tasks with this tag; repeatable, all must match.")
@click.option("-a", "--all", "everything", is_flag=True, help="Ended tasks too.")
@click.option("--once", is_flag=True, help="Print one snapshot and exit.")
@options.json_flag("Print one snapshot as a JSON array of status views.")
@options.connection
def top(
    tags: tuple[tuple[str, str], ...], everything: bool, once: bool, as_json: bool, target: str | None, state_dir: str | None
) -> int:
    """Show all tasks live. Keys: c, m, t, k, n sort by CPU, memory, time, tokens, name; q leaves.

    Where stdout is no terminal, one snapshot is printed.
    """
    from taskmeter.cli.board import Board
    from taskmeter.cli.connect import connect

    with connect(target, state_dir) as client:
        if as_json or once or not is_terminal(sys.stdout):
            status = () if everything else "live"
            found = list(client.list_tasks(status=status, tags=dict(tags)))
            if as_json:
                print_json(found)
            else:
                _print_snapshot(found)
            return 0
        return Board(client, dict(tags), everything=everything).run()


def _print_snapshot(found: list[TaskStatus]) -> None:
    from taskmeter.cli.ls import COLUMNS, plain, row
    from taskmeter.cli.table import print_rows

    now = time.time()
    print_rows(COLUMNS, (row(status, now) for status in found), (plain(status, now) for status in found))
