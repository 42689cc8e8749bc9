"""`taskmeter watch`: the live meter of a task that exists already."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from taskmeter.cli import exits, options
from taskmeter.cli.output import console, is_terminal, print_json_line

if TYPE_CHECKING:
    from taskmeter.client.status import TaskStatus


@click.command()
@options.token_argument
@click.option("-n", "--lines", type=click.IntRange(min=0), default=10, metavar="N", help="Begin with the last N lines of output.")
@click.option("--interval", type=options.SPAN, default=1.0, metavar="TIME", help="With --json: at most one status per TIME.")
@options.json_flag("Print a status view per change, one JSON object per line, until the task has ended.")
@options.connection
def watch(token: str, lines: int, interval: float, as_json: bool, target: str | None, state_dir: str | None) -> int:
    """Show the live meter of a task until it ends; Ctrl-C leaves the view and never the task.

    Where stdout is no terminal, one line is printed per change of state. The exit code is 0 when the task has ended, whatever
    its own is; `wait` exits with that.
    """
    from taskmeter.cli.connect import connect
    from taskmeter.cli.interrupts import Interrupts
    from taskmeter.cli.live import Leave, LiveView, left_note
    from taskmeter.cli.selection import resolve
    from taskmeter.cli.summary import print_summary

    with connect(target, state_dir) as client:
        token = resolve(client, token)
        if as_json:
            for found in client.watch(token, interval_seconds=interval):
                print_json_line(found)
            return 0
        if not is_terminal(sys.stdout):
            _print_changes(client.watch(token, interval_seconds=60.0))
            return 0
        with Interrupts() as interrupts:
            result = LiveView(client, token, interrupts, may_stop=False, last_lines=lines).run()
    if isinstance(result, Leave):
        click.echo(left_note(None, token), err=True)
        return exits.INTERRUPTED
    print_summary(result, console())
    return 0


def _print_changes(statuses: Iterator[TaskStatus]) -> None:
    from taskmeter.cli import words
    from taskmeter.cli.text import escape

    before = ""
    for found in statuses:
        line = f"{found.token}\t{words.standing(found).word}\t{escape(found.exit_message)}".rstrip("\t")
        if line != before:
            click.echo(line)
            before = line
