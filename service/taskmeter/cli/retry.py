"""`taskmeter retry`: run an ended task again."""

from __future__ import annotations

import click

from taskmeter.cli import options
from taskmeter.cli.output import print_json


@click.command()
@options.token_argument
@click.option("--as-new", is_flag=True, help="Start a copy with a new token; works for any ended task.")
@options.json_flag("Print the status view of the task that runs again.")
@options.connection
def retry(token: str, as_new: bool, as_json: bool, target: str | None, state_dir: str | None) -> None:
    """Run a failed task again as its next attempt, and print its token.

    Tasks that succeeded or were stopped on request are refused (exit code 3); --as-new starts a copy of those.
    """
    from taskmeter.cli.connect import connect
    from taskmeter.cli.selection import resolve

    with connect(target, state_dir) as client:
        started = client.retry_task(resolve(client, token), as_new=as_new)
    if as_json:
        print_json(started.status)
    else:
        click.echo(started.token)
