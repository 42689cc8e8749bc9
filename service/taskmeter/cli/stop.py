"""`taskmeter stop`: end tasks with everything they started."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from taskmeter.cli import exits, options
from taskmeter.cli.output import console, is_terminal, print_json
from taskmeter.errors import TaskmeterError

if TYPE_CHECKING:
    from taskmeter.client.status import TaskStatus
    from taskmeter.client.sync import SyncClient


@click.command()
@click.argument("tokens", nargs=-1, metavar="[TOKEN]...")
@click.option("--all", "everything", is_flag=True, help="All tasks that have not ended.")
@options.tags("All tasks with this tag that have not ended; repeatable, all must match.")
@click.option("--project", "project_id", default="", help="All tasks of this project that have not ended.")
@click.option("--queue", default="", help="All tasks of this queue that have not ended.")
@click.option("--name", "name_prefix", default="", help="All tasks whose name begins so that have not ended.")
@click.option("--dependents", is_flag=True, help="And all that wait for them (submit --after), and what waits for those.")
@click.option("--grace", "grace_seconds", type=options.SPAN, metavar="TIME", help="Kill what has not ended after TIME.")
@click.option("--now", is_flag=True, help="Kill at once.")
@click.option("--reason", default="", help="Why; kept with the task.")
@click.option("--no-wait", is_flag=True, help="Return when the order is durable, not when the tasks have ended.")
@options.json_flag("Print the status views as one JSON array.")
@options.connection
def stop(
    tokens: tuple[str, ...],
    everything: bool,
    tags: tuple[tuple[str, str], ...],
    project_id: str,
    queue: str,
    name_prefix: str,
    dependents: bool,
    grace_seconds: float | None,
    now: bool,
    reason: str,
    no_wait: bool,
    as_json: bool,
    target: str | None,
    state_dir: str | None,
) -> int:
    """End tasks with everything they started: first gently (SIGTERM), then, after the grace period, by force.

    Waits until they have ended. Once more with --now or a shorter --grace makes it quicker. A task that has ended already is
    refused (exit code 3), unless it was meant by a filter. Filters narrow each other: --queue q --tag a=b
    stops what is in that queue and has that tag; of those, the waiting ones first, so that none starts meanwhile.
    """
    from taskmeter.cli.connect import connect
    from taskmeter.cli.selection import resolve_all

    by_filter = everything or bool(tags or project_id or queue or name_prefix)
    if by_filter == bool(tokens):
        raise click.UsageError("say which tasks: give tokens, or --all, or --tag, --project, --queue, --name")
    wish = _Wish(grace_seconds, now, reason, dependents)
    code = unnamed = 0
    with connect(target, state_dir) as client:
        if by_filter:
            wanted = {"tags": dict(tags), "project_id": project_id, "queue": queue, "name_prefix": name_prefix}
            everything = everything and not any(wanted.values())
            answer = client.terminate_tasks(**wanted, everything=everything, **wish.arguments)
            ordered, with_them = list(answer.tokens), answer.dependent_count
            unnamed = answer.stopped_count - len(ordered)
        else:
            ordered, with_them, code = _stop_each(client, resolve_all(client, tokens), wish)
        ended = [client.get_task_status(token) if no_wait else _wait(client, token) for token in ordered]
    if as_json:
        print_json(ended)
    else:
        _tell(ended, nothing=not ordered and not code)
        if with_them and not by_filter:
            click.echo(f"{with_them} that waited for {'it' if len(ordered) == 1 else 'them'} stopped too")
        if unnamed:
            click.echo(f"… and {unnamed} more")
    return code


@dataclass(frozen=True, slots=True)
class _Wish:
    grace_seconds: float | None
    now: bool
    reason: str
    dependents: bool

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "grace_period_seconds": self.grace_seconds,
            "immediate": self.now,
            "reason": self.reason,
            "include_dependents": self.dependents,
        }


def _stop_each(client: SyncClient, tokens: list[str], wish: _Wish) -> tuple[list[str], int, int]:
    """Return those that were stopped, how many waited for them, and the exit code."""
    ordered: list[str] = []
    with_them = code = 0
    for token in tokens:
        try:
            with_them += client.terminate(token, **wish.arguments)
            ordered.append(token)
        except TaskmeterError as error:
            if with_them and error.metadata.get("outcome") == "TASK_OUTCOME_CANCELLED":
                continue  # it waited for one of the others, and was stopped with it
            exits.report(error)
            code = exits.code_of(error)
    return ordered, with_them, code


def _wait(client: SyncClient, token: str) -> TaskStatus:
    """Wait for its end; on a terminal, show that and for how long."""
    from taskmeter.cli import words
    from taskmeter.cli.text import escape

    if not is_terminal(sys.stderr):
        return client.wait_task(token)
    terminal = console(err=True)
    start = time.monotonic()
    with terminal.status(f"stopping {words.short(token)}") as spinner:
        status = client.wait_task(token, timeout_seconds=0.5)
        while not status.completed:
            spinner.update(f"stopping {escape(words.title(status))} for {time.monotonic() - start:.0f} s")
            status = client.wait_task(token, timeout_seconds=1.0)
    return status


def _tell(ended: list[TaskStatus], *, nothing: bool) -> None:
    from taskmeter.cli import words
    from taskmeter.cli.text import escape

    if nothing:
        click.echo("nothing to stop", err=True)
    for status in ended:
        what = words.sentence(status) if status.completed else "is stopping"
        click.echo(f"{words.short(status.token)} {escape(words.title(status))}: {escape(what)}")
