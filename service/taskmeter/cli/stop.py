"""`taskmeter stop`: end tasks with everything they started."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import click

from taskmeter.cli import exits, options
from taskmeter.cli.output import console, is_terminal, print_json
from taskmeter.errors import TaskmeterError

if TYPE_CHECKING:
    from taskmeter.client.status import TaskStatus
    from taskmeter.client.sync import SyncClient

ORDERS_AT_ONCE = 32
"""Calls under way at the same time; a commit takes one sync of the disk for all that wait for it."""


@click.command()
@click.argument("tokens", nargs=-1, metavar="[TOKEN]...")
@click.option("--all", "everything", is_flag=True, help="All tasks that have not ended.")
@options.tags("All tasks with this tag that have not ended; repeatable, all must match.")
@click.option("--project", "project_id", default="", help="All tasks of this project that have not ended.")
@click.option("--queue", default="", help="All tasks of this queue that have not ended.")
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
    stops what is in that queue and has that tag.
    """
    from taskmeter.cli.connect import connect
    from taskmeter.cli.selection import resolve_all

    by_filter = everything or bool(tags or project_id or queue)
    if by_filter == bool(tokens):
        raise click.UsageError("say which tasks: give tokens, or --all, or --tag, --project, --queue")
    code = 0
    ordered: list[str] = []
    with connect(target, state_dir) as client:
        if by_filter:
            wanted = [
                status.token for status in client.list_tasks(status="live", tags=dict(tags), project_id=project_id, queue=queue)
            ]
        else:
            wanted = resolve_all(client, tokens)

        def order(token: str) -> TaskmeterError | None:
            try:
                client.terminate(token, grace_period_seconds=grace_seconds, immediate=now, reason=reason)
            except TaskmeterError as error:
                return error
            return None

        for token, error in zip(wanted, _each(order, wanted), strict=True):
            if error is None:
                ordered.append(token)
            elif not (by_filter and error.reason in {"TASK_ENDED", "TASK_NOT_FOUND"}):
                exits.report(error)
                code = exits.code_of(error)
        ended = [client.get_task_status(token) if no_wait else _wait(client, token) for token in ordered]
    if as_json:
        print_json(ended)
    else:
        _tell(ended, nothing=not wanted)
    return code


def _each(order: Callable[[str], TaskmeterError | None], tokens: Sequence[str]) -> list[TaskmeterError | None]:
    """Give many orders at once: the daemon puts those that come together on disk together."""
    if len(tokens) <= 1:
        return [order(token) for token in tokens]
    with ThreadPoolExecutor(min(ORDERS_AT_ONCE, len(tokens))) as callers:
        return list(callers.map(order, tokens))


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
