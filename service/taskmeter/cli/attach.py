"""`taskmeter attach`: meter a process that runs already."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import click

from taskmeter.cli import exits, options
from taskmeter.cli.output import console, is_terminal, print_json

if TYPE_CHECKING:
    from taskmeter.cli.interrupts import Interrupts
    from taskmeter.cli.live import Leave
    from taskmeter.client.status import TaskStatus
    from taskmeter.client.sync import SyncClient


@click.command(epilog="Example: taskmeter attach --tag kind=training $(pgrep -n train.py)")
@click.argument("pid", type=click.IntRange(min=1))
@click.option("--no-descendants", is_flag=True, help="Meter, and if asked stop, this process alone.")
@click.option("--name", default="", help="What the task is called; default: the name of the process.")
@options.tags("A tag; repeatable.")
@click.option("--project", "project_id", default="", help="The project it belongs to.")
@click.option("--source", default="", help="Where in the project it comes from.")
@click.option("--grace", "grace_seconds", type=options.SPAN, metavar="TIME", help="How long it may take to stop; default 10s.")
@click.option("-d", "--detach", is_flag=True, help="Do not watch it; print its token.")
@click.option("-q", "--quiet", is_flag=True, help="No summary at the end.")
@options.json_flag("Print the final status as JSON instead of meter and summary.")
@options.connection
def attach(
    pid: int,
    no_descendants: bool,
    name: str,
    tags: tuple[tuple[str, str], ...],
    project_id: str,
    source: str,
    grace_seconds: float | None,
    detach: bool,
    quiet: bool,
    as_json: bool,
    target: str | None,
    state_dir: str | None,
) -> int:
    """Meter the process PID, which runs already, and what descends from it, until it ends.

    It is billed from now on. It stays what it was: its output goes where it went, and it is never stopped unless
    `taskmeter stop` asks for it. Ctrl-C leaves the view and nothing else.

    The exit code is the process's own where this machine tells (Linux 6.15), 128 + signal if a signal ended it, else 0; 0 if
    you left; 125 if we failed.
    """
    from taskmeter.cli.connect import connect
    from taskmeter.cli.interrupts import Interrupts
    from taskmeter.cli.live import Leave, LiveView
    from taskmeter.cli.summary import print_summary

    with connect(target, state_dir, create=True) as client, Interrupts() as interrupts:
        started = client.attach(
            pid,
            include_descendants=not no_descendants,
            name=name,
            tags=dict(tags),
            project_id=project_id,
            source=source,
            grace_period_seconds=grace_seconds,
        )
        if detach:
            if as_json:
                print_json(started.status)
            else:
                click.echo(started.token)
            return 0
        result: TaskStatus | Leave
        if as_json or not (is_terminal(sys.stdout) and is_terminal(sys.stderr)):
            result = _wait(client, started.token, interrupts)
        else:
            result = LiveView(client, started.token, interrupts, may_stop=False, streams=()).run()
        if isinstance(result, Leave):
            if not quiet:
                click.echo(_left_note(started.status), err=True)
            return 0
        with contextlib.suppress(BrokenPipeError):
            if as_json:
                print_json(result)
            elif not quiet:
                print_summary(result, console(err=True))
        return _exit_code(result)


def _wait(client: SyncClient, token: str, interrupts: Interrupts) -> TaskStatus | Leave:
    from taskmeter.cli.feed import Feed
    from taskmeter.cli.live import Leave
    from taskmeter.cli.rawcopy import WAKE_SECONDS

    with Feed(client, token, interval_seconds=None, streams=()) as feed:
        while not feed.finished:
            feed.get_all(WAKE_SECONDS)
            if interrupts.take():
                return Leave.DETACHED
    assert feed.status is not None
    return feed.status


def _left_note(status: TaskStatus) -> str:
    from taskmeter.cli import words
    from taskmeter.cli.live import left_note

    return f"{left_note(status, status.token)}, or end it: taskmeter stop {words.short(status.token)}"


def _exit_code(status: TaskStatus) -> int:
    from taskmeter.model.state import Outcome

    runs_on_or_untold = status.exit_code < 0 and not status.exit_signal
    if runs_on_or_untold and status.outcome is not Outcome.LOST:
        return 0
    return exits.code_of_task(status.outcome, status.exit_code, status.exit_signal)
